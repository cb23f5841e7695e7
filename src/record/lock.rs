//! Exclusive claims: a cell is trained by only one process, and only one process submits.

use std::fs::{File, TryLockError};

use super::RunFolder;
use super::files::lock_file;
use super::layout::LOCKS;
use crate::error::{Error, Result};
use crate::suite::Cell;

/// Lock held while a cell is trained or cells are submitted. It is released when dropped or when
/// the process dies.
pub struct CellLock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl RunFolder {
    /// Claims a cell for this process; `None` if another process is training it.
    ///
    /// # Errors
    /// When the lock file cannot be created.
    pub fn lock(&self, cell: &Cell) -> Result<Option<CellLock>> {
        self.lock_named(&cell.id())
    }

    /// Claims the right to submit cells; `None` if another process is submitting.
    ///
    /// # Errors
    /// When the lock file cannot be created.
    pub fn lock_submission(&self) -> Result<Option<CellLock>> {
        self.lock_named("submission")
    }

    fn lock_named(&self, name: &str) -> Result<Option<CellLock>> {
        let path = self.subfolder(&LOCKS).join(name);
        let file = lock_file(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(CellLock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => Ok(Some(CellLock(file))),
            Err(TryLockError::Error(e)) => Err(Error::io("lock", &path)(e)),
        }
    }
}
