//! CPU kernels on contiguous slices, images channels-last, generic over f32 (training) and f64 (gradient checks).
//!
//! Every reduction runs in an order fixed by the shapes alone, so results are the same bits for any
//! number of threads. This is the only folder that may contain `unsafe`.
#![allow(
    unsafe_code,
    reason = "calls into the gemm crate and unchecked loads in inner loops; each has a SAFETY comment"
)]

mod activation;
mod batch_norm;
mod conv;
mod executed;
mod gemm;
mod loss;
mod pool;
mod simd;

pub(super) use activation::{add, add_relu, relu, relu_backward};
pub(super) use batch_norm::{BatchNormGrad, ChannelStats, Statistics, batch_norm, batch_norm_backward, batch_stats};
pub(super) use conv::{ConvShape, conv2d, conv2d_input_grad, conv2d_weight_grad};
pub use executed::executed_flops;
pub use gemm::gemm_peak;
pub(super) use gemm::{MatMut, MatRef, par_gemm};
pub(super) use loss::{cross_entropy, cross_entropy_backward};
pub(super) use pool::{channels_last, global_avg_pool, global_avg_pool_backward, shortcut, shortcut_backward};
pub(super) use simd::Scalar;

use candle_core::{Device, Storage, Tensor};

use crate::error::{Error, Result};

/// Runs `f` on the elements of a contiguous CPU tensor.
pub(super) fn with_slice<T: Scalar, R>(x: &Tensor, f: impl FnOnce(&[T]) -> R) -> Result<R> {
    let (storage, layout) = x.storage_and_layout();
    let (Storage::Cpu(cpu), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
        return Err(Error::Usage("a CPU kernel was given a tensor that is not contiguous on the CPU".into()));
    };
    Ok(f(&T::cpu_storage_as_slice(cpu)?[start..end]))
}

/// A tensor that takes over `data`.
pub(super) fn tensor<T: Scalar>(data: Vec<T>, shape: &[usize]) -> Result<Tensor> {
    Ok(Tensor::from_vec(data, shape, &Device::Cpu)?)
}
