//! Dropout with a given keep mask.

use candle_core::Tensor;

use crate::error::Result;
use crate::nn::tape::{Node, Pass};

/// Returns `scale x` where `kept`, else 0.
pub(in crate::nn) fn dropout(x: &Node, kept: &[bool], scale: f64, pass: &mut Pass<'_>) -> Result<Node> {
    let kept = Tensor::from_iter(kept.iter().map(|kept| u8::from(*kept)), x.raw.device())?.reshape(x.dims())?;
    let keep = move |x: &Tensor| -> Result<Tensor> { Ok(kept.where_cond(&(x * scale)?, &x.zeros_like()?)?) };
    let slot = x.slot;
    Ok(pass.record(keep(&x.raw)?, &[x], &[], move |dy, gradients| gradients.add_device(slot, keep(&dy.raw)?)))
}
