//! Training objective: the mean over a batch of a function of logits and labels.

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sharpbench_kernels as kernels;

use super::scalar::Scalar;
use super::slices::{tensor, with_slice};
use super::tape::{Gradient, Node, Pass};
use crate::error::{Error, Result};

/// The function of a sample's logits and label.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Objective {
    /// The sum over the C classes of `-target log softmax(logits)`, with
    /// `target = (1 - label_smoothing) one_hot(label) + label_smoothing / C` (Szegedy et al. 2016, section 7;
    /// `torch.nn.CrossEntropyLoss`).
    CrossEntropy {
        /// From 0, `-log softmax(logits)[label]`, to 1.
        label_smoothing: f64,
    },
    /// Mean over the classes of the squared difference to the label's one-hot vector.
    SquaredError,
}

/// An objective, as named in a suite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectiveName {
    /// Cross-entropy.
    #[default]
    CrossEntropy,
    /// Mean over the classes of the squared difference to the label's one-hot vector.
    SquaredError,
}

impl Default for Objective {
    /// Cross-entropy of the labels as they are.
    fn default() -> Self {
        Self::CrossEntropy { label_smoothing: 0.0 }
    }
}

impl Objective {
    /// Label smoothing, if there is any.
    pub fn label_smoothing(self) -> Option<f64> {
        match self {
            Self::CrossEntropy { label_smoothing } => Some(label_smoothing).filter(|smoothing| *smoothing > 0.0),
            Self::SquaredError => None,
        }
    }

    /// The objective without label smoothing, which test samples are evaluated with.
    pub fn unsmoothed(self) -> Self {
        match self {
            Self::CrossEntropy { .. } => Self::default(),
            Self::SquaredError => self,
        }
    }
}

/// Mean loss of a batch and its per-sample losses.
pub struct Loss {
    /// Mean over the batch.
    pub mean: f64,
    /// Loss of each sample.
    pub per_sample: Vec<f64>,
    objective: Objective,
    /// Copy on the host.
    logits: Tensor,
    slot: Option<usize>,
    /// Device on which the gradient is required.
    device: Device,
    labels: Vec<u32>,
}

impl Pass<'_> {
    /// Loss of `logits` [batch, classes].
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn loss<T: Scalar>(&self, objective: Objective, logits: &Node, labels: &[u32]) -> Result<Loss> {
        let classes = logits.raw.dims2()?.1;
        let (host, device, slot) = (logits.raw.to_device(&Device::Cpu)?, logits.raw.device().clone(), logits.slot);
        let per_sample = with_slice::<T, _>(&host, |l| match objective {
            Objective::CrossEntropy { label_smoothing } => kernels::cross_entropy(l, labels, classes, label_smoothing),
            Objective::SquaredError => kernels::squared_error(l, labels, classes),
        })?;
        let mean = per_sample.iter().sum::<f64>() / per_sample.len() as f64;
        Ok(Loss { mean, per_sample, objective, logits: host, slot, device, labels: labels.to_vec() })
    }

    /// Writes the gradient of the mean loss to `flat`, in name order. Parameters that the plan does
    /// not require get zeros or their gradient. Consumes the tape and frees activations on the way.
    ///
    /// # Errors
    /// When a parameter does not contribute to the loss, or a tensor operation fails.
    pub fn backward<T: Scalar>(self, loss: &Loss, flat: &mut Vec<T>) -> Result<()> {
        flat.resize(self.weights.layout().len(), T::zero());
        self.backward_from(loss.gradient::<T>(1)?, None, flat)
    }

    /// Adds to `squares`, in name order, the sums over the batch's `samples` of the squared
    /// per-sample gradients (of mean losses over the tokens of a text). Takes a single pass, in
    /// evaluation mode, where samples do not interact.
    ///
    /// # Errors
    /// In training mode, on a device, when a parameter is used twice, or a tensor operation fails.
    pub fn backward_by_sample<T: Scalar>(self, loss: &Loss, samples: usize, squares: &mut [T]) -> Result<()> {
        if !self.is_evaluation() || self.device.is_some() {
            return Err(Error::Usage(
                "gradients of single samples are taken at once in evaluation mode and on the CPU only".into(),
            ));
        }
        self.backward_from(loss.gradient::<T>(samples)?, Some(samples), squares)
    }
}

impl Loss {
    /// Slot of the logits and the gradient of `parts` times the mean loss. That is the gradient of
    /// the mean for one part, or of the sum of the means of `parts` equal parts of the batch.
    fn gradient<T: Scalar>(&self, parts: usize) -> Result<(Option<usize>, Gradient)> {
        let (batch, classes) = self.logits.dims2()?;
        let (labels, scale) = (&self.labels, parts as f64 / batch as f64);
        let grad = with_slice::<T, _>(&self.logits, |l| match self.objective {
            Objective::CrossEntropy { label_smoothing } => {
                kernels::cross_entropy_backward(l, labels, classes, label_smoothing, scale)
            }
            Objective::SquaredError => kernels::squared_error_backward(l, labels, classes, scale),
        })?;
        Ok((self.slot, Gradient::plain(tensor(grad, &[batch, classes])?.to_device(&self.device)?)))
    }
}
