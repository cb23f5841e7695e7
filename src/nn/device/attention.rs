//! Multi-head attention between its two linear layers.

use candle_core::{D, Tensor};
use sharpbench_kernels::AttentionShape;

use super::product;
use crate::error::Result;
use crate::nn::tape::{Node, Pass};

/// [batch, ..., 3 width] -> [batch, ..., width].
pub(in crate::nn) fn attention(s: AttentionShape, qkv: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let AttentionShape { batch, tokens, heads, size, causal } = s;
    let scale = 1.0 / (size as f64).sqrt();
    // [3, batch, heads, tokens, size].
    let parts = qkv.raw.reshape((batch, tokens, 3, heads, size))?.permute((2, 0, 3, 1, 4))?.contiguous()?;
    let [q, k, v] = [parts.get(0)?, parts.get(1)?, parts.get(2)?];
    let mut scores = (product(&q, &k.transpose(2, 3)?, &pass.flops)? * scale)?;
    if causal {
        let unseen = |i: usize| (0..tokens).map(move |j| if j <= i { 0f32 } else { f32::NEG_INFINITY });
        let unseen = Tensor::from_iter((0..tokens).flat_map(unseen), scores.device())?.reshape((tokens, tokens))?;
        scores = scores.broadcast_add(&unseen.to_dtype(scores.dtype())?)?;
    }
    let weights = candle_nn::ops::softmax(&scores, D::Minus1)?;
    let y = product(&weights, &v, &pass.flops)?.transpose(1, 2)?.contiguous()?;
    let (slot, in_dims) = (qkv.slot, qkv.dims().to_vec());
    let mut dims = in_dims.clone();
    if let Some(last) = dims.last_mut() {
        *last = heads * size;
    }
    Ok(pass.record(y.reshape(dims)?, &[qkv], &[], move |dy, gradients| {
        let dy = dy.raw.reshape((batch, tokens, heads, size))?.transpose(1, 2)?.contiguous()?;
        let flops = &gradients.flops;
        let dv = product(&weights.transpose(2, 3)?, &dy, flops)?;
        let dweights = product(&dy, &v.transpose(2, 3)?, flops)?;
        let along = (&dweights * &weights)?.sum_keepdim(D::Minus1)?;
        let dscores = ((dweights.broadcast_sub(&along)? * &weights)? * scale)?;
        let (dq, dk) = (product(&dscores, &k, flops)?, product(&dscores.transpose(2, 3)?, &q, flops)?);
        // [batch, tokens, 3, heads, size].
        let dqkv = Tensor::stack(&[dq, dk, dv], 0)?.permute((1, 3, 0, 2, 4))?.contiguous()?;
        gradients.add_device(slot, dqkv.reshape(in_dims)?)
    }))
}
