//! When a cell at work is kept, and where.

use std::time::{Duration, Instant};

use super::Run;
use crate::error::{Error, Result};
use crate::suite::Cell;
use crate::train::{Checkpoint, Keeper};

/// Where a suite does not say how often, a training is kept after the first epoch that ends so long after it was kept before.
const INTERVAL: Duration = Duration::from_secs(60);

/// Keeps a cell in its run folder.
pub(super) struct CellKeeper<'a> {
    run: &'a Run<'a>,
    cell: &'a Cell,
    kept: Instant,
}

impl<'a> CellKeeper<'a> {
    pub(super) fn new(run: &'a Run<'a>, cell: &'a Cell) -> Self {
        Self { run, cell, kept: Instant::now() }
    }
}

impl Keeper for CellKeeper<'_> {
    fn stops(&self) -> bool {
        self.run.stop.signal().is_some()
    }

    fn is_due(&mut self, epoch: usize) -> bool {
        match self.run.checkpoint {
            Some(0) => false,
            Some(every) => (epoch + 1).is_multiple_of(every),
            None => self.kept.elapsed() >= INTERVAL,
        }
    }

    fn keep(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let label = self.cell.label();
        let bytes = checkpoint.to_bytes().map_err(|e| Error::Usage(format!("{label} cannot be kept: {e}")))?;
        self.run.folder.write_checkpoint(self.cell, &bytes)?;
        self.kept = Instant::now();
        Ok(())
    }
}
