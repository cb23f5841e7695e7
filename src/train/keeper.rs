//! Interface for storing checkpoints and stopping a training.

use super::Checkpoint;
use crate::error::Result;

/// Decides when a training is checkpointed or stopped, and stores its checkpoints.
pub trait Keeper {
    /// Whether to stop as soon as the training can be resumed. Called after every step.
    fn stops(&self) -> bool;
    /// Whether a checkpoint is due after this epoch.
    fn is_due(&mut self, epoch: usize) -> bool;
    /// Stores a checkpoint.
    ///
    /// # Errors
    /// When it cannot be written; this ends the training.
    fn keep(&mut self, checkpoint: &Checkpoint) -> Result<()>;
}

/// Stores nothing and never stops.
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
