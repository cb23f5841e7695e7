//! Multi-head attention between its two linear layers.

use sharpbench_kernels::{self as kernels, AttentionShape};

use super::by_dtype;
use crate::error::{Error, Result};
use crate::flops::attention_macs;
use crate::nn::device;
use crate::nn::params::ParamsBuilder;
use crate::nn::sample_shape::SampleShape;
use crate::nn::scalar::Scalar;
use crate::nn::slices::{tensor, with_slice};
use crate::nn::tape::{Gradient, Node, Pass};

/// Scaled dot-product attention (Vaswani et al. 2017). All axes between the first and the last
/// count as positions.
pub struct Attention {
    heads: usize,
    causal: bool,
}

impl Attention {
    /// Declares attention with `heads` heads for positions of shape `x`. Queries, keys and values
    /// become one value of a third of the width. With `causal`, a token attends only to itself and
    /// earlier tokens.
    pub fn new(params: &mut ParamsBuilder, x: &mut SampleShape, heads: usize, causal: bool) -> Self {
        x.channels /= 3;
        params.count_macs(attention_macs(x.positions(), x.channels));
        Self { heads, causal }
    }

    /// Maps [batch, ..., 3 width], each token's queries, keys and values side by side, to [batch,
    /// ..., width].
    ///
    /// # Errors
    /// When the last axis cannot be divided into queries, keys and values of as many heads.
    pub fn forward(&self, qkv: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let &Self { heads, causal } = self;
        let (batch, width) = (qkv.dims().first().copied().unwrap_or(0), qkv.channels());
        if batch == 0 || heads == 0 || !width.is_multiple_of(3 * heads) {
            return Err(Error::Usage(format!("attention of {heads} heads cannot read {:?}", qkv.dims())));
        }
        let tokens = qkv.raw.elem_count() / (batch * width);
        let s = AttentionShape { batch, tokens, heads, size: width / (3 * heads), causal };
        pass.layer([qkv], &[], |[qkv], pass| match pass.device {
            Some(_) => device::attention(s, qkv, pass),
            None => by_dtype!(qkv, attention(qkv, s, pass)),
        })
    }
}

fn attention<T: Scalar>(qkv: &Node, s: AttentionShape, pass: &mut Pass<'_>) -> Result<Node> {
    let value = qkv.value::<T>()?;
    let y = with_slice::<T, _>(&value, |qkv| kernels::attention(&s, qkv, &pass.flops))?;
    let mut dims = qkv.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last /= 3;
    }
    let slot = qkv.slot;
    Ok(pass.record(tensor(y, &dims)?, &[qkv], &[], move |dy, gradients| {
        let dy = dy.value::<T>()?;
        let dqkv = with_slice::<T, _>(&value, |qkv| {
            with_slice(&dy, |dy| kernels::attention_backward(&s, qkv, dy, &gradients.flops))
        })??;
        gradients.add::<T>(slot, Gradient::plain(tensor(dqkv, value.dims())?))
    }))
}
