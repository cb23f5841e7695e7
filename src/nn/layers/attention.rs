//! Multi-head attention between its two linear layers.

use sharpbench_kernels::{self as kernels, AttentionShape};

use super::by_dtype;
use crate::error::{Error, Result};
use crate::nn::device;
use crate::nn::scalar::Scalar;
use crate::nn::slices::{tensor, with_slice};
use crate::nn::tape::{Gradient, Node, Pass};

/// Scaled dot-product attention of `heads` heads (Vaswani et al. 2017): [batch, ..., 3 width], for each token its
/// queries, keys and values side by side, to [batch, ..., width]. The tokens are all positions between the first and the
/// last axis. `causal`: a token sees itself and those before it only.
///
/// # Errors
/// When the last axis cannot be divided into queries, keys and values of `heads` heads.
pub fn attention(qkv: &Node, heads: usize, causal: bool, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(qkv: &Node, s: AttentionShape, pass: &mut Pass<'_>) -> Result<Node> {
        let value = qkv.value::<T>()?;
        let (y, weights) = with_slice::<T, _>(&value, |qkv| kernels::attention(&s, qkv, &pass.flops))?;
        let mut dims = qkv.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last /= 3;
        }
        let slot = qkv.slot;
        Ok(pass.record(tensor(y, &dims)?, &[qkv], &[], move |dy, gradients| {
            let dy = dy.value::<T>()?;
            let dqkv = with_slice::<T, _>(&value, |qkv| {
                with_slice(&dy, |dy| kernels::attention_backward(&s, qkv, &weights, dy, &gradients.flops))
            })??;
            gradients.add::<T>(slot, Gradient::plain(tensor(dqkv, value.dims())?))
        }))
    }
    let (batch, width) = (qkv.dims().first().copied().unwrap_or(0), qkv.channels());
    if batch == 0 || heads == 0 || !width.is_multiple_of(3 * heads) {
        return Err(Error::Usage(format!("attention of {heads} heads cannot read {:?}", qkv.dims())));
    }
    let tokens = qkv.raw.elem_count() / (batch * width);
    let s = AttentionShape { batch, tokens, heads, size: width / (3 * heads), causal };
    pass.layer([qkv], &[], |[qkv], pass| match pass.device {
        Some(_) => device::attention(s, qkv, pass),
        None => by_dtype!(qkv, run(qkv, s, pass)),
    })
}
