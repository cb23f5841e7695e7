//! The one error type of the library: every message names the thing that failed and the remedy.

use std::path::{Path, PathBuf};

/// What can go wrong, in words a user can act on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A suite file that cannot be run as written.
    #[error("suite {file}: {message}")]
    Suite {
        /// The file, or the name of an embedded suite.
        file: String,
        /// Key, value and remedy.
        message: String,
    },
    /// Data that is missing, damaged or not what it claims to be.
    #[error("data: {0}")]
    Data(String),
    /// A device that is not there or cannot be used.
    #[error("device {0}")]
    Device(String),
    /// The hub could not serve a data set.
    #[error("hub: {0}")]
    Hub(String),
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}{remedy}", path = path.display(), remedy = remedy(source))]
    Io {
        /// What was tried: `read`, `write`, `create`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A run folder that cannot be used for what was asked.
    #[error("run {path}: {message}", path = path.display())]
    Run {
        /// The run folder.
        path: PathBuf,
        /// What is wrong with it and the remedy.
        message: String,
    },
    /// A parity case that cannot be read.
    #[error("parity case {path}: {message}", path = path.display())]
    Parity {
        /// The case file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A report that cannot be made.
    #[error("report: {0}")]
    Report(String),
    /// Wrong use of the command line that the parser cannot see.
    #[error("{0}")]
    Usage(String),
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl From<sharpbench_kernels::GeometryError> for Error {
    fn from(error: sharpbench_kernels::GeometryError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// The library's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Wraps an I/O error with the path and the action that met it.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}

fn remedy(source: &std::io::Error) -> &'static str {
    use std::io::ErrorKind as K;
    match source.kind() {
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge => {
            "; free some space and type the same command again: finished cells are kept"
        }
        K::PermissionDenied | K::ReadOnlyFilesystem => "; choose another folder with --out",
        _ => "",
    }
}
