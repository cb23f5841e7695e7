//! The types that layers compute in.

use candle_core::WithDType;

/// Floating-point type supported by both the kernels and candle: f32 for training, f64 for gradient
/// checks.
pub trait Scalar: sharpbench_kernels::Scalar + WithDType {}

impl Scalar for f32 {}

impl Scalar for f64 {}
