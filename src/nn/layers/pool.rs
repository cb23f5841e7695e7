//! Pooling and the parameter-free shortcut.

use sharpbench_kernels::{self as kernels, PoolShape};

use super::{by_dtype, flatten};
use crate::error::Result;
use crate::nn::device;
use crate::nn::sample_shape::Kernel;
use crate::nn::scalar::Scalar;
use crate::nn::slices::{tensor, with_slice};
use crate::nn::tape::{Gradient, Node, Pass};

/// He et al.'s parameter-free shortcut (option A): subsamples by 2 and pads the channels with zeros
/// to `c_out`.
pub fn shortcut(x: &Node, c_out: usize, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, c_out: usize, pass: &mut Pass<'_>) -> Result<Node> {
        let (batch, h, w, c_in) = x.raw.dims4()?;
        let dims = [batch, h, w, c_in];
        let y = with_slice::<T, _>(&x.value::<T>()?, |x| kernels::shortcut(x, dims, c_out))?;
        let slot = x.slot;
        Ok(pass.record(tensor(y, &[batch, h.div_ceil(2), w.div_ceil(2), c_out])?, &[x], &[], move |dy, gradients| {
            let dx = with_slice::<T, _>(&dy.value::<T>()?, |dy| kernels::shortcut_backward(dy, dims, c_out))?;
            gradients.add::<T>(slot, Gradient::plain(tensor(dx, &dims)?))
        }))
    }
    pass.layer([x], &[], |[x], pass| match pass.device {
        Some(_) => device::shortcut(x, c_out, pass),
        None => by_dtype!(x, run(x, c_out, pass)),
    })
}

/// Mean over the pixels: [batch, h, w, channels] -> [batch, channels].
pub fn global_avg_pool(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let (batch, h, w, channels) = x.raw.dims4()?;
        let y = with_slice::<T, _>(&x.value::<T>()?, |x| kernels::global_avg_pool(x, h * w, channels))?;
        let slot = x.slot;
        Ok(pass.record(tensor(y, &[batch, channels])?, &[x], &[], move |dy, gradients| {
            let dx =
                with_slice::<T, _>(&dy.value::<T>()?, |dy| kernels::global_avg_pool_backward(dy, h * w, channels))?;
            gradients.add::<T>(slot, Gradient::plain(tensor(dx, &[batch, h, w, channels])?))
        }))
    }
    pass.layer([x], &[], |[x], pass| match pass.device {
        Some(_) => device::global_avg_pool(x, pass),
        None => by_dtype!(x, run(x, pass)),
    })
}

/// Maximum of each window: [batch, h, w, channels] -> [batch, oh, ow, channels]. Padding never
/// wins. As in PyTorch, ties go to the first value, which takes the whole gradient.
///
/// # Errors
/// When the window is larger than the padded image, or the padding more than half of it.
pub fn max_pool2d(x: &Node, kernel: Kernel, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, s: PoolShape, pass: &mut Pass<'_>) -> Result<Node> {
        let (y, winners) = with_slice::<T, _>(&x.value::<T>()?, |x| kernels::max_pool2d(&s, x))?;
        let (slot, dims) = (x.slot, x.dims().to_vec());
        Ok(pass.record(tensor(y, &s.out_dims())?, &[x], &[], move |dy, gradients| {
            let dx = with_slice::<T, _>(&dy.value::<T>()?, |dy| kernels::max_pool2d_backward(&s, &winners, dy))?;
            gradients.add::<T>(slot, Gradient::plain(tensor(dx, &dims)?))
        }))
    }
    let s = PoolShape::new(x.raw.dims4()?, kernel.size, kernel.stride, kernel.padding)?;
    pass.layer([x], &[], |[x], pass| match pass.device {
        Some(_) => device::max_pool2d(s, x, pass),
        None => by_dtype!(x, run(x, s, pass)),
    })
}

/// Maximum of each channel: [batch, h, w, channels] -> [batch, channels].
///
/// # Errors
/// When the image is not a square.
pub fn global_max_pool(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let side = x.raw.dims4()?.1;
    flatten(&max_pool2d(x, Kernel::tiles(side).stride(1), pass)?, pass)
}

/// Mean of each window: [batch, h, w, channels] -> [batch, oh, ow, channels].
///
/// # Errors
/// When the window is larger than the image.
pub fn avg_pool2d(x: &Node, kernel: usize, stride: usize, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, s: PoolShape, pass: &mut Pass<'_>) -> Result<Node> {
        let y = with_slice::<T, _>(&x.value::<T>()?, |x| kernels::avg_pool2d(&s, x))?;
        let (slot, dims) = (x.slot, x.dims().to_vec());
        Ok(pass.record(tensor(y, &s.out_dims())?, &[x], &[], move |dy, gradients| {
            let dx = with_slice::<T, _>(&dy.value::<T>()?, |dy| kernels::avg_pool2d_backward(&s, dy))?;
            gradients.add::<T>(slot, Gradient::plain(tensor(dx, &dims)?))
        }))
    }
    let s = PoolShape::new(x.raw.dims4()?, kernel, stride, 0)?;
    pass.layer([x], &[], |[x], pass| match pass.device {
        Some(_) => device::avg_pool2d(s, x, pass),
        None => by_dtype!(x, run(x, s, pass)),
    })
}
