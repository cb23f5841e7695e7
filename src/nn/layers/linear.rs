//! Fully connected layer.

use candle_nn::Init;
use sharpbench_kernels::{self as kernels, LinearShape};

use super::by_dtype;
use crate::error::{Error, Result};
use crate::flops::linear_macs;
use crate::nn::device;
use crate::nn::init::default_init;
use crate::nn::params::{ParamId, ParamsBuilder};
use crate::nn::sample_shape::SampleShape;
use crate::nn::scalar::Scalar;
use crate::nn::slices::{tensor, with_slice};
use crate::nn::tape::{Gradient, Node, Pass};

/// Fully connected layer, `y = x W^T + b`.
pub struct Linear {
    weight: ParamId,
    bias: ParamId,
}

impl Linear {
    /// Declares `name.weight` `[d_out, d_in]` and `name.bias` `[d_out]`, with PyTorch's initial
    /// values, for the features at each position of `x`, which become `d_out`.
    pub fn new(params: &mut ParamsBuilder, name: &str, x: &mut SampleShape, d_out: usize) -> Self {
        let init = [default_init(x.channels); 2];
        Self::with_init(params, name, x, d_out, init)
    }

    /// Like [`Linear::new`], with different initial values.
    pub fn with_init(
        params: &mut ParamsBuilder,
        name: &str,
        x: &mut SampleShape,
        d_out: usize,
        init: [Init; 2],
    ) -> Self {
        let d_in = std::mem::replace(&mut x.channels, d_out);
        params.count_macs(x.positions() as u64 * linear_macs(d_in, d_out));
        let weight = params.param(&format!("{name}.weight"), &[d_out, d_in], init[0]);
        Self { weight, bias: params.param(&format!("{name}.bias"), &[d_out], init[1]) }
    }

    /// [..., d_in] -> [..., d_out].
    ///
    /// # Errors
    /// When the last axis has the wrong length.
    pub fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let spec = &pass.weights.layout().spec(self.weight);
        if x.channels() != spec.shape[1] {
            let (name, d_in) = (&spec.name, spec.shape[1]);
            return Err(Error::Usage(format!("{name} reads {d_in} values, {:?} has another last axis", x.dims())));
        }
        pass.layer([x], &[self.weight, self.bias], |[x], pass| match pass.device {
            Some(_) => device::linear(self.weight, self.bias, x, pass),
            None => by_dtype!(x, linear(self, x, pass)),
        })
    }
}

fn linear<T: Scalar>(layer: &Linear, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let (weight_id, bias_id) = (layer.weight, layer.bias);
    let (weight, bias) = (pass.weights.get::<T>(weight_id), pass.weights.get::<T>(bias_id));
    let (d_in, d_out) = (weight.len() / bias.len(), bias.len());
    let s = LinearShape { rows: x.raw.elem_count() / d_in, d_in, d_out };
    let value = x.value::<T>()?;
    let y = with_slice::<T, _>(&value, |x| kernels::linear(&s, x, weight, bias, &pass.flops))?;
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = d_out;
    }
    let (slot, in_dims) = (x.slot, x.dims().to_vec());
    // Only the weight gradient reads it again.
    let value = pass.owes(weight_id).then_some(value);
    Ok(pass.record(tensor(y, &dims)?, &[x], &[weight_id, bias_id], move |dy, gradients| {
        let (dy, flops) = (dy.value::<T>()?, gradients.flops.clone());
        with_slice::<T, _>(&dy, |dy| {
            if let Some(value) = value.as_ref().filter(|_| gradients.is_by_sample()) {
                with_slice(value, |x| {
                    gradients.param::<T>(weight_id, |part, dw| {
                        let (x, dy) = (part.values(x), part.values(dy));
                        let s = LinearShape { rows: x.len() / d_in, ..s };
                        kernels::linear_weight_grad(&s, x, dy, None, dw, &flops);
                    })
                })??;
            } else if let Some(value) = &value {
                gradients.param_channels::<T>(weight_id, |live, dw| {
                    with_slice(value, |x| kernels::linear_weight_grad(&s, x, dy, live, dw, &flops))
                })?;
            }
            gradients.param::<T>(bias_id, |part, db| kernels::linear_bias_grad(part.values(dy), db))?;
            if slot.is_none() {
                return Ok(());
            }
            let weight = gradients.input_weights.get::<T>(weight_id);
            let dx = kernels::linear_input_grad(&s, dy, weight, &flops);
            gradients.add::<T>(slot, Gradient::plain(tensor(dx, &in_dims)?))
        })?
    }))
}
