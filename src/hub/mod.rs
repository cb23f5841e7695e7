//! The Hugging Face hub: its address, its folders on this machine, its client and the client's errors.

mod secrets;
mod upload;
mod watchdog;

use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use hf_hub::{HFClientBuilder, HFError};

use crate::error::{Error, Result};
pub(crate) use secrets::{check_token, hidden};
pub(crate) use upload::{NewFile, Repository, RepositoryName};
pub(crate) use watchdog::{Received, limit, watched};

/// Maximum delay of a run with a stand-in when the hub is unreachable.
const REACH_TIMEOUT: Duration = Duration::from_secs(3);

/// The hub, if no other is set.
const ENDPOINT: &str = "https://huggingface.co";

/// A variable of the environment; an empty one counts as unset, as in Python's `huggingface_hub`.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Whether the environment forbids the network, as for Python's `huggingface_hub`.
pub(crate) fn is_offline() -> bool {
    let is_true = |value: String| matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
    variable("HF_HUB_OFFLINE").is_some_and(is_true)
}

/// The cache's directory, by the variables that the client knows.
pub(crate) fn cache_dir() -> PathBuf {
    let own = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE")).map(PathBuf::from);
    own.unwrap_or_else(|| home().join("hub"))
}

/// The directory of Hugging Face's tools, which holds the cache and the token.
fn home() -> PathBuf {
    let cache = || variable("XDG_CACHE_HOME").map(|cache| PathBuf::from(cache).join("huggingface"));
    let user = || PathBuf::from(variable("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache/huggingface");
    variable("HF_HOME").map(PathBuf::from).or_else(cache).unwrap_or_else(user)
}

/// The hub's address.
///
/// # Errors
/// When the one that is set is no address.
pub(crate) fn endpoint() -> Result<String> {
    match variable("HF_ENDPOINT") {
        None => Ok(ENDPOINT.into()),
        Some(set) if set.starts_with("http://") || set.starts_with("https://") => Ok(set),
        Some(set) => Err(Error::Usage(format!(
            "HF_ENDPOINT = {} is no address; it must begin with https:// (or unset it)",
            hidden(&set)
        ))),
    }
}

/// Fails fast if no connection is possible. Proxies are left to the client.
pub(crate) fn reach(endpoint: &str) -> Result<()> {
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

/// A client of the hub at this address.
pub(crate) fn client(endpoint: &str) -> HFClientBuilder {
    HFClientBuilder::new().endpoint(endpoint).retry_max_attempts(2)
}

/// Converts an error of the client, with its causes and without secrets.
pub(crate) fn client_error(error: HFError) -> Error {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    Error::Hub(hidden(&text))
}
