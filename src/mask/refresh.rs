//! The mask of a sparse perturbation as a cell describes it: how sparse, in which pattern, chosen by which score, and when.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Pattern;
use crate::word::word;

/// A sparse perturbation's mask. `stored.rs` has its JSON form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "super::stored::StoredMask", into = "super::stored::StoredMask")]
pub struct MaskSpec {
    /// Fraction of weights not perturbed.
    pub sparsity: f64,
    /// Granularity.
    pub pattern: Pattern,
    /// When the mask is chosen, and by which score.
    pub refresh: Refresh,
}

/// When a mask is chosen, and by which score.
#[derive(Clone, Debug, PartialEq)]
pub struct Refresh {
    /// Which weights stay live.
    pub score: Score,
    /// When the mask changes.
    pub when: When,
}

/// Score by which weights stay live.
#[derive(Clone, Debug, PartialEq)]
pub enum Score {
    /// Sum of squared per-sample gradients, taken after the step that refreshes (SSAM-F).
    Fisher {
        /// Training samples in the score.
        samples: usize,
        /// How the score is taken.
        mode: FisherMode,
    },
    /// |g| of the current batch, taken between its two passes.
    Gradient,
    /// |w|.
    Weight,
    /// None: a random choice, the control that a claim needs.
    Random,
}

/// When a mask changes.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// Chosen once, in the first step. The mask is empty until then.
    Static {
        /// The interval that it is stored with: epochs of the training, or more.
        epochs: usize,
    },
    /// Chosen again in the first step of every so many epochs. The mask is empty until the first choice.
    Interval {
        /// Epochs between refreshes.
        epochs: usize,
    },
    /// Starts random; in the first step of every so many epochs some live weights are dropped and as many dead ones
    /// grown (SSAM-D).
    Dynamic {
        /// Epochs between refreshes.
        epochs: usize,
        /// Initial fraction of live weights dropped.
        drop_rate: f64,
        /// Which dead weights come alive.
        grow: Grow,
    },
}

/// [`Score`] as a suite names it.
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

/// [`When`] as a suite names it.
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

impl Score {
    /// Its name in a suite.
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
    /// Whether the mask is refreshed in the first step of `epoch`, counted from 0.
    pub fn is_due(&self, epoch: usize) -> bool {
        match self.when {
            When::Static { .. } => epoch == 0,
            When::Interval { epochs } | When::Dynamic { epochs, .. } => epoch.is_multiple_of(epochs),
        }
    }

    /// Whether the mask is chosen by Fisher scores, after the step.
    pub fn is_by_fisher(&self) -> bool {
        matches!(self.score, Score::Fisher { .. })
    }

    /// Whether a refresh reads the gradient of the batch, the dead weights' too.
    pub fn reads_gradient(&self) -> bool {
        self.score == Score::Gradient || matches!(self.when, When::Dynamic { grow: Grow::Gradient, .. })
    }

    /// The refresh in a training of `epochs` epochs: a mask that is chosen once there is static, and every mask of a single epoch
    /// is one of an interval.
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
    /// Its name in a suite.
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
