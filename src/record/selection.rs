//! Some cells of a run: what a command works on.

use super::{CellState, RunFolder, RunManifest};
use crate::error::Result;
use crate::suite::Cell;

/// Cells of a run, with the folder that has their records.
#[derive(Clone, Copy)]
pub struct Selection<'a> {
    /// Where the records are.
    pub folder: &'a RunFolder,
    /// What the run is.
    pub manifest: &'a RunManifest,
    /// The cells, in order; the run may have more.
    pub cells: &'a [Cell],
}

impl<'a> Selection<'a> {
    /// All cells of a run.
    pub fn all(folder: &'a RunFolder, manifest: &'a RunManifest) -> Self {
        Self { folder, manifest, cells: &manifest.cells }
    }

    /// Whether a cell of the run has its record.
    ///
    /// # Errors
    /// When the record is there but cannot be read.
    pub fn is_finished(&self, cell: &Cell) -> Result<bool> {
        Ok(self.folder.state(cell, &self.manifest.data_sha256)? == CellState::Finished)
    }

    /// The cells without a record.
    ///
    /// # Errors
    /// When a record is there but cannot be read.
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
