//! Layers in candle operations, for devices other than the CPU. Values are candle tensors, images
//! channels-last. The CPU kernels are the oracle.
//!
//! Training state (weights, momentum, masks, running statistics) stays on the host, and all random
//! draws happen there. Each pass uploads the weights and downloads its gradient. A GPU therefore
//! starts from the same bits as the CPU, all code outside the passes is shared, and a pass ends
//! only once its gradient has arrived, so timings cover finished work.

mod activation;
mod attention;
mod batch_norm;
mod bias;
mod conv;
mod diagonal;
mod dropout;
mod embedding;
mod layer_norm;
mod linear;
mod pool;
mod shape;
mod windows;

pub(super) use activation::{add, gelu, relu};
pub(super) use attention::attention;
pub(super) use batch_norm::{BatchNormParams, batch_norm};
pub(super) use bias::bias;
pub(super) use conv::conv2d;
pub(super) use diagonal::diagonal;
pub(super) use dropout::dropout;
pub(super) use embedding::{embedding, positions};
pub(super) use layer_norm::layer_norm;
pub(super) use linear::linear;
pub(super) use pool::{avg_pool2d, global_avg_pool, max_pool2d, shortcut};
pub(super) use shape::channels_last;

use std::time::Instant;

use candle_core::{DType, Device, Tensor, WithDType};
use sharpbench_kernels::{self as kernels, FlopCount};

use super::params::ParamId;
use super::tape::{Gradient, Gradients, Pass};
use crate::error::Result;

impl Pass<'_> {
    /// Copies a parameter to the device.
    fn device_param(&self, id: ParamId) -> Result<Tensor> {
        self.weights.to_device(id, self.device.unwrap_or(&Device::Cpu))
    }
}

impl Gradients<'_> {
    /// Copies the weight used for an input gradient to the device of `like`.
    fn device_input_weight(&self, id: ParamId, like: &Tensor) -> Result<Tensor> {
        self.input_weights.to_device(id, like.device())
    }

    /// Copies a parameter's gradient from the device, if it is required.
    fn fetch(&mut self, id: ParamId, dtype: DType, f: impl FnOnce() -> Result<Tensor>) -> Result<()> {
        match dtype {
            DType::F64 => self.param_whole::<f64>(id, |place| copy(&f()?, place)),
            _ => self.param_whole::<f32>(id, |place| copy(&f()?, place)),
        }
    }

    /// Like [`Gradients::fetch`], but lets `f` leave out output channels (see
    /// [`Gradients::param_channels`]).
    fn fetch_channels(
        &mut self,
        id: ParamId,
        dtype: DType,
        f: impl FnOnce(Option<&[usize]>) -> Result<Tensor>,
    ) -> Result<()> {
        match dtype {
            DType::F64 => self.param_channels::<f64>(id, |live, place| copy(&f(live)?, place)),
            _ => self.param_channels::<f32>(id, |live, place| copy(&f(live)?, place)),
        }
    }

    /// Calls [`Gradients::add`] with a gradient on the device, of either type.
    fn add_device(&mut self, slot: Option<usize>, grad: Tensor) -> Result<()> {
        self.add::<f32>(slot, Gradient::plain(grad))
    }
}

/// Copies a tensor to the host.
fn copy<T: WithDType>(from: &Tensor, to: &mut [T]) -> Result<()> {
    to.copy_from_slice(&from.flatten_all()?.to_vec1()?);
    Ok(())
}

/// Side of the matrices whose product measures a GPU's peak, and the number of rounds, of which the
/// best counts.
const PEAK_SIDE: usize = 8192;
const PEAK_ROUNDS: usize = 5;

/// Measures the f32 matrix product peak in FLOP/s, of a GPU or, without one, of the CPU.
///
/// # Errors
/// When the device cannot hold the matrices.
pub fn gemm_peak(device: Option<&Device>) -> Result<f64> {
    let Some(device) = device else { return Ok(kernels::peak()) };
    let n = PEAK_SIDE;
    let a = Tensor::ones((n, n), DType::F32, device)?;
    let mut best = 0f64;
    for _ in 0..=PEAK_ROUNDS {
        device.synchronize()?;
        let start = Instant::now();
        let product = a.matmul(&a)?;
        device.synchronize()?;
        best = best.max(2.0 * (n as f64).powi(3) / start.elapsed().as_secs_f64());
        drop(product);
    }
    Ok(best)
}

/// Matrix product `a b` over the last two axes, counted in `flops`.
fn product(a: &Tensor, b: &Tensor, flops: &FlopCount) -> Result<Tensor> {
    let y = a.matmul(b)?;
    flops.add(2 * y.elem_count() * a.dims().last().copied().unwrap_or(0));
    Ok(y)
}

/// Sums over all axes but the last: `[n]`. Uses a product with ones, which GPUs run at memory
/// speed.
fn sum_rows(x: &Tensor) -> Result<Tensor> {
    let x = rows(x)?;
    let ones = Tensor::ones((1, x.dim(0)?), x.dtype(), x.device())?;
    Ok(ones.matmul(&x)?.squeeze(0)?)
}

/// Reshapes [..., n] to [product of the other axes, n].
fn rows(x: &Tensor) -> Result<Tensor> {
    let n = x.dims().last().copied().unwrap_or(1);
    Ok(x.reshape((x.elem_count() / n.max(1), n))?)
}

/// Selects entries along an axis.
fn select(x: &Tensor, axis: usize, chosen: &[usize]) -> Result<Tensor> {
    let index: Vec<u32> = chosen.iter().map(|i| *i as u32).collect();
    Ok(x.index_select(&Tensor::new(index, x.device())?, axis)?)
}

/// `x` where `gate > 0`, else 0.
fn where_positive(gate: &Tensor, x: &Tensor) -> Result<Tensor> {
    Ok(gate.gt(0f64)?.where_cond(x, &x.zeros_like()?)?)
}

/// `max(x, 0)`; NaN stays NaN, so that a diverged run is seen.
fn positive_part(x: &Tensor) -> Result<Tensor> {
    Ok(x.lt(0f64)?.where_cond(&x.zeros_like()?, x)?)
}
