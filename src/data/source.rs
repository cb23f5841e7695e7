//! Sources of a data set's samples: a directory, the hub's cache, the hub, or the stand-in.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{DataSet, Request};
use crate::error::{Error, Result};

/// Value of `--data`: the source of the samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataSource {
    /// The hub's cache, otherwise the hub, otherwise the stand-in.
    Auto,
    /// The embedded stand-in.
    StandIn,
    /// The hub (cache first); an error if it is unavailable.
    Hub,
    /// A directory with the original files or parquet files.
    Directory(PathBuf),
}

impl DataSource {
    /// Form on the command line.
    pub fn argument(&self) -> OsString {
        match self {
            Self::Auto => "auto".into(),
            Self::StandIn => "stand-in".into(),
            Self::Hub => "hub".into(),
            Self::Directory(path) => path.into(),
        }
    }
}

impl FromStr for DataSource {
    type Err = std::convert::Infallible;

    fn from_str(s: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match s {
            "auto" => Self::Auto,
            "stand-in" => Self::StandIn,
            "hub" => Self::Hub,
            path => Self::Directory(path.into()),
        })
    }
}

/// Options for fetching.
pub struct Fetch<'a> {
    /// Never use the network.
    pub offline: bool,
    /// Draw a progress bar for downloads.
    pub bar: bool,
    /// Receives informational messages.
    pub say: &'a dyn Fn(&str),
    /// Receives warnings.
    pub warn: &'a dyn Fn(&str),
}

/// Loads the data set from its source; `None` if `stand_in` is to be used.
pub(super) fn resolve(request: &Request<'_>, stand_in: &str) -> Result<Option<DataSet>> {
    let Request { entry, source, fetch, .. } = *request;
    if let DataSource::Directory(path) = source {
        if entry.is_embedded() {
            return Err(Error::Data(format!(
                "{} is embedded and cannot be read from {}; use --data stand-in",
                entry.name,
                path.display()
            )));
        }
        check_directory(path)?;
    }
    if entry.is_embedded() {
        return (entry.load)(request).map(Some);
    }
    match source {
        DataSource::StandIn => {
            (fetch.say)(&format!("data: {stand_in} stands in for {}, as requested", entry.name));
            Ok(None)
        }
        DataSource::Auto => match (entry.load)(request) {
            Ok(set) => Ok(Some(set)),
            Err(Error::Hub(reason)) => {
                (fetch.warn)(&format!(
                    "data: {0} is unavailable ({reason}); the embedded {stand_in} stands in for it. These are not {0} results.",
                    entry.name
                ));
                Ok(None)
            }
            Err(other) => Err(other),
        },
        DataSource::Hub | DataSource::Directory(_) => (entry.load)(request).map(Some),
    }
}

fn check_directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let what = if path.exists() { "is not a directory" } else { "does not exist" };
    Err(Error::Data(format!(
        "{} {what}; --data takes auto, stand-in, hub or a directory with the data set's files",
        path.display()
    )))
}
