//! Layers that take values one by one, and the layout of images.

use candle_core::{Device, Tensor};

use super::{positive_part, sum_rows, where_positive};
use crate::error::Result;
use crate::nn::params::ParamId;
use crate::nn::tape::{Node, Pass};

/// `max(x, 0)`.
pub(in crate::nn) fn relu(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let y = positive_part(&x.raw)?;
    let (slot, saved) = (x.slot, y.clone());
    Ok(pass.record(y, &[x], &[], move |dy, gradients| gradients.add_device(slot, where_positive(&saved, &dy.raw)?)))
}

/// `x Phi(x)`.
pub(in crate::nn) fn gelu(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let value = x.raw.clone();
    let cdf = (((&value / 2f64.sqrt())?.erf()? + 1.0)? * 0.5)?;
    let slot = x.slot;
    Ok(pass.record((&value * &cdf)?, &[x], &[], move |dy, gradients| {
        let density = ((value.sqr()? * -0.5)?.exp()? / std::f64::consts::TAU.sqrt())?;
        gradients.add_device(slot, (dy.raw * (cdf + (value * density)?)?)?)
    }))
}

/// `a + b`, and of that `max(., 0)` where `rectified`.
pub(in crate::nn) fn add(a: &Node, b: &Node, rectified: bool, pass: &mut Pass<'_>) -> Result<Node> {
    let sum = (&a.raw + &b.raw)?;
    let y = if rectified { positive_part(&sum)? } else { sum };
    let (slots, gate) = ([a.slot, b.slot], rectified.then(|| y.clone()));
    Ok(pass.record(y, &[a, b], &[], move |dy, gradients| {
        let dx = gate.map_or_else(|| Ok(dy.raw.clone()), |y| where_positive(&y, &dy.raw))?;
        gradients.add_device(slots[0], dx.clone())?;
        gradients.add_device(slots[1], dx)
    }))
}

/// A bias by channel, with a ReLU or without.
pub(in crate::nn) fn bias(id: ParamId, relu: bool, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let y = x.raw.broadcast_add(&pass.device_param(id)?)?;
    let y = if relu { positive_part(&y)? } else { y };
    let (slot, gate, dtype) = (x.slot, relu.then(|| y.clone()), x.raw.dtype());
    Ok(pass.record(y, &[x], &[id], move |dy, gradients| {
        let dx = gate.map_or_else(|| Ok(dy.raw.clone()), |y| where_positive(&y, &dy.raw))?;
        gradients.fetch(id, dtype, || sum_rows(&dx))?;
        gradients.add_device(slot, dx)
    }))
}

/// `scale x` where `kept`, else 0.
pub(in crate::nn) fn dropout(x: &Node, kept: &[bool], scale: f64, pass: &mut Pass<'_>) -> Result<Node> {
    let kept = Tensor::from_iter(kept.iter().map(|kept| u8::from(*kept)), x.raw.device())?.reshape(x.dims())?;
    let keep = move |x: &Tensor| -> Result<Tensor> { Ok(kept.where_cond(&(x * scale)?, &x.zeros_like()?)?) };
    let slot = x.slot;
    Ok(pass.record(keep(&x.raw)?, &[x], &[], move |dy, gradients| gradients.add_device(slot, keep(&dy.raw)?)))
}

/// `[batch, n]` whose rows are all `factors w`.
pub(in crate::nn) fn diagonal(weight: ParamId, factors: &[f64], batch: usize, pass: &mut Pass<'_>) -> Result<Node> {
    let w = pass.device_param(weight)?;
    let (dtype, n) = (w.dtype(), factors.len());
    let factors = Tensor::new(factors, &Device::Cpu)?.to_dtype(dtype)?.to_device(w.device())?;
    let y = (w * &factors)?.broadcast_as((batch, n))?.contiguous()?;
    Ok(pass.record(y, &[], &[weight], move |dy, gradients| {
        gradients.fetch(weight, dtype, || Ok((sum_rows(&dy.raw)? * factors)?))
    }))
}

/// Input images [batch, c, h, w] to [batch, h, w, c].
pub(in crate::nn) fn channels_last(x: &Node, pass: &Pass<'_>) -> Result<Node> {
    pass.input(x.raw.permute((0, 2, 3, 1))?.contiguous()?)
}
