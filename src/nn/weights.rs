//! Weights as arguments of a pass.

use candle_core::{DType, Device, Tensor};

use super::params::{ParamId, ParamLayout};
use super::scalar::Scalar;
use crate::error::Result;

/// Weights as read by layers: a borrowed flat vector in name order, of f32 for training or f64 for
/// gradient checks.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    layout: &'a ParamLayout,
    bytes: &'a [u8],
    dtype: DType,
}

impl<'a> Weights<'a> {
    /// Wraps the weights in `flat`.
    ///
    /// # Panics
    /// When the length differs from the layout's.
    pub fn new<T: Scalar>(layout: &'a ParamLayout, flat: &'a [T]) -> Self {
        assert_eq!(flat.len(), layout.len(), "as many weights as the layout has");
        Self { layout, bytes: bytemuck::cast_slice(flat), dtype: T::DTYPE }
    }

    /// The layout.
    pub fn layout(&self) -> &'a ParamLayout {
        self.layout
    }

    /// Scalar type.
    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The values of a parameter.
    ///
    /// # Panics
    /// When the weights are of another type.
    pub(super) fn get<T: Scalar>(&self, id: ParamId) -> &'a [T] {
        assert_eq!(self.dtype, T::DTYPE, "layers compute in the type of the weights");
        &bytemuck::cast_slice(self.bytes)[self.layout.spec(id).range()]
    }

    /// Copies a parameter to `device` as a tensor.
    pub(super) fn to_device(self, id: ParamId, device: &Device) -> Result<Tensor> {
        let shape = self.layout.spec(id).shape.as_slice();
        Ok(match self.dtype {
            DType::F64 => Tensor::from_slice(self.get::<f64>(id), shape, device)?,
            _ => Tensor::from_slice(self.get::<f32>(id), shape, device)?,
        })
    }

    /// Per-channel values of a parameter, for sums in f64.
    pub(super) fn get_f64<T: Scalar>(&self, id: ParamId) -> Vec<f64> {
        self.get::<T>(id).iter().map(|v| v.to_f64()).collect()
    }
}
