//! Records: the measurements of a cell's training, with everything needed to trust or repeat it.

mod claim;
mod failure;
mod files;
mod integrity;
mod job;
mod layout;
mod lock;
mod manifest;
mod parse;
mod provenance;
mod selection;
mod settings;
mod store;
mod test_samples;
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
pub use manifest::{RowFindings, RunLooks, RunManifest};
pub use provenance::{Machine, TrainingProvenance};
pub use selection::Selection;
pub(crate) use settings::{SettingGroup, by_setting};
pub use store::{CellState, Published, RunFolder, Scan};
pub use test_samples::TestSamples;

use crate::data;
use crate::digest::sha256_bytes;
use crate::little_endian;
use crate::stats::{Median, median};
use crate::suite::Cell;

/// Version of the record format.
pub const SCHEMA: u32 = 1;

/// Record of a finished cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Equals [`SCHEMA`].
    pub schema: u32,
    /// Id of the cell.
    pub id: String,
    /// Suite it was first trained for.
    pub suite: String,
    /// Profile of the suite.
    pub profile: String,
    /// Hash of the plan.
    pub suite_hash: String,
    /// Settings of the training.
    pub cell: Cell,
    /// How the training ended.
    pub status: Status,
    /// Measurements of the training.
    pub measures: Measures,
    /// Whether the data stands in for the suite's own.
    pub stand_in: bool,
    /// Training data.
    pub data: data::Provenance,
    /// Program and machine.
    pub provenance: TrainingProvenance,
    /// Steps of a fixed reference training right before this one, as a measure of the machine's
    /// speed. `None` in records of programs that did not measure it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_step_seconds: Option<StepSeconds>,
    /// The look at the claims that the cell was trained for, from 1, if seeds are trained until these are decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look: Option<usize>,
    /// How often the training was interrupted and resumed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resumed: usize,
    /// SHA-256 of the rest of the record; `None` in records of programs that did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// How a training ended. Divergence is a result, not an error.
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

/// Measurements of a training. Accuracies are fractions. Times are in seconds and exclude
/// evaluation and loading data from disk or network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measures {
    /// Test accuracy after the last epoch; `None` after divergence.
    pub test_accuracy_last: Option<f64>,
    /// Best test accuracy of any epoch (selected on the test set: optimistic).
    pub test_accuracy_best: Option<f64>,
    /// Epoch of the best accuracy, from 0.
    pub best_epoch: Option<usize>,
    /// What the evaluation after the last epoch found of each test sample; `None` after divergence, and in records of programs
    /// that did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_samples: Option<TestSamples>,
    /// Training labels that noise changed, if the suite requests it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels_changed: Option<usize>,
    /// Measurements by epoch.
    pub epochs: Vec<EpochMeasures>,
    /// Optimizer steps taken.
    pub steps: u64,
    /// Trainable scalars.
    pub parameters: usize,
    /// Wall-clock time of training, mask refreshes included.
    pub train_seconds: f64,
    /// Part of the training time spent refreshing masks.
    pub mask_seconds: f64,
    /// Duration of a step, mask refresh excluded, after the warm-up steps.
    pub step_seconds: Option<StepSeconds>,
    /// Durations of steps over those of a fixed amount of work done in turn with them, after the warm-up steps, if the suite
    /// requests them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps_over_work: Option<Median>,
    /// Peak resident memory of the process while this cell ran, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// FLOPs if everything is dense.
    pub flops_nominal: f64,
    /// FLOPs as counted by the papers.
    pub flops_theoretical: f64,
    /// Formula of the theoretical FLOPs.
    pub flops_theoretical_formula: String,
    /// FLOPs the kernels executed, mask refreshes included; `None` in records of programs that did
    /// not count them.
    pub flops_executed: Option<f64>,
    /// All mask refreshes.
    pub mask_refreshes: Vec<MaskRefresh>,
    /// Squared gradient norms, if the suite requests them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gradient_norms: Vec<GradientNorm>,
    /// Checks against the edge of stability, if the suite requests them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edge: Vec<EdgeCheck>,
    /// Sharpness during training, if the suite requests it.
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
    /// Number of steps measured.
    pub n: usize,
    /// Number of initial steps left out.
    pub warmup: usize,
}

/// Initial steps left out of step times, while memory and caches are cold.
pub(crate) const WARMUP_STEPS: usize = 3;

impl StepSeconds {
    /// Summarises the durations of all steps of a training, in order; `None` if it ended during
    /// warm-up.
    pub fn of(all: &[f64]) -> Option<Self> {
        let Median { n, median, min, max } = median(all.get(WARMUP_STEPS..)?)?;
        Some(Self { median, min, max, n, warmup: WARMUP_STEPS })
    }
}

/// Measurements of an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochMeasures {
    /// Learning rate of the last step.
    pub lr: f64,
    /// Mean training loss over the steps (first pass, before the update).
    pub train_loss: f64,
    /// Mean test loss.
    pub test_loss: Option<f64>,
    /// Test accuracy; `None` after epochs that the suite does not evaluate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_accuracy: Option<f64>,
    /// Wall-clock time of training.
    pub train_seconds: f64,
}

/// A mask refresh. Older records lack some figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskRefresh {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Fraction of weights that are live after it.
    pub live_fraction: f64,
    /// Live fraction of each tensor, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub live_by_tensor: BTreeMap<String, f64>,
    /// Fraction of the live weights that were live before; `None` if none were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<f64>,
    /// Fraction of the Fisher score held by live weights, if the score selected the mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fisher_share: Option<f64>,
}

/// A squared gradient norm during training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradientNorm {
    /// Step before which it was measured, from 0 over the whole training.
    pub step: u64,
    /// Squared norm of the gradient of the mean loss over all training samples, without
    /// augmentation.
    pub squared: f64,
}

/// Curvature of a batch's loss before its step, compared with the edge of stability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeCheck {
    /// Step before which it was measured, from 0 over the whole training.
    pub step: u64,
    /// Loss.
    pub loss: f64,
    /// Norm of the gradient g.
    pub gradient_norm: f64,
    /// Eigenvalue of the Hessian H with the largest magnitude, with sign.
    pub eigenvalue: f64,
    /// Residual `||H v - eigenvalue v||` of its unit eigenvector v.
    pub residual: f64,
    /// Number of products with H.
    pub products: usize,
    /// Whether the residual is within the tolerance.
    pub converged: bool,
    /// Step length of the central differences for products with H.
    pub difference: f64,
    /// 2 / eta.
    pub gradient_descent_edge: f64,
    /// Edge of the optimizer: 2 / eta for SGD, the SAM-edge for SAM, and the edge in docs/edge.md
    /// for sparse SAM.
    pub edge: f64,
    /// |cos| of the angle between g and v.
    pub alignment: f64,
    /// |cos| of the angle between v and the gradient after the ascent step, if there is one.
    pub ascent_alignment: Option<f64>,
}

/// Sharpness of the weights after an epoch, in evaluation mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharpnessCheck {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Number of training samples in the loss, from the first.
    pub samples: usize,
    /// Mean loss of the samples.
    pub loss: f64,
    /// Eigenvalue of the Hessian H with the largest magnitude, with sign.
    pub eigenvalue: f64,
    /// Residual `||H v - eigenvalue v||` of its unit eigenvector v.
    pub residual: f64,
    /// Eigenvalues next in magnitude, each with its residual.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_eigenvalues: Vec<(f64, f64)>,
    /// Number of products with H.
    pub products: usize,
    /// Whether all residuals are within the tolerance.
    pub converged: bool,
    /// Step length of the central differences for products with H.
    pub difference: f64,
    /// Estimated trace of H (Hutch++).
    pub trace: f64,
    /// Standard error of the trace.
    pub trace_standard_error: Option<f64>,
    /// Distance from the weights at which the loss was maximised.
    pub rho: f64,
    /// Increase from the loss at the weights to the largest loss found at distance rho.
    pub max_loss_increase: f64,
    /// Eigenvalue of largest magnitude of each layer's block of H.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_layer: BTreeMap<String, f64>,
    /// Spectral density as pairs of eigenvalue and weight; the weights sum to 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub density: Vec<(f64, f64)>,
}

/// SHA-256 of weights: f32, little endian.
pub fn fingerprint(weights: &[f32]) -> String {
    sha256_bytes(little_endian::bytes(weights))
}
