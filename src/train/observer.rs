//! Interface for following a training.

use crate::record::EpochMeasures;

/// Follows a training's progress, to draw or print it.
pub trait Observer {
    /// Called after a step.
    fn step(&mut self, epoch: usize, step: usize, loss: f64);
    /// Called after an epoch was trained and evaluated.
    fn epoch(&mut self, epoch: usize, measures: &EpochMeasures);
}
