//! Who keeps a training's checkpoints and stops it.

use super::Checkpoint;
use crate::error::Result;

/// Decides when a training is checkpointed or stopped, and keeps its checkpoints.
pub trait Keeper {
    /// Whether the training is to stop as soon as it can be resumed; asked after every step.
    fn stops(&self) -> bool;
    /// Whether a checkpoint is due after this epoch.
    fn is_due(&mut self, epoch: usize) -> bool;
    /// Keeps a checkpoint.
    ///
    /// # Errors
    /// When it cannot be written, which ends the training.
    fn keep(&mut self, checkpoint: &Checkpoint) -> Result<()>;
}

/// Keeps nothing and never stops.
pub struct KeepNothing;

impl Keeper for KeepNothing {
    fn stops(&self) -> bool {
        false
    }

    fn is_due(&mut self, _: usize) -> bool {
        false
    }

    fn keep(&mut self, _: &Checkpoint) -> Result<()> {
        Ok(())
    }
}
