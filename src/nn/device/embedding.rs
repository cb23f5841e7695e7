//! Token and position embeddings of Transformers.

use candle_core::Tensor;

use super::sum_rows;
use crate::error::Result;
use crate::nn::params::ParamId;
use crate::nn::tape::{Node, Pass};

/// Maps tokens [batch, length], all in the vocabulary, to [batch, length, width].
pub(in crate::nn) fn embedding(id: ParamId, tokens: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let weight = pass.device_param(id)?;
    let (vocabulary, width) = weight.dims2()?;
    let (batch, length) = tokens.raw.dims2()?;
    let ids = tokens.raw.flatten_all()?.to_device(weight.device())?;
    let y = weight.index_select(&ids, 0)?.reshape((batch, length, width))?;
    let dtype = weight.dtype();
    Ok(pass.record(y, &[tokens], &[id], move |dy, gradients| {
        gradients.fetch(id, dtype, || {
            let zeros = Tensor::zeros((vocabulary, width), dtype, ids.device())?;
            Ok(zeros.index_add(&ids, &dy.raw.reshape((batch * length, width))?, 0)?)
        })
    }))
}

/// Adds a learned vector per position, [positions, width], to [batch, ..., width].
pub(in crate::nn) fn positions(id: ParamId, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let table = pass.device_param(id)?.flatten_all()?;
    let (batch, dims, dtype) = (x.dims().first().copied().unwrap_or(1), x.dims().to_vec(), x.raw.dtype());
    let y = x.raw.reshape((batch, table.elem_count()))?.broadcast_add(&table)?.reshape(dims)?;
    let slot = x.slot;
    Ok(pass.record(y, &[x], &[id], move |dy, gradients| {
        gradients.fetch(id, dtype, || sum_rows(&dy.raw.reshape((batch, dy.raw.elem_count() / batch))?))?;
        gradients.add_device(slot, dy.raw)
    }))
}
