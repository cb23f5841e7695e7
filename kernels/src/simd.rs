//! Vectors of a scalar type at the CPU's width, chosen at run time by pulp (AVX-512, AVX2, NEON,
//! scalar).

use std::fmt::Debug;
use std::marker::PhantomData;

use bytemuck::Pod;
use num_traits::NumAssign;
use pulp::{Arch, Simd, WithSimd};

use super::instances::Kernels;
use super::math;

#[cfg(test)]
thread_local! {
    /// Instruction set that a test forces instead of the CPU's best.
    pub(super) static FORCED: std::cell::Cell<Option<Arch>> = const { std::cell::Cell::new(None) };
}

/// AVX2, where the CPU has it.
#[cfg(test)]
pub(super) fn avx2() -> Option<Arch> {
    #[cfg(target_arch = "x86_64")]
    return pulp::x86::V3::try_new().map(Arch::V3);
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// Results of `f` with AVX2 and with the best instruction set; `None` where there is no AVX2.
#[cfg(test)]
pub(super) fn with_avx2_and_best<R: Send>(f: impl Fn() -> R + Sync) -> Option<[R; 2]> {
    let avx2 = avx2()?;
    Some([Some(avx2), None].map(|forced| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).start_handler(move |_| FORCED.set(forced));
        pool.build().expect("a thread").install(&f)
    }))
}

/// Instruction set that kernels use: the best this CPU supports.
pub(super) fn arch() -> Arch {
    #[cfg(test)]
    if let Some(forced) = FORCED.get() {
        return forced;
    }
    Arch::new()
}

/// Floating-point type of kernels: f32 for training, f64 for gradient checks.
pub trait Scalar: Kernels<Self> + NumAssign + PartialOrd + Debug + Pod + Send + Sync {
    /// A register's worth of values.
    type Vector<S: Simd>: Pod;

    /// Values per vector.
    #[inline(always)]
    fn lanes<S: Simd>() -> usize {
        size_of::<Self::Vector<S>>() / size_of::<Self>()
    }

    /// Sets all lanes to `value`.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;

    /// `a + b` per lane.
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// `a - b` per lane.
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// `a b + c` per lane, rounded once where the CPU supports it.
    fn mul_add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;

    /// `max(a, 0)` per lane, but NaN stays NaN, so that a divergence is not hidden.
    fn positive_part<S: Simd>(simd: S, a: Self::Vector<S>) -> Self::Vector<S>;

    /// `a` in the lanes where `gate > 0`, else 0.
    fn where_positive<S: Simd>(simd: S, gate: Self::Vector<S>, a: Self::Vector<S>) -> Self::Vector<S>;

    /// Converts lanes to f64: a vector of f32 fills two of f64, one of f64 only the first.
    fn widen<S: Simd>(simd: S, a: Self::Vector<S>) -> [S::f64s; 2];

    /// Nearest value of this type.
    fn narrow(value: f64) -> Self;

    /// Value in f64.
    fn wide(self) -> f64;

    /// e^x of a single value.
    fn exponential(self) -> Self;

    /// Standard normal CDF and density at a single value.
    fn normal(self) -> (Self, Self);

    /// Loads a slice shorter than a vector; the remaining lanes are 0.
    fn load_head<S: Simd>(simd: S, values: &[Self]) -> Self::Vector<S>;

    /// Stores the leading lanes to a slice shorter than a vector.
    fn store_head<S: Simd>(simd: S, vector: Self::Vector<S>, values: &mut [Self]);
}

/// The two implementations differ only in pulp's names.
macro_rules! scalar {
    ($scalar:ty, $vector:ident, $splat:ident, $add:ident, $sub:ident, $mul_add:ident, $less:ident, $select:ident,
     $load:ident, $store:ident, $exponential:path, $normal:path) => {
        impl Scalar for $scalar {
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: Self) -> S::$vector {
                simd.$splat(value)
            }

            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }

            #[inline(always)]
            fn minus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$sub(a, b)
            }

            #[inline(always)]
            fn mul_add<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$mul_add(a, b, c)
            }

            #[inline(always)]
            fn positive_part<S: Simd>(simd: S, a: S::$vector) -> S::$vector {
                let zero = simd.$splat(0.0);
                simd.$select(simd.$less(a, zero), zero, a)
            }

            #[inline(always)]
            fn where_positive<S: Simd>(simd: S, gate: S::$vector, a: S::$vector) -> S::$vector {
                let zero = simd.$splat(0.0);
                simd.$select(simd.$less(zero, gate), a, zero)
            }

            #[inline(always)]
            fn widen<S: Simd>(simd: S, a: S::$vector) -> [S::f64s; 2] {
                let mut wide = [simd.splat_f64s(0.0); 2];
                let lanes: &[Self] = bytemuck::cast_slice(std::slice::from_ref(&a));
                let places: &mut [f64] = bytemuck::cast_slice_mut(&mut wide);
                places.iter_mut().zip(lanes).for_each(|(place, lane)| *place = f64::from(*lane));
                wide
            }

            #[inline(always)]
            fn narrow(value: f64) -> Self {
                value as $scalar
            }

            #[inline(always)]
            fn wide(self) -> f64 {
                f64::from(self)
            }

            #[inline(always)]
            fn exponential(self) -> Self {
                $exponential(self)
            }

            #[inline(always)]
            fn normal(self) -> (Self, Self) {
                $normal(self)
            }

            #[inline(always)]
            fn load_head<S: Simd>(simd: S, values: &[Self]) -> S::$vector {
                simd.$load(values)
            }

            #[inline(always)]
            fn store_head<S: Simd>(simd: S, vector: S::$vector, values: &mut [Self]) {
                simd.$store(values, vector);
            }
        }
    };
}

scalar!(
    f32,
    f32s,
    splat_f32s,
    add_f32s,
    sub_f32s,
    mul_add_e_f32s,
    less_than_f32s,
    select_f32s,
    partial_load_f32s,
    partial_store_f32s,
    math::exp_f32,
    math::normal_f32
);
scalar!(
    f64,
    f64s,
    splat_f64s,
    add_f64s,
    sub_f64s,
    mul_add_e_f64s,
    less_than_f64s,
    select_f64s,
    partial_load_f64s,
    partial_store_f64s,
    libm::exp,
    math::normal_f64
);

/// Whether the CPU has enough registers for the larger tiles.
#[inline(always)]
pub(super) fn many_registers<S: Simd>() -> bool {
    S::REGISTER_COUNT > 16
}

/// Register properties that determine the kernels' tiles.
pub(super) struct Registers {
    /// Values per vector.
    pub(super) lanes: usize,
    pub(super) many: bool,
}

/// The CPU's registers for vectors of a type.
pub(super) fn registers<T: Scalar>() -> Registers {
    struct Ask<T>(PhantomData<T>);

    impl<T: Scalar> WithSimd for Ask<T> {
        type Output = Registers;

        fn with_simd<S: Simd>(self, _: S) -> Registers {
            Registers { lanes: T::lanes::<S>(), many: many_registers::<S>() }
        }
    }

    arch().dispatch(Ask::<T>(PhantomData))
}

/// Loads `values` (at least a full vector) into a register.
#[inline(always)]
pub(super) fn load<S: Simd, T: Scalar>(values: &[T]) -> T::Vector<S> {
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&values[..T::lanes::<S>()]))
}

/// Stores a register to a full vector of values.
#[inline(always)]
pub(super) fn store<S: Simd, T: Scalar>(vector: T::Vector<S>, values: &mut [T]) {
    let lanes = T::lanes::<S>();
    bytemuck::cast_slice_mut::<T, u8>(&mut values[..lanes]).copy_from_slice(bytemuck::bytes_of(&vector));
}

/// Loads a vector from `values`, which may be shorter.
#[inline(always)]
pub(super) fn load_some<S: Simd, T: Scalar>(simd: S, values: &[T]) -> T::Vector<S> {
    if values.len() >= T::lanes::<S>() { load::<S, T>(values) } else { T::load_head(simd, values) }
}

/// Stores a vector to `values`, which may be shorter.
#[inline(always)]
pub(super) fn store_some<S: Simd, T: Scalar>(simd: S, vector: T::Vector<S>, values: &mut [T]) {
    if values.len() >= T::lanes::<S>() {
        store::<S, T>(vector, values);
    } else {
        T::store_head(simd, vector, values);
    }
}

/// Loads `V` contiguous vectors.
#[inline(always)]
pub(super) fn load_row<S: Simd, T: Scalar, const V: usize>(simd: S, values: &[T]) -> [T::Vector<S>; V] {
    let mut row = [T::splat(simd, T::zero()); V];
    for (i, vector) in row.iter_mut().enumerate() {
        *vector = load::<S, T>(&values[i * T::lanes::<S>()..]);
    }
    row
}

/// Loads `P` rows of `V` contiguous vectors.
#[inline(always)]
pub(super) fn load_tile<S: Simd, T: Scalar, const V: usize, const P: usize>(
    simd: S,
    values: &[T],
) -> [[T::Vector<S>; V]; P] {
    let mut tile = [[T::splat(simd, T::zero()); V]; P];
    for (p, row) in tile.iter_mut().enumerate() {
        *row = load_row::<S, T, V>(simd, &values[p * V * T::lanes::<S>()..]);
    }
    tile
}

/// Stores `P` rows of `V` contiguous vectors.
#[inline(always)]
pub(super) fn store_tile<S: Simd, T: Scalar, const V: usize, const P: usize>(
    tile: &[[T::Vector<S>; V]; P],
    values: &mut [T],
) {
    for (p, row) in tile.iter().enumerate() {
        for (v, vector) in row.iter().enumerate() {
            store::<S, T>(*vector, &mut values[(p * V + v) * T::lanes::<S>()..]);
        }
    }
}
