//! CPU kernels on contiguous slices, images channels-last, generic over f32 (training) and f64 (gradient checks).
//!
//! Every reduction runs in an order fixed by the shapes alone, so results are the same bits for any
//! number of threads. This is the only folder that may contain `unsafe`.
#![allow(
    unsafe_code,
    reason = "calls into the gemm crate and unchecked loads in inner loops; each has a SAFETY comment"
)]

mod activation;
mod attention;
mod batch_norm;
mod conv;
mod executed;
mod gather;
mod gemm;
mod layer_norm;
mod loss;
mod math;
mod moments;
mod pool;
mod scratch;
mod simd;
mod source;

pub(super) use activation::{add, gelu, gelu_backward, keep, relu, relu_backward, sum, values};
pub(super) use attention::{AttentionShape, attention, attention_backward};
pub(super) use batch_norm::{BatchNormGrad, ChannelStats, Statistics, batch_norm_backward, normalisation};
pub(super) use conv::{ConvShape, InputGrad, WeightGrad, conv2d, conv2d_backward};
pub(super) use executed::count_flops;
pub use executed::executed_flops;
pub(super) use gather::gather;
pub(super) use gemm::{MatMut, MatRef, par_gemm, peak};
pub(super) use layer_norm::{layer_norm, layer_norm_backward};
pub(super) use loss::{cross_entropy, cross_entropy_backward, squared_error, squared_error_backward};
pub(super) use moments::{Measure, Moments};
pub(super) use pool::{
    PoolShape, avg_pool2d, avg_pool2d_backward, channels_last, global_avg_pool, global_avg_pool_backward, max_pool2d,
    max_pool2d_backward, shortcut, shortcut_backward,
};
#[cfg(test)]
pub(super) use simd::FORCED;
pub use simd::Scalar;
pub(super) use source::{Line, Source};

use std::mem::MaybeUninit;

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

/// A vector of `len` values that `f` writes, every one of them, without clearing them first.
fn write<T: Scalar>(len: usize, f: impl FnOnce(&mut [T])) -> Vec<T> {
    let mut values = Vec::with_capacity(len);
    let spare: &mut [MaybeUninit<T>] = &mut values.spare_capacity_mut()[..len];
    if cfg!(debug_assertions) {
        // A value that a kernel forgets is seen in the tests.
        spare.iter_mut().for_each(|v| _ = v.write(T::from_f64(f64::NAN)));
    }
    // SAFETY: floats have no invalid bit patterns, and `f` writes each before anything reads it.
    f(unsafe { &mut *(std::ptr::from_mut(spare) as *mut [T]) });
    // SAFETY: the capacity is at least `len` and all values are written.
    unsafe { values.set_len(len) };
    values
}

/// `n` pieces of `size` values, empty ones where there are no more.
fn pieces<T>(values: &mut [T], size: usize, n: usize) -> impl Iterator<Item = &mut [T]> {
    values.chunks_mut(size.max(1)).chain(std::iter::repeat_with(Default::default)).take(n)
}
