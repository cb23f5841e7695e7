//! A cell: one self-contained training. Its id is the hash of its canonical form. Equal settings
//! are the same cell in every run, and any change makes another cell.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::data::augment::Augment;
use crate::data::{DataSpec, Input};
use crate::digest::sha256_text;
use crate::mask::MaskSpec;
use crate::model::ModelSpec;
use crate::nn::Objective;
use crate::optim::{AscentSpec, Decay, OptimizerSpec, Perturbation, Schedule, Value, is_default};
use crate::word::{LONGEST_NAME, is_plain};

/// Version of a cell's numerics. A release raises it when results change for reasons the settings
/// do not show (kernels, streams, data preparation). Records of older numerics then belong to other
/// cells.
pub const NUMERICS: u32 = 1;

/// Numerics of the cells of an optimizer and a model: [`NUMERICS`], plus 1 if the method has changed since (implicit perturbation,
/// ESAM), plus 1 if the model's kernels have (layer normalisation of more than 16 features sums in another order).
pub fn numerics(optimizer: &OptimizerSpec, model: &ModelSpec) -> u32 {
    let implicit = |ascent: &AscentSpec| ascent.perturbation == Perturbation::Implicit;
    let changed_method = optimizer.name == "esam" || optimizer.ascent.as_ref().is_some_and(implicit);
    let changed_model = ["vit", "transformer", "edge-cnn"].contains(&model.name.as_str());
    NUMERICS + u32::from(changed_method) + u32::from(changed_model)
}

/// Maximum epochs of a training: the schedule's maximum times a factor.
const MOST_EPOCHS: usize = 100_000 * 100;
/// Maximum steps of an epoch whose steps use all training samples.
pub(super) const MOST_FULL_BATCH_STEPS: usize = 1_000_000;

/// One training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Cell {
    /// [`numerics()`] of the program that planned the cell.
    pub numerics: u32,
    /// The data set.
    pub data: DataSpec,
    /// The model.
    pub model: ModelSpec,
    /// Epochs of this cell (a multiple of the suite's for some controls).
    pub epochs: usize,
    /// Samples per step.
    pub batch_size: usize,
    /// Whether an epoch ends with an incomplete batch of the samples that are left, instead of leaving them out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keep_last: bool,
    /// Steps per epoch, if every step uses all training samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_batch_steps: Option<usize>,
    /// Training objective.
    #[serde(default, skip_serializing_if = "is_default")]
    pub objective: Objective,
    /// Peak learning rate.
    pub lr: f64,
    /// Decay of the learning rate.
    pub decay: Decay,
    /// Epochs of linear warm-up.
    pub warmup_epochs: usize,
    /// Augmentation.
    pub augment: Augment,
    /// The optimizer.
    pub optimizer: OptimizerSpec,
    /// Measurements beyond the standard ones.
    #[serde(default, skip_serializing_if = "is_default")]
    pub measure: Measure,
    /// Seed of every random stream.
    pub seed: u64,
}

/// Additional measurements during training.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// Every N steps, the squared norm of the gradient of the mean loss over all training samples,
    /// not augmented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<usize>,
    /// Epochs from one evaluation of the test samples to the next (default 1); the last epoch is always evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<usize>,
    /// Every N steps, in turn with the step: the time of a fixed amount of work, as a measure of the machine's speed. `compare` then
    /// judges steps by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_turn: Option<usize>,
    /// Every N steps, before the step and of the loss of its batch: the eigenvalue of the Hessian
    /// that is largest in magnitude, the edges of stability it is compared with, and how gradients
    /// are aligned with its eigenvector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<usize>,
    /// Of the loss of training samples, not augmented, with running statistics in BatchNorm: the eigenvalue of the Hessian
    /// that is largest in magnitude, its trace, and how much the loss rises within .05 of the weights. `"last"`: after the last
    /// epoch; a number N: after every N epochs, and the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharpness: Option<SharpnessAt>,
    /// Samples of `sharpness`, the first ones (default 1,000, or all where there are fewer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharpness_samples: Option<usize>,
    /// With `sharpness`: number of eigenvalues of largest magnitude (default 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eigenvalues: Option<usize>,
    /// With `sharpness`: the spectral density too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub density: bool,
    /// With `sharpness`: the largest eigenvalue of every layer's own block of the Hessian too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub by_layer: bool,
    /// Parameters whose names start with one of these are left out of the Hessian.
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
    /// Every N epochs, and the last.
    Every(usize),
}

/// The word `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Last {
    /// The last epoch.
    Last,
}

/// Implemented by hand, since a derived untagged enum answers every mistake with "did not match any
/// variant".
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
    /// Whether sharpness is measured after `epoch`, counted from 0.
    pub fn after(self, epoch: usize, epochs: usize) -> bool {
        match self {
            Self::Every(every) if (epoch + 1).is_multiple_of(every) => true,
            Self::Last(_) | Self::Every(_) => epoch + 1 == epochs,
        }
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut cell = Self::deserialize(deserializer)?;
        cell.check().map_err(de::Error::custom)?;
        if let Some(mask) = cell.optimizer.ascent.as_mut().and_then(|ascent| ascent.mask.as_mut()) {
            mask.refresh = mask.refresh.clone().normalised(cell.epochs);
        }
        Ok(cell)
    }
}

impl Cell {
    /// First 16 hexadecimal digits of the SHA-256 of the canonical form (compact JSON in declaration order).
    pub fn id(&self) -> String {
        let canonical = serde_json::to_string(self).expect("keys of a cell are strings, as JSON wants them");
        sha256_text(&canonical)[..16].to_string()
    }

    /// Checks properties of a cell from a file that a suite guarantees: no counts of 0, and names
    /// that are safe in file names and free of terminal control characters.
    fn check(&self) -> Result<(), String> {
        if !(1..=MOST_EPOCHS).contains(&self.epochs) || self.batch_size == 0 {
            return Err(format!("a cell has {} epochs and batches of {} samples", self.epochs, self.batch_size));
        }
        if self.full_batch_steps.is_some_and(|steps| !(1..=MOST_FULL_BATCH_STEPS).contains(&steps))
            || self.warmup_epochs >= self.epochs
            || self.batch_size > self.data.train
        {
            return Err(format!(
                "a cell has {} warm-up epochs of {}, batches of {} of {} samples, or {:?} steps an epoch of all of them, \
                 which no suite has",
                self.warmup_epochs, self.epochs, self.batch_size, self.data.train, self.full_batch_steps
            ));
        }
        self.data.check_numbers()?;
        if let Objective::CrossEntropy { label_smoothing } = self.objective
            && !(0.0..=1.0).contains(&label_smoothing)
        {
            return Err(format!("a cell has a label smoothing of {label_smoothing}, which must be from 0 to 1"));
        }
        let variant = self.optimizer.ascent.as_ref().and_then(|ascent| ascent.variant.as_ref());
        let settings = self.optimizer.own_settings();
        let words =
            settings.iter().filter_map(|(_, value)| if let Value::Word(word) = value { Some(word) } else { None });
        let lists =
            settings.iter().filter_map(|(_, value)| if let Value::Words(words) = value { Some(words) } else { None });
        let is_parameter = |name: &str| name.split('.').all(is_plain);
        if let Some(name) = lists.flatten().find(|name| !is_parameter(name.trim_end_matches('.'))) {
            return Err(format!("{name:?} is not the beginning of a parameter's name"));
        }
        let names = [&self.data.name, &self.model.name, &self.optimizer.name]
            .into_iter()
            .chain(settings.iter().map(|(key, _)| key));
        if let Some(name) = names.chain(words).find(|name| !is_plain(name)) {
            return Err(format!(
                "the name {name:?} does not consist of letters, digits, - and _, at most {LONGEST_NAME}"
            ));
        }
        match variant {
            Some(variant) if variant.name != self.optimizer.name => {
                Err(format!("a cell of {} has the settings of {}", self.optimizer.name, variant.name))
            }
            _ => Ok(()),
        }
    }

    /// Mask, if there is one.
    pub fn mask(&self) -> Option<&MaskSpec> {
        self.optimizer.ascent.as_ref()?.mask.as_ref()
    }

    /// Fraction of weights not perturbed, if a mask sets it.
    pub fn sparsity(&self) -> Option<f64> {
        self.mask()?.amount.sparsity()
    }

    /// Radius of the ascent step, if there is one.
    pub fn rho(&self) -> Option<f64> {
        self.optimizer.ascent.as_ref().map(|a| a.rho)
    }

    /// Steps per epoch.
    pub fn steps_per_epoch(&self) -> usize {
        let (full, left) = (self.data.train / self.batch_size, self.data.train % self.batch_size);
        self.full_batch_steps.unwrap_or(full + usize::from(self.keep_last && left > 0))
    }

    /// Training samples that no step of an epoch uses.
    pub fn left_out(&self) -> usize {
        if self.keep_last || self.full_batch_steps.is_some() { 0 } else { self.data.train % self.batch_size }
    }

    /// Samples of all steps of the training up to a step, counted from 0 over the whole training.
    pub fn samples(&self, steps: usize) -> usize {
        if self.full_batch_steps.is_some() {
            return steps * self.data.train;
        }
        let (epochs, rest) = (steps / self.steps_per_epoch().max(1), steps % self.steps_per_epoch().max(1));
        epochs * (self.data.train - self.left_out()) + rest * self.batch_size
    }

    /// Accuracy of a single test sample, of texts of a character: accuracies are whole multiples of it.
    pub fn accuracy_step(&self) -> f64 {
        let each = match self.data.input() {
            Ok(Input::Tokens { length, .. }) => length,
            _ => 1,
        };
        1.0 / self.data.test.saturating_mul(each).max(1) as f64
    }

    /// Whether the test samples are evaluated after an epoch, counted from 0.
    pub fn tests_after(&self, epoch: usize) -> bool {
        epoch + 1 == self.epochs || (epoch + 1).is_multiple_of(self.measure.test.unwrap_or(1))
    }

    /// Learning rate schedule.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            lr: self.lr,
            decay: self.decay.clone(),
            warmup_epochs: self.warmup_epochs,
            epochs: self.epochs,
            steps_per_epoch: self.steps_per_epoch(),
        }
    }

    /// Factor of rho in a step, counted from 0 over the whole training, with this learning rate.
    pub fn rho_factor(&self, step: usize, lr: f64) -> f64 {
        self.optimizer.ascent.as_ref().map_or(1.0, |ascent| ascent.rho_decay.factor(step, lr / self.lr))
    }

    /// The cell with the same settings but for its ascent step.
    pub fn without_ascent(&self) -> Self {
        let optimizer = self.optimizer.clone().without_ascent();
        Self { numerics: numerics(&optimizer, &self.model), optimizer, ..self.clone() }
    }

    /// The cell without its seed. Cells with the same setting share a row in a report.
    pub fn setting(&self) -> Self {
        Self { seed: 0, ..self.clone() }
    }
}
