//! Layer normalisation.

use sharpbench_kernels as kernels;

use super::by_dtype;
use crate::error::Result;
use crate::nn::device;
use crate::nn::params::{ParamId, ParamsBuilder};
use crate::nn::scalar::Scalar;
use crate::nn::slices::{tensor, with_slice};
use crate::nn::tape::{BatchPart, Gradient, Node, Pass, round};

/// Added to the variance (PyTorch's default).
const LAYER_NORM_EPS: f64 = 1e-5;

/// Layer normalisation (Ba et al. 2016) over the last axis; for an image [batch, h, w, channels],
/// over the channels of each pixel.
pub struct LayerNorm {
    weight: ParamId,
    bias: ParamId,
}

impl LayerNorm {
    /// Declares `name.weight` and `name.bias`, both `[features]`.
    pub fn new(params: &mut ParamsBuilder, name: &str, features: usize) -> Self {
        let [weight, bias] = params.normalisation(name, features);
        Self { weight, bias }
    }

    /// [..., features] -> the same shape.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        pass.layer([x], &[self.weight, self.bias], |[x], pass| match pass.device {
            Some(_) => device::layer_norm((self.weight, self.bias, LAYER_NORM_EPS), x, pass),
            None => by_dtype!(x, layer_norm(self, x, pass)),
        })
    }
}

fn layer_norm<T: Scalar>(layer: &LayerNorm, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let (weight_id, bias_id) = (layer.weight, layer.bias);
    let (gamma, beta) = (pass.weights.get::<T>(weight_id), pass.weights.get::<T>(bias_id));
    let value = x.value::<T>()?;
    let (y, rows) = with_slice::<T, _>(&value, |x| kernels::layer_norm(x, gamma, beta, LAYER_NORM_EPS))?;
    let slot = x.slot;
    Ok(pass.record(tensor(y, x.dims())?, &[x], &[weight_id, bias_id], move |dy, gradients| {
        let gamma = gradients.weights.get::<T>(weight_id);
        let dy = dy.value::<T>()?;
        let grad =
            with_slice::<T, _>(&value, |x| with_slice(&dy, |dy| kernels::layer_norm_backward(x, dy, gamma, &rows)))??;
        if gradients.is_by_sample() {
            with_slice::<T, _>(&value, |x| {
                with_slice(&dy, |dy| {
                    let of = |part: BatchPart| {
                        kernels::layer_norm_backward(part.values(x), part.values(dy), gamma, part.values(&rows))
                    };
                    gradients.param::<T>(weight_id, |part, grad| round(&of(part).gamma, grad))?;
                    gradients.param::<T>(bias_id, |part, grad| round(&of(part).beta, grad))
                })
            })???;
        } else {
            gradients.add_param::<T>(weight_id, &grad.gamma)?;
            gradients.add_param::<T>(bias_id, &grad.beta)?;
        }
        gradients.add::<T>(slot, Gradient::plain(tensor(grad.x, dy.dims())?))
    }))
}
