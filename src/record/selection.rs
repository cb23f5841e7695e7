//! A selection of a run's cells, which a command works on.

use super::{CellState, RunFolder, RunManifest};
use crate::error::Result;
use crate::suite::Cell;

/// Selected cells of a run, with the folder of its records.
#[derive(Clone, Copy)]
pub struct Selection<'a> {
    /// Folder of the records.
    pub folder: &'a RunFolder,
    /// Plan of the run.
    pub manifest: &'a RunManifest,
    /// Selected cells, in order; the run may have more.
    pub cells: &'a [Cell],
}

impl<'a> Selection<'a> {
    /// Selects all cells of a run.
    pub fn all(folder: &'a RunFolder, manifest: &'a RunManifest) -> Self {
        Self { folder, manifest, cells: &manifest.cells }
    }

    /// Whether a cell of the run has a record.
    ///
    /// # Errors
    /// When the record exists but cannot be read.
    pub fn is_finished(&self, cell: &Cell) -> Result<bool> {
        Ok(self.folder.state(cell, &self.manifest.data_sha256)? == CellState::Finished)
    }

    /// Selected cells without a record.
    ///
    /// # Errors
    /// When a record exists but cannot be read.
    pub fn unfinished(&self) -> Result<Vec<&'a Cell>> {
        let mut unfinished = Vec::new();
        for cell in self.cells {
            if !self.is_finished(cell)? {
                unfinished.push(cell);
            }
        }
        Ok(unfinished)
    }
}
