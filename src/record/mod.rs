//! Records: what one cell's training measured, with everything needed to trust or repeat it.

mod claim;
mod failure;
mod files;
mod job;
mod layout;
mod lock;
mod manifest;
mod parse;
mod provenance;
mod selection;
mod settings;
mod store;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use claim::RunLock;
pub use failure::{Failure, FailureClass, bad_nodes};
pub use files::write;
pub use job::Job;
pub(crate) use layout::SUBMISSION;
pub use lock::CellLock;
pub use manifest::RunManifest;
pub use provenance::{Machine, TrainingProvenance};
pub use selection::Selection;
pub(crate) use settings::{SettingGroup, by_setting};
pub use store::{CellState, Published, RunFolder, Scan};

use crate::data;
use crate::digest::sha256_bytes;
use crate::little_endian;
use crate::stats::{Median, median};
use crate::suite::Cell;

/// Version of the record's shape.
pub const SCHEMA: u32 = 1;

/// One finished cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The cell's id.
    pub id: String,
    /// The suite it was first trained for.
    pub suite: String,
    /// The profile.
    pub profile: String,
    /// Hash of the plan.
    pub suite_hash: String,
    /// What was trained.
    pub cell: Cell,
    /// How it ended.
    pub status: Status,
    /// What was measured.
    pub measures: Measures,
    /// Whether that data stands in for the suite's own.
    pub stand_in: bool,
    /// The data it was trained on.
    pub data: data::Provenance,
    /// Program and machine.
    pub provenance: TrainingProvenance,
    /// Steps of a training that is always the same, right before this one: how fast the machine was. None in records of programs
    /// that did not measure it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_step_seconds: Option<StepSeconds>,
    /// How often the training was interrupted and gone on with where it was kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resumed: usize,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// How a training ended. Divergence is a result, not a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// All epochs were trained.
    Completed,
    /// The loss or a weight became infinite or NaN; training stopped there.
    Diverged {
        /// Epoch, from 0.
        epoch: usize,
        /// Step within it, from 0.
        step: usize,
    },
}

/// What a training measured. Accuracies are fractions; times are seconds and exclude evaluation and data
/// loading from disk or network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measures {
    /// Test accuracy after the last epoch; none after divergence.
    pub test_accuracy_last: Option<f64>,
    /// Best test accuracy of any epoch (selected on the test set: optimistic).
    pub test_accuracy_best: Option<f64>,
    /// The epoch of the best, from 0.
    pub best_epoch: Option<usize>,
    /// By epoch.
    pub epochs: Vec<EpochMeasures>,
    /// Optimizer steps taken.
    pub steps: u64,
    /// Trainable scalars.
    pub parameters: usize,
    /// Wall-clock of training alone, mask refreshes included.
    pub train_seconds: f64,
    /// Part of it spent refreshing masks.
    pub mask_seconds: f64,
    /// Duration of a step, mask refresh excluded, after the warm-up steps.
    pub step_seconds: Option<StepSeconds>,
    /// Peak resident memory of the process while this cell ran, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// FLOPs with everything dense.
    pub flops_nominal: f64,
    /// FLOPs by the papers' kind of claim.
    pub flops_theoretical: f64,
    /// The formula of the theoretical figure.
    pub flops_theoretical_formula: String,
    /// FLOPs the kernels ran, mask refreshes included; none in records of programs that did not count.
    pub flops_executed: Option<f64>,
    /// Every mask refresh.
    pub mask_refreshes: Vec<MaskRefresh>,
    /// Squared gradient norms, where the suite asks for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gradient_norms: Vec<GradientNorm>,
    /// Checks against the edge of stability, where the suite asks for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edge: Vec<EdgeCheck>,
    /// Sharpness of the weights on the way, where the suite asks for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sharpness: Vec<SharpnessCheck>,
    /// SHA-256 of the final weights: f32, little endian, in name order.
    pub fingerprint: String,
}

/// Distribution of step durations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSeconds {
    /// Median.
    pub median: f64,
    /// Shortest.
    pub min: f64,
    /// Longest.
    pub max: f64,
    /// Steps measured.
    pub n: usize,
    /// First steps left out.
    pub warmup: usize,
}

/// First steps left out of step times: memory and caches are cold.
const WARMUP_STEPS: usize = 3;

impl StepSeconds {
    /// Of all steps of a training, in their order; none for one that never left its warm-up.
    pub fn of(all: &[f64]) -> Option<Self> {
        let Median { n, median, min, max } = median(all.get(WARMUP_STEPS..)?)?;
        Some(Self { median, min, max, n, warmup: WARMUP_STEPS })
    }
}

/// One epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochMeasures {
    /// Learning rate of its last step.
    pub lr: f64,
    /// Mean training loss over its steps (first pass, before the update).
    pub train_loss: f64,
    /// Mean test loss.
    pub test_loss: Option<f64>,
    /// Test accuracy.
    pub test_accuracy: f64,
    /// Wall-clock of training.
    pub train_seconds: f64,
}

/// One mask refresh. Records of before a figure existed lack it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskRefresh {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Fraction of weights live after it.
    pub live_fraction: f64,
    /// The same of each tensor, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub live_by_tensor: BTreeMap<String, f64>,
    /// Part of the live weights that were live before it; none where no weight was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<f64>,
    /// Part of the Fisher score that the live weights hold, where the mask was chosen by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fisher_share: Option<f64>,
}

/// A squared gradient norm on the way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradientNorm {
    /// The step before which it was measured, from 0 over the whole training.
    pub step: u64,
    /// Squared norm of the gradient of the mean loss over all training samples, not augmented.
    pub squared: f64,
}

/// Curvature before a step, of the loss of the step's batch, beside the edge of stability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeCheck {
    /// The step before which it was measured, from 0 over the whole training.
    pub step: u64,
    /// Loss.
    pub loss: f64,
    /// Norm of the gradient g.
    pub gradient_norm: f64,
    /// The eigenvalue of the Hessian H that is largest in magnitude, with its sign.
    pub eigenvalue: f64,
    /// `||H v - eigenvalue v||` of its eigenvector v, of length 1.
    pub residual: f64,
    /// Products with H that it took.
    pub products: usize,
    /// Whether the residual is as small as it was to be.
    pub converged: bool,
    /// Length of the step of the central differences by which H is applied.
    pub difference: f64,
    /// 2 / eta.
    pub gradient_descent_edge: f64,
    /// The edge of the optimizer itself: 2 / eta for SGD, the SAM-edge for SAM, docs/edge.md's for sparse SAM.
    pub edge: f64,
    /// |cos| of the angle between g and v.
    pub alignment: f64,
    /// The same of the gradient after the ascent step, where there is one.
    pub ascent_alignment: Option<f64>,
}

/// Sharpness of the weights after an epoch, in evaluation mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharpnessCheck {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Training samples in the loss, the first ones.
    pub samples: usize,
    /// Their mean loss.
    pub loss: f64,
    /// The eigenvalue of the Hessian H that is largest in magnitude, with its sign.
    pub eigenvalue: f64,
    /// `||H v - eigenvalue v||` of its eigenvector v, of length 1.
    pub residual: f64,
    /// Those that follow in magnitude, each with its residual.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_eigenvalues: Vec<(f64, f64)>,
    /// Products with H that they took.
    pub products: usize,
    /// Whether all residuals are as small as they were to be.
    pub converged: bool,
    /// Length of the step of the central differences by which H is applied.
    pub difference: f64,
    /// Trace of H, estimated (Hutch++).
    pub trace: f64,
    /// Standard error of that.
    pub trace_standard_error: Option<f64>,
    /// Radius of the ball in which the loss was climbed.
    pub rho: f64,
    /// How much larger than at the weights the largest loss is that was found at distance rho.
    pub max_loss_increase: f64,
    /// The eigenvalue of largest magnitude of every layer's own block of H.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_layer: BTreeMap<String, f64>,
    /// Spectral density: eigenvalues and their weights, which sum to 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub density: Vec<(f64, f64)>,
}

/// SHA-256 of weights: f32, little endian.
pub fn fingerprint(weights: &[f32]) -> String {
    sha256_bytes(little_endian::bytes(weights))
}
