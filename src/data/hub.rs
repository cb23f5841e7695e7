//! Files from the Hugging Face hub through hf-hub: from the cache first, then from the network.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::progress::{DownloadEvent, Progress, ProgressEvent, ProgressHandler};
use hf_hub::{HFClientBuilder, HFError};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::checksums;
use super::secrets::hidden;
use super::source::Fetch;
use super::watchdog::{self, Received, watched};
use crate::digest;
use crate::error::{Error, Result};

/// Maximum delay of a run with a stand-in when the hub is unreachable.
const REACH_TIMEOUT: Duration = Duration::from_secs(3);

/// Data set repository on the hub.
pub(super) struct Repository {
    pub(super) owner: &'static str,
    pub(super) name: &'static str,
    pub(super) revision: &'static str,
}

/// File in the local cache, with its commit and SHA-256.
pub(super) struct HubFile {
    pub(super) path: PathBuf,
    pub(super) commit: Option<String>,
    pub(super) sha256: String,
}

/// The hub, if no other is set.
const ENDPOINT: &str = "https://huggingface.co";

/// A variable of the environment; an empty one counts as unset, as in Python's `huggingface_hub`.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Whether the environment forbids the network, as for Python's `huggingface_hub`.
fn is_offline() -> bool {
    let is_true = |value: String| matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
    variable("HF_HUB_OFFLINE").is_some_and(is_true)
}

/// The cache's directory, by the variables that the client knows.
pub fn cache_dir() -> PathBuf {
    let own = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE")).map(PathBuf::from);
    own.unwrap_or_else(|| home().join("hub"))
}

/// The directory of Hugging Face's tools, which holds the cache and the token.
pub(super) fn home() -> PathBuf {
    let cache = || variable("XDG_CACHE_HOME").map(|cache| PathBuf::from(cache).join("huggingface"));
    let user = || PathBuf::from(variable("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache/huggingface");
    variable("HF_HOME").map(PathBuf::from).or_else(cache).unwrap_or_else(user)
}

/// The hub's address.
///
/// # Errors
/// When the one that is set is no address.
fn endpoint() -> Result<String> {
    match variable("HF_ENDPOINT") {
        None => Ok(ENDPOINT.into()),
        Some(set) if set.starts_with("http://") || set.starts_with("https://") => Ok(set),
        Some(set) => Err(Error::Usage(format!(
            "HF_ENDPOINT = {} is no address; it must begin with https:// (or unset it)",
            hidden(&set)
        ))),
    }
}

/// Files of a repository, from the cache if all are there, otherwise from the network.
///
/// # Errors
/// [`Error::Hub`] when the hub is unavailable, [`Error::Data`] when a cached file is damaged.
pub(super) fn files(repo: &Repository, names: &[&'static str], fetch: &Fetch<'_>) -> Result<Vec<HubFile>> {
    let (endpoint, limit) = (endpoint()?, watchdog::limit()?);
    let get = {
        let Repository { owner, name, revision } = *repo;
        let names = names.to_vec();
        let endpoint = endpoint.clone();
        move |local: bool, progress: Option<Progress>| -> std::result::Result<Vec<PathBuf>, HFError> {
            let builder = HFClientBuilder::new().endpoint(&endpoint).cache_dir(cache_dir()).retry_max_attempts(2);
            let dataset = builder.build_sync()?.dataset(owner, name);
            let get = |file: &&'static str| {
                let download = dataset.download_file().filename(*file).revision(revision).local_files_only(local);
                match &progress {
                    Some(progress) => download.progress(progress.clone()).send(),
                    None => download.send(),
                }
            };
            names.iter().map(get).collect()
        }
    };
    let paths = match get(true, None) {
        Ok(paths) => paths,
        Err(_) if fetch.offline || is_offline() => {
            let by = if fetch.offline { "--offline" } else { "HF_HUB_OFFLINE" };
            return Err(Error::Hub(format!(
                "{}/{} is not in the cache and {by} forbids the network; run once without it",
                repo.owner, repo.name
            )));
        }
        Err(_) => {
            let (server, received) = (hidden(&endpoint), Received::default());
            watched(&server, limit, &received, move || reach(&endpoint))?;
            (fetch.say)(&format!("data: fetching {}/{} from {server}", repo.owner, repo.name));
            let bar = fetch.bar.then(Bar::new);
            let progress = Progress::from(Watch { received: received.clone(), bar: bar.clone() });
            let fetched = watched(&server, limit, &received, move || get(false, Some(progress)).map_err(hub_error));
            // What was given up may go on for a while, unseen.
            bar.iter().for_each(Bar::hide);
            fetched?
        }
    };
    paths.into_iter().map(checked).collect()
}

/// Checks a cached file against the digest in its blob's name (the hub's entity tag of large
/// files).
fn checked(path: PathBuf) -> Result<HubFile> {
    let sha256 = digest::sha256_file(&path)?;
    let blob = std::fs::canonicalize(&path).map_err(Error::io("resolve", &path))?;
    let tag = blob.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if tag.len() == 64 && tag.bytes().all(|b| b.is_ascii_hexdigit()) {
        let remedy = format!("delete {} and rerun to fetch it again", blob.display());
        checksums::check(&path.display().to_string(), &sha256, &tag.to_lowercase(), &remedy)?;
    }
    let commit = commit(&path);
    Ok(HubFile { path, commit, sha256 })
}

/// Commit of a cached file. The cache's layout is `snapshots/COMMIT/file`.
fn commit(path: &Path) -> Option<String> {
    let mut parts = path.iter().skip_while(|part| *part != "snapshots");
    parts.nth(1).map(|commit| commit.to_string_lossy().into_owned())
}

/// Fails fast if no connection is possible. Proxies are left to the client.
fn reach(endpoint: &str) -> Result<()> {
    let proxied = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    if proxied.iter().any(|name| std::env::var_os(name).is_some()) {
        return Ok(());
    }
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let host = rest.split('/').next().unwrap_or(rest);
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let address = if host.contains(':') {
        host.to_string()
    } else {
        format!("{host}:{}", if scheme == "http" { 80 } else { 443 })
    };
    let unreachable = |reason: String| Error::Hub(format!("{} cannot be reached: {reason}", hidden(endpoint)));
    let mut reason = "it has no address".to_string();
    for address in address.to_socket_addrs().map_err(|e| unreachable(e.to_string()))? {
        match TcpStream::connect_timeout(&address, REACH_TIMEOUT) {
            Ok(_) => return Ok(()),
            Err(e) => reason = e.to_string(),
        }
    }
    Err(unreachable(reason))
}

fn hub_error(error: HFError) -> Error {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    Error::Hub(hidden(&text))
}

#[derive(Clone)]
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{wide_msg} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        let bar = ProgressBar::new(0);
        Self(match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }
}

/// Notes what is received, and draws it.
struct Watch {
    received: Received,
    bar: Option<Bar>,
}

impl ProgressHandler for Watch {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Download(event) = event else { return };
        match event {
            DownloadEvent::Progress { files } => {
                files.iter().for_each(|file| self.received.note(&file.filename, file.bytes_completed));
            }
            DownloadEvent::AggregateProgress { bytes_completed, .. } => self.received.note("", *bytes_completed),
            DownloadEvent::Start { .. } | DownloadEvent::Complete => {}
        }
        if let Some(bar) = &self.bar {
            bar.draw(event);
        }
    }
}

impl Bar {
    fn hide(&self) {
        self.0.finish_and_clear();
        self.0.set_draw_target(ProgressDrawTarget::hidden());
    }

    fn draw(&self, event: &DownloadEvent) {
        match event {
            DownloadEvent::Start { total_bytes, .. } => self.0.set_length(*total_bytes),
            DownloadEvent::Progress { files } => {
                for file in files {
                    self.0.set_message(file.filename.clone());
                    self.0.set_position(file.bytes_completed);
                }
            }
            DownloadEvent::AggregateProgress { bytes_completed, .. } => self.0.set_position(*bytes_completed),
            DownloadEvent::Complete => self.0.finish_and_clear(),
        }
    }
}
