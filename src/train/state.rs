//! State of a training: changed by its session, stored in its checkpoints, and reported in its
//! record.

use serde::{Deserialize, Serialize};

use crate::record::{EdgeCheck, EpochMeasures, GradientNorm, MaskRefresh, SharpnessCheck, TestSamples};

/// Position of a training and its measurements so far. Other inputs of the next step (weights,
/// momentum, mask) belong to the components that use them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrainingState {
    pub(super) position: Position,
    pub(super) epochs: Vec<EpochMeasures>,
    /// Duration of each step, mask refreshes excluded. A checkpoint stores it as a tensor.
    #[serde(skip)]
    pub(super) step_seconds: Vec<f64>,
    pub(super) mask_seconds: f64,
    /// Durations of steps over those of the work done in turn with them.
    #[serde(default)]
    pub(super) steps_over_work: Vec<f64>,
    /// What the last epoch's evaluation found of each test sample. No checkpoint follows it.
    #[serde(skip)]
    pub(super) test_samples: Option<TestSamples>,
    /// Sum over the steps of the fraction of weights that their mask left live, and the number of these steps.
    #[serde(default)]
    pub(super) live: (f64, usize),
    pub(super) flops_executed: u64,
    pub(super) gradient_norms: Vec<GradientNorm>,
    pub(super) edge: Vec<EdgeCheck>,
    pub(super) sharpness: Vec<SharpnessCheck>,
    pub(super) mask_refreshes: Vec<MaskRefresh>,
    /// Peak memory of the processes that trained it, if measured, when last updated.
    pub(super) peak_memory_bytes: Option<u64>,
    /// Unreadable files that were left out.
    pub(super) unreadable: Vec<String>,
    /// How often the training was resumed.
    pub(super) resumed: usize,
}

impl TrainingState {
    /// Steps taken in the whole training.
    pub(super) fn steps(&self) -> usize {
        self.step_seconds.len()
    }
}

/// Position between two steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// Epoch, from 0.
    pub(super) epoch: usize,
    /// Batches drawn in the epoch.
    pub(super) drawn: usize,
    /// Steps taken in the epoch: one per batch, unless no sample of the batch could be read.
    pub(super) step: usize,
    /// Samples of the epoch that could not be read.
    #[serde(default)]
    pub(super) left_out: usize,
    /// Sum of the steps' losses.
    pub(super) losses: f64,
    /// Learning rate of the last step.
    pub(super) lr: f64,
    /// Duration of the steps, mask refreshes included.
    pub(super) seconds: f64,
}
