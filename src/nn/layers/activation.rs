//! ReLU, GELU, and the ends of residual blocks.

use sharpbench_kernels::{self as kernels, Measure};

use super::by_dtype;
use crate::error::Result;
use crate::nn::device;
use crate::nn::scalar::Scalar;
use crate::nn::slices::{tensor, with_slice};
use crate::nn::tape::{Gradient, Node, Pass};

/// Computes `max(x, 0)`, with gradient 0 at 0 as in PyTorch.
pub fn relu(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let y = tensor(with_slice::<T, _>(&x.value::<T>()?, kernels::relu)?, x.dims())?;
        let (slot, saved) = (x.slot, y.clone());
        Ok(pass.record(y, &[x], &[], move |dy, gradients| {
            let dy = dy.value::<T>()?;
            let (dx, _) = with_slice::<T, _>(&saved, |y| {
                with_slice(&dy, |dy| kernels::relu_backward(y, dy, 1, Measure::Nothing))
            })??;
            gradients.add::<T>(slot, Gradient::plain(tensor(dx, dy.dims())?))
        }))
    }
    pass.layer([x], &[], |[x], pass| match pass.device {
        Some(_) => device::relu(x, pass),
        None => by_dtype!(x, run(x, pass)),
    })
}

/// Computes `x Phi(x)` with the standard normal CDF Phi, as `torch.nn.GELU` does (Hendrycks and
/// Gimpel, 2016).
pub fn gelu(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let value = x.value::<T>()?;
        let y = tensor(with_slice::<T, _>(&value, kernels::gelu)?, x.dims())?;
        let slot = x.slot;
        Ok(pass.record(y, &[x], &[], move |dy, gradients| {
            let dy = dy.value::<T>()?;
            let dx = with_slice::<T, _>(&value, |x| with_slice(&dy, |dy| kernels::gelu_backward(x, dy)))??;
            gradients.add::<T>(slot, Gradient::plain(tensor(dx, dy.dims())?))
        }))
    }
    pass.layer([x], &[], |[x], pass| match pass.device {
        Some(_) => device::gelu(x, pass),
        None => by_dtype!(x, run(x, pass)),
    })
}

/// Computes `a + b`, the end of a residual block without a final ReLU.
pub fn add(a: &Node, b: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(a: &Node, b: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let channels = a.channels();
        let y = a.with_source::<T, _>(|a| b.with_source(|b| kernels::sum(&a, &b, channels, false)))??;
        let y = tensor(y, a.dims())?;
        let slots = [a.slot, b.slot];
        Ok(pass.record(y, &[a, b], &[], move |dy, gradients| {
            let dy = dy.value::<T>()?;
            gradients.add::<T>(slots[0], Gradient::plain(dy.clone()))?;
            gradients.add::<T>(slots[1], Gradient::plain(dy))
        }))
    }
    pass.layer([a, b], &[], |[a, b], pass| match pass.device {
        Some(_) => device::add(a, b, false, pass),
        None => by_dtype!(a, run(a, b, pass)),
    })
}

/// Computes `max(a + b, 0)`, the end of a residual block.
pub fn add_relu(a: &Node, b: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(a: &Node, b: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let channels = a.channels();
        let y = a.with_source::<T, _>(|a| b.with_source(|b| kernels::sum(&a, &b, channels, true)))??;
        let y = tensor(y, a.dims())?;
        let (slots, saved) = ([a.slot, b.slot], y.clone());
        // Measured for a normalisation at the end of a block, which has no ReLU of its own.
        let measured = a.slot.and(a.normalised.as_ref()).is_some_and(|n| !n.relu).then(|| a.raw.clone());
        Ok(pass.record(y, &[a, b], &[], move |dy, gradients| {
            let dy = dy.value::<T>()?;
            let run = |measure: Measure<'_, T>| {
                with_slice::<T, _>(&saved, |y| with_slice(&dy, |dy| kernels::relu_backward(y, dy, channels, measure)))?
            };
            let (dx, moments) = match &measured {
                None => run(Measure::Nothing)?,
                Some(x) => with_slice(x, |x| run(Measure::Gradient { x, gate: None }))??,
            };
            let grad = Gradient::plain(tensor(dx, dy.dims())?);
            gradients.add::<T>(slots[0], Gradient { moments, ..grad.clone() })?;
            gradients.add::<T>(slots[1], grad)
        }))
    }
    pass.layer([a, b], &[], |[a, b], pass| match pass.device {
        Some(_) => device::add(a, b, true, pass),
        None => by_dtype!(a, run(a, b, pass)),
    })
}
