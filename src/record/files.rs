//! Atomic file writes, and locks.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::NamedTempFile;

use super::layout::TEMPORARY;
use crate::error::{Error, Result};

/// Writes a file in a folder or one of its subfolders atomically, replacing an older one. Follows
/// no links.
///
/// # Errors
/// When the file cannot be written, or the subfolder is a link.
pub fn write(root: &Path, name: &str, contents: &[u8]) -> Result<PathBuf> {
    let path = root.join(name);
    let folder = path.parent().unwrap_or(root);
    if folder != root && folder.is_symlink() {
        return Err(Error::Run { path: folder.into(), message: "it is a symbolic link; remove it".into() });
    }
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let file = temporary(root, &path, contents)?;
    file.persist(&path).map_err(|e| Error::io("write", &path)(e.error))?;
    sync_folder(folder);
    Ok(path)
}

pub(super) fn to_json<T: Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// Removes a file if it exists.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Opens a lock file. A link is not followed, since it could create a file elsewhere.
pub(super) fn lock_file(path: &Path) -> Result<File> {
    if path.is_symlink() {
        return Err(Error::Run { path: path.into(), message: "it is a symbolic link; remove it".into() });
    }
    // NFS shares locks only of files that are open for reading.
    File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(Error::io("create", path))
}

/// Ignores missing support for locks, as on some cluster file systems. There a cell may be trained
/// twice, and the first record stands.
pub(super) fn where_there_are_locks(locked: std::io::Result<()>) -> std::io::Result<()> {
    match locked {
        Err(e) if e.kind() == std::io::ErrorKind::Unsupported => Ok(()),
        locked => locked,
    }
}

/// Creates a synced temporary file beside its destination, which is removed unless persisted.
pub(super) fn temporary(folder: &Path, destination: &Path, contents: &[u8]) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    // Accessible to others like any new file, as the umask allows.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let written = builder.tempfile_in(folder).and_then(|mut file| {
        file.write_all(contents)?;
        file.as_file().sync_all()?;
        Ok(file)
    });
    written.map_err(Error::io("write", destination))
}

/// Makes a rename durable. Some file systems cannot sync a folder, but the record itself is safe
/// even then.
pub(super) fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        folder.sync_all().ok();
    }
}

/// Rejects anything but regular files: reading a pipe would block.
pub(super) fn refuse_other_than_file(path: &Path) -> std::io::Result<()> {
    if fs::metadata(path)?.is_file() {
        return Ok(());
    }
    Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not a regular file"))
}
