//! A cell: one training, complete in itself. Its id is the hash of its canonical form, so equal settings are
//! the same cell in every run, and any change makes another.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::data::DataSpec;
use crate::data::augment::Augment;
use crate::flops::StepCost;
use crate::mask::Pattern;
use crate::model::ModelSpec;
use crate::nn::Objective;
use crate::optim::{Decay, Norm, Perturbation, Schedule, Variant};
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
    /// Samples of a step.
    pub batch_size: usize,
    /// Steps of an epoch, where every step is taken on all training samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_batch_steps: Option<usize>,
    /// What is minimised.
    #[serde(default, skip_serializing_if = "is_default")]
    pub objective: Objective,
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
    /// What is measured on the way, beside what always is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub measure: Measure,
    /// Seed of every random stream.
    pub seed: u64,
}

/// What is measured on the way, beside what always is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// Every so many steps, the squared norm of the gradient of the mean loss over all training samples, not augmented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<usize>,
    /// Every so many steps, before the step and of the loss of its batch: the eigenvalue of the Hessian that is largest in
    /// magnitude, the edges of stability it is compared with, and how gradients are aligned with its eigenvector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<usize>,
    /// Of the loss of training samples, not augmented, with running statistics in BatchNorm: the eigenvalue of the Hessian
    /// that is largest in magnitude, its trace, and how much the loss rises within .05 of the weights. `"last"`: after the last
    /// epoch; a number: after every so many epochs, and the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharpness: Option<SharpnessAt>,
    /// Samples of `sharpness`, the first ones (default 1,000, or all where there are fewer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharpness_samples: Option<usize>,
    /// With `sharpness`: so many eigenvalues of largest magnitude (default 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eigenvalues: Option<usize>,
    /// With `sharpness`: the spectral density too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub density: bool,
    /// With `sharpness`: the largest eigenvalue of every layer's own block of the Hessian too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub by_layer: bool,
    /// Parameters whose names start so are left out of the Hessian.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<String>,
}

impl Measure {
    /// Whether a parameter is left out of the Hessian.
    pub fn freezes(&self, parameter: &str) -> bool {
        self.frozen.iter().any(|prefix| parameter.starts_with(prefix))
    }
}

/// After which epochs sharpness is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum SharpnessAt {
    /// The last.
    Last(Last),
    /// Every so many, and the last.
    Every(usize),
}

/// The word `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Last {
    /// The last epoch.
    Last,
}

/// By hand: a derived untagged enum would answer every mistake with "did not match any variant".
impl<'de> Deserialize<'de> for SharpnessAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = SharpnessAt;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"last\" or a number of epochs")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
                match word {
                    "last" => Ok(SharpnessAt::Last(Last::Last)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, epochs: u64) -> Result<Self::Value, E> {
                let number = usize::try_from(epochs).map(SharpnessAt::Every);
                number.map_err(|_| E::invalid_value(de::Unexpected::Unsigned(epochs), &self))
            }

            fn visit_i64<E: de::Error>(self, epochs: i64) -> Result<Self::Value, E> {
                let number = usize::try_from(epochs).map(SharpnessAt::Every);
                number.map_err(|_| E::invalid_value(de::Unexpected::Signed(epochs), &self))
            }
        }
        deserializer.deserialize_any(Words)
    }
}

impl SharpnessAt {
    /// Whether it is measured after `epoch`, counted from 0.
    pub fn after(self, epoch: usize, epochs: usize) -> bool {
        match self {
            Self::Every(every) if (epoch + 1).is_multiple_of(every) => true,
            Self::Last(_) | Self::Every(_) => epoch + 1 == epochs,
        }
    }
}

/// What is left out of a canonical form, so that cells of before a setting existed keep their ids.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
    /// Sparse SAM with any mask.
    Ssam,
    /// Adaptive SAM.
    Asam,
    /// Surrogate gap guided SAM.
    Gsam,
    /// SAM every few steps.
    #[serde(rename = "looksam")]
    LookSam,
    /// Efficient SAM.
    Esam,
    /// SAM where the gradient is large.
    AeSam,
    /// Friendly SAM.
    FSam,
    /// SAM of normalisation parameters alone.
    SamOn,
    /// SAM with a perturbation for each shard of the batch.
    MSam,
}

impl OptimizerName {
    /// Every optimizer.
    pub const ALL: [Self; 13] = [
        Self::Sgd,
        Self::Sam,
        Self::SsamF,
        Self::SsamD,
        Self::Ssam,
        Self::Asam,
        Self::Gsam,
        Self::LookSam,
        Self::Esam,
        Self::AeSam,
        Self::FSam,
        Self::SamOn,
        Self::MSam,
    ];

    /// One line for people.
    pub fn about(self) -> &'static str {
        match self {
            Self::Sgd => "stochastic gradient descent, momentum, coupled weight decay",
            Self::Sam => "sharpness-aware minimization (Foret et al. 2021): two gradients a step",
            Self::SsamF => "sparse SAM, the mask from Fisher information (Mi et al. 2022)",
            Self::SsamD => "sparse SAM, the mask from dynamic sparse training (Mi et al. 2022)",
            Self::Ssam => "sparse SAM with a mask of any score, pattern and refresh",
            Self::Asam => "adaptive SAM (Kwon et al. 2021): the radius in units of the weights",
            Self::Gsam => "surrogate gap guided SAM (Zhuang et al. 2022)",
            Self::LookSam => "SAM every few steps, its sharp part used again between (Liu et al. 2022)",
            Self::Esam => "efficient SAM (Du et al. 2022): some tensors, the sharpest samples",
            Self::AeSam => "SAM where the gradient is large, SGD elsewhere (Jiang et al. 2023)",
            Self::FSam => "friendly SAM (Li et al. 2024): along what is new in the gradient",
            Self::SamOn => "SAM of normalisation parameters alone (Mueller et al. 2023)",
            Self::MSam => "a perturbation for each shard of m samples (Foret et al. 2021)",
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
    /// What a masked step is divided by.
    #[serde(default, skip_serializing_if = "is_default")]
    pub norm: Norm,
    /// What the mask is applied to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub perturbation: Perturbation,
    /// How the radius changes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rho_decay: RhoDecay,
    /// The method, where it is neither SAM nor sparse SAM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<Variant>,
}

/// How the radius of the ascent step changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RhoDecay {
    /// Not at all.
    #[default]
    Constant,
    /// rho / sqrt t in step t, counted from 1.
    InverseSqrt,
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
    /// SSAM-F: the mask starts empty and is chosen anew after the first step of every `interval`-th epoch. A mask that is
    /// chosen once has the number of epochs for its interval.
    Fisher {
        /// Epochs between refreshes.
        interval: usize,
        /// Training samples in the score.
        samples: usize,
        /// How the score is taken.
        mode: FisherMode,
    },
    /// The same by another score, taken from the first batch of the epoch, between its two passes.
    Interval {
        /// Epochs between refreshes.
        interval: usize,
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

/// When a mask changes, as a suite says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RefreshName {
    /// Chosen once, in the first step.
    Static,
    /// Chosen anew every few epochs.
    Interval,
    /// Dropped and grown in part every few epochs.
    Dynamic,
}

impl Refresh {
    /// Epochs between refreshes.
    pub fn interval(&self) -> usize {
        match self {
            Self::Fisher { interval, .. } | Self::Interval { interval } | Self::Dynamic { interval, .. } => *interval,
        }
    }
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
        self.full_batch_steps.unwrap_or(self.data.train / self.batch_size)
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
        match &self.optimizer.ascent {
            None => StepCost::ONE,
            Some(AscentSpec { variant: Some(variant), .. }) => variant.cost(),
            Some(AscentSpec { mask: Some(mask), .. }) => StepCost::sparse(mask.sparsity),
            Some(_) => StepCost::TWO,
        }
    }

    /// What rho is multiplied with in a step, counted from 0 over the whole training.
    pub fn rho_factor(&self, step: usize) -> f64 {
        match self.optimizer.ascent.as_ref().map(|a| a.rho_decay) {
            Some(RhoDecay::InverseSqrt) => 1.0 / ((step + 1) as f64).sqrt(),
            Some(RhoDecay::Constant) | None => 1.0,
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
            let (refresh, interval) = (&mask.refresh, mask.refresh.interval());
            let name = match refresh {
                Refresh::Dynamic { .. } => RefreshName::Dynamic,
                _ if interval >= self.epochs.max(2) => RefreshName::Static,
                Refresh::Fisher { .. } | Refresh::Interval { .. } => RefreshName::Interval,
            };
            axes.push(("refresh", word(&name)));
            if name != RefreshName::Static {
                axes.push(("mask_interval", interval.to_string()));
            }
            match refresh {
                Refresh::Fisher { samples, mode, .. } => {
                    axes.push(("fisher_samples", samples.to_string()));
                    axes.push(("fisher_mode", word(mode)));
                }
                Refresh::Dynamic { drop_rate, grow, .. } => {
                    axes.push(("drop_rate", drop_rate.to_string()));
                    axes.push(("grow", word(grow)));
                }
                Refresh::Interval { .. } => {}
            }
        }
        if let Some(ascent) = &o.ascent {
            axes.push(("rho", ascent.rho.to_string()));
            if ascent.mask.is_some() {
                axes.push(("norm", word(&ascent.norm)));
                axes.push(("perturbation", word(&ascent.perturbation)));
            }
            axes.push(("rho_decay", word(&ascent.rho_decay)));
            axes.extend(ascent.variant.as_ref().map(Variant::axes).unwrap_or_default());
            axes.push(("batch_norm", word(&ascent.batch_norm)));
        }
        axes.push(("lr", self.lr.to_string()));
        axes.push(("momentum", o.momentum.to_string()));
        axes.push(("nesterov", o.nesterov.to_string()));
        axes.push(("weight_decay", o.weight_decay.to_string()));
        axes.push(("epochs", self.epochs.to_string()));
        axes.push(("seed", self.seed.to_string()));
        axes
    }

    /// A label for progress lines: the axes, without those that have a grid's default value.
    pub fn label(&self) -> String {
        format!("{} seed={}", self.setting_label(), self.seed)
    }

    /// The same without the seed.
    pub fn setting_label(&self) -> String {
        let axes = self.axes();
        let hidden = |axis: &(&str, String)| axis.0 == "seed" || DEFAULTS.contains(&(axis.0, axis.1.as_str()));
        let told = axes.iter().skip(1).filter(|axis| !hidden(axis)).map(|(name, value)| format!("{name}={value}"));
        std::iter::once(axes[0].1.clone()).chain(told).collect::<Vec<_>>().join(" ")
    }
}

/// Names of all axes, in the order of reports.
pub const AXES: [&str; 31] = [
    "optimizer",
    "sparsity",
    "mask",
    "pattern",
    "refresh",
    "mask_interval",
    "fisher_samples",
    "fisher_mode",
    "drop_rate",
    "grow",
    "rho",
    "norm",
    "perturbation",
    "rho_decay",
    "eta",
    "alpha",
    "sam_interval",
    "beta",
    "gamma",
    "delta",
    "threshold",
    "lambda",
    "sigma",
    "shard",
    "batch_norm",
    "lr",
    "momentum",
    "nesterov",
    "weight_decay",
    "epochs",
    "seed",
];

/// Axis values that go without saying.
const DEFAULTS: [(&str, &str); 13] = [
    ("pattern", "unstructured"),
    ("refresh", "interval"),
    ("mask_interval", "1"),
    ("fisher_samples", "128"),
    ("fisher_mode", "clean"),
    ("drop_rate", "0.5"),
    ("grow", "random"),
    ("norm", "full"),
    ("perturbation", "explicit"),
    ("rho_decay", "constant"),
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
