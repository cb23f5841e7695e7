//! A mask as described by a cell: its sparsity, pattern, score and schedule.

use std::fmt;

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Mask, Pattern, StepCosts, fisher_keep};
use crate::nn::ParamLayout;
use crate::word::word;

/// Mask of a sparse perturbation. `stored.rs` has its JSON form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "super::stored::StoredMask", into = "super::stored::StoredMask")]
pub struct MaskSpec {
    /// How much is perturbed.
    pub amount: Amount,
    /// Granularity.
    pub pattern: Pattern,
    /// Selection of the mask: schedule and score.
    pub refresh: Refresh,
}

/// How much a mask perturbs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// All but this fraction of the weights.
    Sparsity(f64),
    /// What fits into this many times the FLOPs of a step of SGD.
    Budget(f64),
}

impl Amount {
    /// Fraction of weights not perturbed, if it is set.
    pub fn sparsity(self) -> Option<f64> {
        if let Self::Sparsity(sparsity) = self { Some(sparsity) } else { None }
    }

    /// Executed FLOPs of a step over those of SGD's, if they are set.
    pub fn budget(self) -> Option<f64> {
        if let Self::Budget(budget) = self { Some(budget) } else { None }
    }
}

/// Schedule and score of a mask's selection.
#[derive(Clone, Debug, PartialEq)]
pub struct Refresh {
    /// Score that selects the live weights.
    pub score: Score,
    /// Schedule of mask changes.
    pub when: When,
}

/// Score that selects the live weights.
#[derive(Clone, Debug, PartialEq)]
pub enum Score {
    /// Sum of squared per-sample gradients, computed after the refreshing step (SSAM-F).
    Fisher {
        /// Number of training samples.
        samples: usize,
        /// How the score is computed.
        mode: FisherMode,
    },
    /// |g| of the current batch, computed between its two passes.
    Gradient,
    /// |w|.
    Weight,
    /// No score: a random choice, as a control.
    Random,
}

/// Schedule of mask changes.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// Selected once, in the first step. The mask is empty until then.
    Static {
        /// Interval in the stored form: epochs of the training, or more.
        epochs: usize,
    },
    /// Selected again in the first step of every interval. The mask is empty until the first
    /// selection.
    Interval {
        /// Epochs between refreshes.
        epochs: usize,
    },
    /// Starts random. In the first step of every interval, some live weights are dropped and as
    /// many dead ones grown (SSAM-D).
    Dynamic {
        /// Epochs between refreshes.
        epochs: usize,
        /// Initial fraction of live weights to drop.
        drop_rate: f64,
        /// Score that selects the dead weights to grow.
        grow: Grow,
    },
}

/// Score of a mask, as named in a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MaskScore {
    /// Sum of squared per-sample gradients.
    Fisher,
    /// |g| of the current batch.
    Gradient,
    /// |w|.
    Weight,
    /// No score: a random choice, as a control.
    Random,
}

/// Schedule of mask changes, as named in a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RefreshName {
    /// Chosen once, in the first step.
    Static,
    /// Chosen again every few epochs.
    Interval,
    /// Dropped and grown in part every few epochs.
    Dynamic,
}

/// How the Fisher score is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FisherMode {
    /// As the papers' code does: training mode with batches of one, augmentation, running statistics updated.
    Paper,
    /// Evaluation mode, no augmentation.
    Clean,
}

/// Score that selects the dead weights to grow.
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

impl MaskSpec {
    /// Selects the mask with the best `scores`, or a random one without scores. `costs` are those of the model's steps, which a
    /// budget requires; without them it selects nothing.
    pub fn choose(
        &self,
        layout: &ParamLayout,
        costs: Option<&StepCosts>,
        scores: Option<&[f32]>,
        rng: &mut ChaCha8Rng,
    ) -> Mask {
        match self.amount {
            Amount::Sparsity(sparsity) => self.pattern.choose(layout, fisher_keep(layout.len(), sparsity), scores, rng),
            Amount::Budget(budget) => {
                costs.map_or_else(|| Mask::empty(layout.len()), |costs| costs.choose(layout, budget, scores, rng))
            }
        }
    }
}

impl Score {
    /// Name in a suite.
    pub fn name(&self) -> MaskScore {
        match self {
            Self::Fisher { .. } => MaskScore::Fisher,
            Self::Gradient => MaskScore::Gradient,
            Self::Weight => MaskScore::Weight,
            Self::Random => MaskScore::Random,
        }
    }
}

impl Refresh {
    /// Whether a refresh is due in the first step of `epoch`, counted from 0.
    pub fn is_due(&self, epoch: usize) -> bool {
        match self.when {
            When::Static { .. } => epoch == 0,
            When::Interval { epochs } | When::Dynamic { epochs, .. } => epoch.is_multiple_of(epochs),
        }
    }

    /// Whether Fisher scores select the mask, after the step.
    pub fn is_by_fisher(&self) -> bool {
        matches!(self.score, Score::Fisher { .. })
    }

    /// Whether a refresh reads the batch's full gradient, including dead weights.
    pub fn reads_gradient(&self) -> bool {
        self.score == Score::Gradient || matches!(self.when, When::Dynamic { grow: Grow::Gradient, .. })
    }

    /// Normalises the schedule for a training of `epochs` epochs: a mask selected only once becomes
    /// static, and any mask in a single epoch becomes an interval.
    pub(crate) fn normalised(self, epochs: usize) -> Self {
        let when = match self.when {
            When::Static { epochs: interval } | When::Interval { epochs: interval } if interval >= epochs.max(2) => {
                When::Static { epochs: interval }
            }
            When::Static { epochs: interval } => When::Interval { epochs: interval },
            when => when,
        };
        Self { when, ..self }
    }
}

impl When {
    /// Name in a suite.
    pub fn name(&self) -> RefreshName {
        match self {
            Self::Static { .. } => RefreshName::Static,
            Self::Interval { .. } => RefreshName::Interval,
            Self::Dynamic { .. } => RefreshName::Dynamic,
        }
    }
}

impl fmt::Display for MaskScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&word(self))
    }
}
