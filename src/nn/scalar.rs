//! The types that layers compute in.

use candle_core::WithDType;

/// A floating-point type that both the kernels and candle know: f32 for training, f64 for gradient checks.
pub trait Scalar: sharpbench_kernels::Scalar + WithDType {}

impl Scalar for f32 {}

impl Scalar for f64 {}
