//! Checkpoints of running cells in the run folder.

use std::time::{Duration, Instant};

use super::Stop;
use crate::error::{Error, Result};
use crate::record::RunFolder;
use crate::suite::Cell;
use crate::train::{Checkpoint, Keeper};

/// Default interval: a checkpoint is written after the first epoch that ends this long after the
/// previous one.
const INTERVAL: Duration = Duration::from_secs(60);

/// Stores a cell's checkpoints in its run folder.
pub(super) struct CellKeeper<'a> {
    folder: &'a RunFolder,
    cell: &'a Cell,
    /// Epochs between checkpoints, 0 for never; `None` for [`INTERVAL`].
    every: Option<usize>,
    stop: &'a Stop,
    kept: Instant,
}

impl<'a> CellKeeper<'a> {
    pub(super) fn new(folder: &'a RunFolder, cell: &'a Cell, every: Option<usize>, stop: &'a Stop) -> Self {
        Self { folder, cell, every, stop, kept: Instant::now() }
    }
}

impl Keeper for CellKeeper<'_> {
    fn stops(&self) -> bool {
        self.stop.signal().is_some()
    }

    fn is_due(&mut self, epoch: usize) -> bool {
        match self.every {
            Some(0) => false,
            Some(every) => (epoch + 1).is_multiple_of(every),
            None => self.kept.elapsed() >= INTERVAL,
        }
    }

    fn keep(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let label = self.cell.label();
        let bytes = checkpoint.to_bytes().map_err(|e| Error::Usage(format!("{label} cannot be checkpointed: {e}")))?;
        self.folder.write_checkpoint(self.cell, &bytes)?;
        self.kept = Instant::now();
        Ok(())
    }
}
