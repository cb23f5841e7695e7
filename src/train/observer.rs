//! Who follows a training.

use crate::record::EpochMeasures;

/// Follows the progress of a training, to draw or print it.
pub trait Observer {
    /// A step was taken.
    fn step(&mut self, epoch: usize, step: usize, loss: f64);
    /// An epoch was finished and evaluated.
    fn epoch(&mut self, epoch: usize, measures: &EpochMeasures);
}
