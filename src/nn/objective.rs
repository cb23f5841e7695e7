//! What a training minimises: the mean over a batch of a function of its logits and labels.

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sharpbench_kernels as kernels;

use super::scalar::Scalar;
use super::slices::{tensor, with_slice};
use super::tape::{Gradient, Node, Pass};
use crate::error::{Error, Result};

/// The function of a sample's logits and label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// `-log softmax(logits)[label]`.
    #[default]
    CrossEntropy,
    /// Mean over the classes of the squared difference to the label's one-hot vector.
    SquaredError,
}

/// A mean loss with its per-sample parts.
pub struct Loss {
    /// Mean over the batch.
    pub mean: f64,
    /// Loss of each sample.
    pub per_sample: Vec<f64>,
    objective: Objective,
    /// On the host.
    logits: Tensor,
    slot: Option<usize>,
    /// Where the gradient is wanted.
    device: Device,
    labels: Vec<u32>,
}

impl Pass<'_> {
    /// The loss of `logits` [batch, classes].
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn loss<T: Scalar>(&self, objective: Objective, logits: &Node, labels: &[u32]) -> Result<Loss> {
        let classes = logits.raw.dims2()?.1;
        let (host, device, slot) = (logits.raw.to_device(&Device::Cpu)?, logits.raw.device().clone(), logits.slot);
        let per_sample = with_slice::<T, _>(&host, |l| match objective {
            Objective::CrossEntropy => kernels::cross_entropy(l, labels, classes),
            Objective::SquaredError => kernels::squared_error(l, labels, classes),
        })?;
        let mean = per_sample.iter().sum::<f64>() / per_sample.len() as f64;
        Ok(Loss { mean, per_sample, objective, logits: host, slot, device, labels: labels.to_vec() })
    }

    /// Writes the gradient of the mean loss to `flat`, in name order; where a plan requires nothing, zeros or the gradient.
    /// Consumes the tape; activations are freed on the way.
    ///
    /// # Errors
    /// When a parameter took no part in the loss, or a tensor operation fails.
    pub fn backward<T: Scalar>(self, loss: &Loss, flat: &mut Vec<T>) -> Result<()> {
        flat.resize(self.weights.layout().len(), T::zero());
        self.backward_from(loss.gradient::<T>(1)?, None, flat)
    }

    /// Adds to `squares`, in name order, the sums over the batch's `samples` of the squared gradients of their own mean losses
    /// (over the tokens of a text): one pass for all of them, in evaluation mode, where samples do not see one another.
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
    /// Slot of the logits, and the gradient of `parts` times the mean: of the mean itself, or of the sum of the means of so
    /// many equal parts of the batch.
    fn gradient<T: Scalar>(&self, parts: usize) -> Result<(Option<usize>, Gradient)> {
        let (batch, classes) = self.logits.dims2()?;
        let (labels, scale) = (&self.labels, parts as f64 / batch as f64);
        let grad = with_slice::<T, _>(&self.logits, |l| match self.objective {
            Objective::CrossEntropy => kernels::cross_entropy_backward(l, labels, classes, scale),
            Objective::SquaredError => kernels::squared_error_backward(l, labels, classes, scale),
        })?;
        Ok((self.slot, Gradient::plain(tensor(grad, &[batch, classes])?.to_device(&self.device)?)))
    }
}
