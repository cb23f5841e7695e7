//! A layer without input.

use candle_core::{Device, Tensor};

use super::sum_rows;
use crate::error::Result;
use crate::nn::params::ParamId;
use crate::nn::tape::{Node, Pass};

/// Returns `[batch, n]` with every row `factors w`.
pub(in crate::nn) fn diagonal(weight: ParamId, factors: &[f64], batch: usize, pass: &mut Pass<'_>) -> Result<Node> {
    let w = pass.device_param(weight)?;
    let (dtype, n) = (w.dtype(), factors.len());
    let factors = Tensor::new(factors, &Device::Cpu)?.to_dtype(dtype)?.to_device(w.device())?;
    let y = (w * &factors)?.broadcast_as((batch, n))?.contiguous()?;
    Ok(pass.record(y, &[], &[weight], move |dy, gradients| {
        gradients.fetch(weight, dtype, || Ok((sum_rows(&dy.raw)? * factors)?))
    }))
}
