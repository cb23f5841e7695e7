//! Files of data sets from the Hugging Face hub through hf-hub: from the cache first, then from the network.

use std::path::{Path, PathBuf};

use hf_hub::HFError;
use hf_hub::progress::{DownloadEvent, Progress, ProgressEvent, ProgressHandler};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::checksums;
use super::source::Fetch;
use crate::digest;
use crate::error::{Error, Result};
use crate::hub::{self, Received, cache_dir, hidden, watched};

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

/// Files of a repository, from the cache if all are there, otherwise from the network.
///
/// # Errors
/// [`Error::Hub`] when the hub is unavailable, [`Error::Data`] when a cached file is damaged.
pub(super) fn files(repo: &Repository, names: &[&'static str], fetch: &Fetch<'_>) -> Result<Vec<HubFile>> {
    let (endpoint, limit) = (hub::endpoint()?, hub::limit()?);
    let get = {
        let Repository { owner, name, revision } = *repo;
        let names = names.to_vec();
        let endpoint = endpoint.clone();
        move |local: bool, progress: Option<Progress>| -> std::result::Result<Vec<PathBuf>, HFError> {
            let dataset = hub::client(&endpoint).cache_dir(cache_dir()).build_sync()?.dataset(owner, name);
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
        Err(_) if fetch.offline || hub::is_offline() => {
            let by = if fetch.offline { "--offline" } else { "HF_HUB_OFFLINE" };
            return Err(Error::Hub(format!(
                "{}/{} is not in the cache and {by} forbids the network; run once without it",
                repo.owner, repo.name
            )));
        }
        Err(_) => {
            let (server, received) = (hidden(&endpoint), Received::default());
            watched(&server, limit, &received, move || hub::reach(&endpoint))?;
            (fetch.say)(&format!("data: fetching {}/{} from {server}", repo.owner, repo.name));
            let bar = fetch.bar.then(Bar::new);
            let progress = Progress::from(Watch { received: received.clone(), bar: bar.clone() });
            let fetched =
                watched(&server, limit, &received, move || get(false, Some(progress)).map_err(hub::client_error));
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
