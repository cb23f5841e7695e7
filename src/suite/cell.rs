//! A cell: one training, complete in itself. Its id is the hash of its canonical form, so equal settings are
//! the same cell in every run, and any change makes another.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::DataSpec;
use crate::data::augment::Augment;
use crate::flops::StepCost;
use crate::model::ModelSpec;
use crate::optim::{Decay, Schedule};
use crate::record::sha256_text;

/// Raised by every release in which a cell's numbers change for reasons its settings do not show (kernels, streams,
/// data preparation): records of older numerics are then other cells.
pub const NUMERICS: u32 = 1;

/// One training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// [`NUMERICS`] of the program that planned it.
    pub numerics: u32,
    /// The data set.
    pub data: DataSpec,
    /// The model.
    pub model: ModelSpec,
    /// Epochs of this cell (a multiple of the suite's for some controls).
    pub epochs: usize,
    /// Images of a step.
    pub batch_size: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Its fall.
    pub decay: Decay,
    /// Epochs of linear warm-up.
    pub warmup_epochs: usize,
    /// Augmentation.
    pub augment: Augment,
    /// The optimizer.
    pub optimizer: OptimizerSpec,
    /// Seed of every random stream.
    pub seed: u64,
}

/// An optimizer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerName {
    /// Stochastic gradient descent.
    Sgd,
    /// Sharpness-aware minimization (Foret et al. 2021).
    Sam,
    /// Sparse SAM with a Fisher mask (Mi et al. 2022).
    SsamF,
    /// Sparse SAM with a dynamic mask (Mi et al. 2022).
    SsamD,
}

impl OptimizerName {
    /// Every optimizer.
    pub const ALL: [Self; 4] = [Self::Sgd, Self::Sam, Self::SsamF, Self::SsamD];

    /// One line for people.
    pub fn about(self) -> &'static str {
        match self {
            Self::Sgd => "stochastic gradient descent, momentum, coupled weight decay",
            Self::Sam => "sharpness-aware minimization (Foret et al. 2021): two gradients a step",
            Self::SsamF => "sparse SAM, the mask from Fisher information (Mi et al. 2022)",
            Self::SsamD => "sparse SAM, the mask from dynamic sparse training (Mi et al. 2022)",
        }
    }
}

impl fmt::Display for OptimizerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&word(self))
    }
}

/// Base step and, for SAM and its kin, the ascent step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimizerSpec {
    /// The name.
    pub name: OptimizerName,
    /// Momentum of the base step.
    pub momentum: f64,
    /// Nesterov momentum.
    pub nesterov: bool,
    /// Coupled weight decay.
    pub weight_decay: f64,
    /// The ascent step; none for SGD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ascent: Option<AscentSpec>,
}

/// SAM's ascent step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AscentSpec {
    /// Radius.
    pub rho: f64,
    /// BatchNorm running statistics in the second pass.
    pub batch_norm: BatchNormPass2,
    /// The mask; none for SAM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<MaskSpec>,
}

/// Running statistics of BatchNorm in SAM's second pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BatchNormPass2 {
    /// Updated in both passes (the papers' code).
    Update,
    /// Updated in the first pass only.
    Freeze,
}

/// A sparse perturbation's mask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaskSpec {
    /// Fraction of weights not perturbed.
    pub sparsity: f64,
    /// Granularity.
    pub pattern: Pattern,
    /// Which weights stay live.
    pub score: MaskScore,
    /// When and how the mask changes.
    pub refresh: Refresh,
}

/// Granularity of a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// Single weights, chosen over the whole network.
    Unstructured,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&word(self))
    }
}

/// Score by which weights stay live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MaskScore {
    /// Sum of squared per-sample gradients.
    Fisher,
    /// |g| of the current batch.
    Gradient,
    /// |w|.
    Weight,
    /// None: a random choice, the control that a claim needs.
    Random,
}

impl fmt::Display for MaskScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&word(self))
    }
}

/// When and how a mask changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refresh {
    /// SSAM-F: the mask starts empty and is chosen anew after the first step of every `interval`-th epoch.
    Fisher {
        /// Epochs between refreshes.
        interval: usize,
        /// Training samples in the score.
        samples: usize,
        /// How the score is taken.
        mode: FisherMode,
    },
    /// SSAM-D: the mask starts random; in the first step of every `interval`-th epoch some live weights are
    /// dropped and as many dead ones grown.
    Dynamic {
        /// Epochs between refreshes.
        interval: usize,
        /// Initial fraction of live weights dropped.
        drop_rate: f64,
        /// Which dead weights come alive.
        grow: Grow,
    },
}

/// How the Fisher score is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FisherMode {
    /// As the papers' code does: training mode with batches of one, augmentation, running statistics updated.
    Paper,
    /// Evaluation mode, no augmentation.
    Clean,
}

/// Score by which dead weights come alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Grow {
    /// A random choice (SSAM-D).
    Random,
    /// |g| of the current batch.
    Gradient,
    /// |w|.
    Weight,
}

impl Cell {
    /// First 16 hexadecimal digits of the SHA-256 of the canonical form (compact JSON in declaration order).
    pub fn id(&self) -> String {
        sha256_text(&serde_json::to_string(self).unwrap_or_default())[..16].to_string()
    }

    /// The mask, where there is one.
    pub fn mask(&self) -> Option<&MaskSpec> {
        self.optimizer.ascent.as_ref()?.mask.as_ref()
    }

    /// Fraction of weights not perturbed, where there is a mask.
    pub fn sparsity(&self) -> Option<f64> {
        self.mask().map(|m| m.sparsity)
    }

    /// Radius of the ascent step, where there is one.
    pub fn rho(&self) -> Option<f64> {
        self.optimizer.ascent.as_ref().map(|a| a.rho)
    }

    /// Steps of an epoch (the incomplete last batch is dropped).
    pub fn steps_per_epoch(&self) -> usize {
        self.data.train / self.batch_size
    }

    /// The learning rate over time.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            lr: self.lr,
            decay: self.decay.clone(),
            warmup_epochs: self.warmup_epochs,
            epochs: self.epochs,
            steps_per_epoch: self.steps_per_epoch(),
        }
    }

    /// What a step costs.
    pub fn step_cost(&self) -> StepCost {
        match (&self.optimizer.ascent, self.sparsity()) {
            (None, _) => StepCost::One,
            (Some(_), None) => StepCost::Two,
            (Some(_), Some(sparsity)) => StepCost::SparseTwo { sparsity },
        }
    }

    /// The same cell but for its seed: cells with one setting make one row of a report.
    pub fn setting(&self) -> Self {
        Self { seed: 0, ..self.clone() }
    }

    /// Every axis a grid can vary, with the value as a suite writes it; those that apply to this cell.
    pub fn axes(&self) -> Vec<(&'static str, String)> {
        let o = &self.optimizer;
        let mut axes = vec![("optimizer", o.name.to_string())];
        if let Some(mask) = self.mask() {
            axes.push(("sparsity", mask.sparsity.to_string()));
            axes.push(("mask", mask.score.to_string()));
            axes.push(("pattern", mask.pattern.to_string()));
            match &mask.refresh {
                Refresh::Fisher { interval, samples, mode } => {
                    axes.push(("mask_interval", interval.to_string()));
                    axes.push(("fisher_samples", samples.to_string()));
                    axes.push(("fisher_mode", word(mode)));
                }
                Refresh::Dynamic { interval, drop_rate, grow } => {
                    axes.push(("mask_interval", interval.to_string()));
                    axes.push(("drop_rate", drop_rate.to_string()));
                    axes.push(("grow", word(grow)));
                }
            }
        }
        if let Some(ascent) = &o.ascent {
            axes.push(("rho", ascent.rho.to_string()));
            axes.push(("batch_norm", word(&ascent.batch_norm)));
        }
        axes.push(("momentum", o.momentum.to_string()));
        axes.push(("nesterov", o.nesterov.to_string()));
        axes.push(("weight_decay", o.weight_decay.to_string()));
        axes.push(("epochs", self.epochs.to_string()));
        axes.push(("seed", self.seed.to_string()));
        axes
    }

    /// A label for progress lines: the axes, without those that have a grid's default value.
    pub fn label(&self) -> String {
        let axes = self.axes();
        let told = axes.iter().skip(1).filter(|axis| !DEFAULTS.contains(&(axis.0, axis.1.as_str())));
        let told = told.map(|(name, value)| format!("{name}={value}"));
        std::iter::once(axes[0].1.clone()).chain(told).collect::<Vec<_>>().join(" ")
    }
}

/// Names of all axes, in the order of reports.
pub const AXES: [&str; 16] = [
    "optimizer",
    "sparsity",
    "mask",
    "pattern",
    "mask_interval",
    "fisher_samples",
    "fisher_mode",
    "drop_rate",
    "grow",
    "rho",
    "batch_norm",
    "momentum",
    "nesterov",
    "weight_decay",
    "epochs",
    "seed",
];

/// Axis values that go without saying.
const DEFAULTS: [(&str, &str); 9] = [
    ("pattern", "unstructured"),
    ("mask_interval", "1"),
    ("fisher_samples", "128"),
    ("fisher_mode", "clean"),
    ("drop_rate", "0.5"),
    ("grow", "random"),
    ("batch_norm", "update"),
    ("momentum", "0.9"),
    ("nesterov", "false"),
];

/// The word that stands for a value in a suite file.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => format!("{other:?}"),
    }
}
