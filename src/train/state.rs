//! The state of a training: what its session changes, its checkpoints keep, and its record reports.

use serde::{Deserialize, Serialize};

use crate::record::{EdgeCheck, EpochMeasures, GradientNorm, MaskRefresh, SharpnessCheck};

/// Where a training stands and what it has measured so far. What the next step needs besides (weights, momentum, the mask) belongs to
/// what uses it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrainingState {
    pub(super) position: Position,
    pub(super) epochs: Vec<EpochMeasures>,
    /// Duration of every step, mask refreshes excluded. A checkpoint holds it as a tensor.
    #[serde(skip)]
    pub(super) step_seconds: Vec<f64>,
    pub(super) mask_seconds: f64,
    pub(super) flops_executed: u64,
    pub(super) gradient_norms: Vec<GradientNorm>,
    pub(super) edge: Vec<EdgeCheck>,
    pub(super) sharpness: Vec<SharpnessCheck>,
    pub(super) mask_refreshes: Vec<MaskRefresh>,
    /// Peak memory of the processes that trained it, as far as they could measure it, when it was last noted.
    pub(super) peak_memory_bytes: Option<u64>,
    /// Files that could not be read and were left out.
    pub(super) unreadable: Vec<String>,
    /// How often the training was resumed.
    pub(super) resumed: usize,
}

impl TrainingState {
    /// Steps taken over the whole training.
    pub(super) fn steps(&self) -> usize {
        self.step_seconds.len()
    }
}

/// A place between two steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// Epoch, from 0.
    pub(super) epoch: usize,
    /// Batches drawn in it.
    pub(super) drawn: usize,
    /// Steps taken in it: one for each batch, except where no sample of the batch could be read.
    pub(super) step: usize,
    /// Sum of their losses.
    pub(super) losses: f64,
    /// Learning rate of the last of them.
    pub(super) lr: f64,
    /// Their duration, mask refreshes included.
    pub(super) seconds: f64,
}
