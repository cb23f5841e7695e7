//! Error type of the library. Every message names what failed and the remedy.

use std::path::{Path, PathBuf};

/// Errors, in words that a user can act on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A suite file that cannot be run as written.
    #[error("suite {file}: {message}")]
    Suite {
        /// File, or name of an embedded suite.
        file: String,
        /// Key, value and remedy.
        message: String,
    },
    /// Data that is missing, damaged or invalid.
    #[error("data: {0}")]
    Data(String),
    /// A device that is missing or unusable.
    #[error("device {0}")]
    Device(String),
    /// A request to the hub failed.
    #[error("hub: {0}")]
    Hub(String),
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}{remedy}", path = path.display(), remedy = remedy(source))]
    Io {
        /// Attempted action: `read`, `write`, `create`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A run folder that cannot be used as requested.
    #[error("run {path}: {message}", path = path.display())]
    Run {
        /// The run folder.
        path: PathBuf,
        /// Problem and remedy.
        message: String,
    },
    /// A parity case that cannot be read.
    #[error("parity case {path}: {message}", path = path.display())]
    Parity {
        /// The case file.
        path: PathBuf,
        /// Problem with the case.
        message: String,
    },
    /// A report that cannot be generated.
    #[error("report: {0}")]
    Report(String),
    /// Invalid use of the command line that the parser cannot detect.
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

/// Result type of the library.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Wraps an I/O error with its path and the attempted action.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}

fn remedy(source: &std::io::Error) -> &'static str {
    use std::io::ErrorKind as K;
    match source.kind() {
        K::StorageFull | K::QuotaExceeded => "; free some space and rerun the same command: finished cells are kept",
        K::FileTooLarge => "; raise the limit on the size of files (ulimit -f) and rerun the same command",
        K::PermissionDenied | K::ReadOnlyFilesystem => "; choose another folder, or change its permissions",
        K::AlreadyExists => "; something other than a folder has that name, perhaps a link whose target is missing",
        _ => "",
    }
}
