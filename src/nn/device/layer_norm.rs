//! Layer normalisation.

use candle_core::D;

use super::{rows, sum_rows};
use crate::error::Result;
use crate::nn::params::ParamId;
use crate::nn::tape::{Node, Pass};

/// Normalises over the last axis: [..., features] -> the same shape.
pub(in crate::nn) fn layer_norm(
    (weight, bias, eps): (ParamId, ParamId, f64),
    x: &Node,
    pass: &mut Pass<'_>,
) -> Result<Node> {
    let (dims, dtype) = (x.dims().to_vec(), x.raw.dtype());
    let value = rows(&x.raw)?;
    let centred = value.broadcast_sub(&value.mean_keepdim(D::Minus1)?)?;
    let inverse_deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
    let normal = centred.broadcast_mul(&inverse_deviation)?;
    let gamma = pass.device_param(weight)?;
    let y = normal.broadcast_mul(&gamma)?.broadcast_add(&pass.device_param(bias)?)?;
    let slot = x.slot;
    Ok(pass.record(y.reshape(dims.clone())?, &[x], &[weight, bias], move |dy, gradients| {
        let dy = rows(&dy.raw)?;
        gradients.fetch(weight, dtype, || sum_rows(&(&dy * &normal)?))?;
        gradients.fetch(bias, dtype, || sum_rows(&dy))?;
        let dn = dy.broadcast_mul(&gamma)?;
        let along = (&dn * &normal)?.mean_keepdim(D::Minus1)?;
        let dx = dn.broadcast_sub(&dn.mean_keepdim(D::Minus1)?)?;
        let dx = (dx - normal.broadcast_mul(&along)?)?.broadcast_mul(&inverse_deviation)?;
        gradients.add_device(slot, dx.reshape(dims)?)
    }))
}
