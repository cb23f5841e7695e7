//! Changes of shape and layout.

use sharpbench_kernels as kernels;

use super::by_dtype;
use crate::error::Result;
use crate::nn::device;
use crate::nn::scalar::Scalar;
use crate::nn::slices::{tensor, with_slice};
use crate::nn::tape::{Gradient, Node, Pass};

/// [batch, ...] -> [batch, product of the rest].
///
/// # Errors
/// When a tensor operation fails.
pub fn flatten(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let batch = x.dims().first().copied().unwrap_or(1);
    reshape(x, [batch, x.raw.elem_count() / batch.max(1)], pass)
}

/// [..., features] -> [product of the others, features].
///
/// # Errors
/// When a tensor operation fails.
pub fn rows(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let features = x.channels();
    reshape(x, [x.raw.elem_count() / features.max(1), features], pass)
}

fn reshape(x: &Node, shape: [usize; 2], pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, shape: [usize; 2], pass: &mut Pass<'_>) -> Result<Node> {
        let y = x.value::<T>()?.reshape(&shape)?;
        let (slot, dims) = (x.slot, x.dims().to_vec());
        Ok(pass.record(y, &[x], &[], move |dy, gradients| {
            let dx = dy.value::<T>()?.reshape(dims)?;
            gradients.add::<T>(slot, Gradient::plain(dx))
        }))
    }
    pass.layer([x], &[], |[x], pass| by_dtype!(x, run(x, shape, pass)))
}

/// Transposes input images [batch, c, h, w] to the layout of convolutions, [batch, h, w, c].
///
/// # Errors
/// When the tensor has another rank.
pub fn channels_last(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, pass: &Pass<'_>) -> Result<Node> {
        let (batch, channels, h, w) = x.raw.dims4()?;
        let y = with_slice::<T, _>(&x.raw, |x| kernels::channels_last(x, channels, h * w))?;
        pass.input(tensor(y, &[batch, h, w, channels])?)
    }
    pass.layer([x], &[], |[x], pass| match pass.device {
        Some(_) => device::channels_last(x, pass),
        None => by_dtype!(x, run(x, pass)),
    })
}
