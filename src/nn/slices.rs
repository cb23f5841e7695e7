//! Conversion between tensors and the slices that kernels use.

use candle_core::{Device, Storage, Tensor};

use super::scalar::Scalar;
use crate::error::{Error, Result};

/// Runs `f` on the elements of a contiguous CPU tensor.
pub(super) fn with_slice<T: Scalar, R>(x: &Tensor, f: impl FnOnce(&[T]) -> R) -> Result<R> {
    let (storage, layout) = x.storage_and_layout();
    let (Storage::Cpu(cpu), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
        return Err(Error::Usage("a CPU kernel was given a tensor that is not contiguous on the CPU".into()));
    };
    Ok(f(&T::cpu_storage_as_slice(cpu)?[start..end]))
}

/// Creates a tensor that takes ownership of `data`.
pub(super) fn tensor<T: Scalar>(data: Vec<T>, shape: &[usize]) -> Result<Tensor> {
    Ok(Tensor::from_vec(data, shape, &Device::Cpu)?)
}
