//! Batch normalisation.

use candle_core::{DType, Tensor};

use super::{positive_part, rows, sum_rows, where_positive};
use crate::error::Result;
use crate::nn::params::{ParamId, RunningId};
use crate::nn::tape::{BatchNormMode, Node, Pass};

/// Parameters of a batch normalisation: scale, shift, running statistics, the epsilon added to the
/// variance, and whether a ReLU follows.
pub(in crate::nn) struct BatchNormParams {
    pub(in crate::nn) weight: ParamId,
    pub(in crate::nn) bias: ParamId,
    pub(in crate::nn) running: RunningId,
    pub(in crate::nn) eps: f64,
    pub(in crate::nn) relu: bool,
}

/// [batch, h, w, channels] -> the same shape.
pub(in crate::nn) fn batch_norm(layer: &BatchNormParams, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let &BatchNormParams { weight, bias, running, eps, relu } = layer;
    let (dims, dtype, device) = (x.dims().to_vec(), x.raw.dtype(), x.raw.device().clone());
    let value = rows(&x.raw)?;
    let count = value.dim(0)? as f64;
    let fixed = pass.batch_norm == BatchNormMode::Eval;
    let (mean, variance) = if fixed {
        let of = |values: &[f32]| Tensor::new(values, &device)?.to_dtype(dtype);
        let [mean, variance] = pass.running.of(running);
        (of(mean)?, of(variance)?)
    } else {
        let mean = (sum_rows(&value)? / count)?;
        let variance = (sum_rows(&value.broadcast_sub(&mean)?.sqr()?)? / count)?;
        let unbiased = (&variance * (count / (count - 1.0).max(1.0)))?;
        let both = Tensor::stack(&[&mean, &unbiased], 0)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        pass.learn(running, both[0].iter().zip(&both[1]).map(|(mean, variance)| [*mean, *variance]).collect());
        (mean, variance)
    };
    let inverse_deviation = (variance + eps)?.sqrt()?.recip()?;
    let gamma = pass.device_param(weight)?;
    let scale = (&gamma * &inverse_deviation)?;
    let y = value.broadcast_sub(&mean)?.broadcast_mul(&scale)?.broadcast_add(&pass.device_param(bias)?)?;
    let y = if relu { positive_part(&y)? } else { y };
    let (slot, gate) = (x.slot, relu.then(|| y.clone()));
    Ok(pass.record(y.reshape(dims.clone())?, &[x], &[weight, bias], move |dy, gradients| {
        let dy = rows(&dy.raw)?;
        let dy = gate.map_or_else(|| Ok(dy.clone()), |y| where_positive(&y, &dy))?;
        let normal = value.broadcast_sub(&mean)?.broadcast_mul(&inverse_deviation)?;
        let (dgamma, dbeta) = (sum_rows(&(&dy * &normal)?)?, sum_rows(&dy)?);
        gradients.fetch(weight, dtype, || Ok(dgamma.clone()))?;
        gradients.fetch(bias, dtype, || Ok(dbeta.clone()))?;
        let dx = if fixed {
            dy
        } else {
            let through = normal.broadcast_mul(&(dgamma / count)?)?;
            (dy - through)?.broadcast_sub(&(dbeta / count)?)?
        };
        gradients.add_device(slot, dx.broadcast_mul(&scale)?.reshape(dims)?)
    }))
}
