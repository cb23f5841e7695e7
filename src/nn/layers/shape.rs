//! Changes of shape and layout.

use super::by_dtype;
use crate::error::Result;
use crate::nn::cpu::{self, Scalar, tensor, with_slice};
use crate::nn::tape::{Gradient, Node, Pass};

/// [batch, ...] -> [batch, product of the rest].
pub fn flatten(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let y = x.value::<T>()?.flatten_from(1)?;
        let x = x.clone();
        Ok(pass.record(y, move |dy, gradients| {
            let dx = dy.value::<T>()?.reshape(x.dims())?;
            gradients.add::<T>(&x, Gradient::plain(dx))
        }))
    }
    by_dtype!(x, run(x, pass))
}

/// Input images [batch, c, h, w] to the layout of convolutions, [batch, h, w, c].
///
/// # Errors
/// When the tensor has another rank.
pub fn channels_last(x: &Node, pass: &Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, pass: &Pass<'_>) -> Result<Node> {
        let (batch, channels, h, w) = x.raw.dims4()?;
        let y = with_slice::<T, _>(&x.raw, |x| cpu::channels_last(x, channels, h * w))?;
        Ok(pass.input(tensor(y, &[batch, h, w, channels])?))
    }
    by_dtype!(x, run(x, pass))
}
