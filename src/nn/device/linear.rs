//! Fully connected layer.

use super::{product, rows, select, sum_rows};
use crate::error::Result;
use crate::nn::params::ParamId;
use crate::nn::tape::{Node, Pass};

/// Maps [..., d_in] to [..., d_out] with a weight [d_out, d_in] and a bias `[d_out]`.
pub(in crate::nn) fn linear(weight: ParamId, bias: ParamId, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let value = rows(&x.raw)?;
    let w = pass.device_param(weight)?;
    let y = product(&value, &w.t()?, &pass.flops)?.broadcast_add(&pass.device_param(bias)?)?;
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = w.dim(0)?;
    }
    let (slot, in_dims, dtype) = (x.slot, x.dims().to_vec(), value.dtype());
    // Only the weight gradient reads it again.
    let value = pass.owes(weight).then_some(value);
    Ok(pass.record(y.reshape(dims)?, &[x], &[weight, bias], move |dy, gradients| {
        let (dy, flops) = (rows(&dy.raw)?, gradients.flops.clone());
        if let Some(value) = value {
            gradients.fetch_channels(weight, dtype, |live| {
                let dy = live.map_or_else(|| Ok(dy.clone()), |live| select(&dy, 1, live))?;
                product(&dy.t()?, &value, &flops)
            })?;
        }
        gradients.fetch(bias, dtype, || sum_rows(&dy))?;
        if slot.is_none() {
            return Ok(());
        }
        let dx = product(&dy, &gradients.device_input_weight(weight, &dy)?, &flops)?;
        gradients.add_device(slot, dx.reshape(in_dims)?)
    }))
}
