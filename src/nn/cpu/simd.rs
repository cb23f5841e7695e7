//! Vectors of a scalar type at the width the CPU has, chosen at run time by pulp (AVX-512, AVX2, NEON, scalar).

use bytemuck::Pod;
use candle_core::WithDType;
use pulp::Simd;

/// A floating-point type the kernels run in: f32 for training, f64 for gradient checks.
pub trait Scalar: WithDType + Pod {
    /// As many values as a register of `S` holds.
    type Vector<S: Simd>: Pod;

    /// Values of a vector.
    fn lanes<S: Simd>() -> usize {
        size_of::<Self::Vector<S>>() / size_of::<Self>()
    }

    /// All lanes `value`.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;

    /// `a b + c` by lane, rounded once where the CPU can.
    fn mul_add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;
}

impl Scalar for f32 {
    type Vector<S: Simd> = S::f32s;

    #[inline(always)]
    fn splat<S: Simd>(simd: S, value: Self) -> S::f32s {
        simd.splat_f32s(value)
    }

    #[inline(always)]
    fn mul_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(a, b, c)
    }
}

impl Scalar for f64 {
    type Vector<S: Simd> = S::f64s;

    #[inline(always)]
    fn splat<S: Simd>(simd: S, value: Self) -> S::f64s {
        simd.splat_f64s(value)
    }

    #[inline(always)]
    fn mul_add<S: Simd>(simd: S, a: S::f64s, b: S::f64s, c: S::f64s) -> S::f64s {
        simd.mul_add_e_f64s(a, b, c)
    }
}

/// Copies `values` (one vector's worth) into a register.
#[inline(always)]
pub(super) fn load<S: Simd, T: Scalar>(values: &[T]) -> T::Vector<S> {
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&values[..T::lanes::<S>()]))
}

/// Copies a register out to one vector's worth of values.
#[inline(always)]
pub(super) fn store<S: Simd, T: Scalar>(vector: T::Vector<S>, values: &mut [T]) {
    let lanes = T::lanes::<S>();
    bytemuck::cast_slice_mut::<T, u8>(&mut values[..lanes]).copy_from_slice(bytemuck::bytes_of(&vector));
}
