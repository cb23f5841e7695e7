//! Per-channel sums in f64, for the statistics and gradients of batch normalisation.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::simd::{Scalar, arch, load_some};
use super::source::{Line, through_gate, vectors};

/// Pixels per task, fixed so that the summation order never depends on the number of threads.
const PIXELS: usize = 1024;

/// Per-channel sums, over all pixels, of a value and of its product with another: x and x^2 for
/// statistics, dy and dy x for gradients. Raw moments of f32 values lose no precision in f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Sums of the values.
    pub plain: Vec<f64>,
    /// Sums of the products.
    pub product: Vec<f64>,
}

/// Sums `parts` in order, each two rows of `n`.
pub(super) fn sum_pairs(parts: &[f64], n: usize) -> [Vec<f64>; 2] {
    let mut first = vec![0.0; 2 * n];
    for part in parts.chunks_exact(2 * n) {
        first.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    let second = first.split_off(n);
    [first, second]
}

impl Moments {
    /// Sums `parts`, each the plain sums followed by the products of `channels` channels.
    pub(super) fn sum(parts: &[f64], channels: usize) -> Self {
        let [plain, product] = sum_pairs(parts, channels);
        Self { plain, product }
    }

    /// Sums `parts`; `None` if nothing was measured.
    pub(super) fn measured(parts: &[f64], channels: usize) -> Option<Self> {
        (!parts.is_empty()).then(|| Self::sum(parts, channels))
    }

    fn of<T: Scalar>(channels: usize, a: &[T], b: &[T], gate: Option<Line<'_, T>>) -> Self {
        let chunk = PIXELS * channels;
        let mut parts = vec![0.0; 2 * channels * a.len().div_ceil(chunk)];
        parts.par_chunks_mut(2 * channels).zip(a.par_chunks(chunk).zip(b.par_chunks(chunk))).for_each(
            |(sums, (a, b))| {
                arch().dispatch(MomentSums { a, b, gate, sums });
            },
        );
        Self::sum(&parts, channels)
    }

    /// Adds another set of sums.
    pub fn plus(mut self, other: &Self) -> Self {
        self.plain.iter_mut().zip(&other.plain).for_each(|(a, b)| *a += b);
        self.product.iter_mut().zip(&other.product).for_each(|(a, b)| *a += b);
        self
    }
}

pub(crate) fn moments<T: Scalar>(x: &[T], channels: usize) -> Moments {
    Moments::of(channels, x, x, None)
}

pub(crate) fn gradient_moments<T: Scalar>(dy: &[T], x: &[T], channels: usize, gate: Option<Line<'_, T>>) -> Moments {
    Moments::of(channels, dy, x, gate)
}

/// Measurement of an output, taken piece by piece while it is in the cache: moments of the values,
/// or of a gradient together with the values before the normalisation.
#[derive(Clone, Copy)]
pub enum Measure<'a, T> {
    /// No measurement.
    Nothing,
    /// Moments of the values.
    Values,
    /// Moments of a gradient.
    Gradient {
        /// Values before the normalisation.
        x: &'a [T],
        /// The normalisation, if a ReLU follows it.
        gate: Option<Line<'a, T>>,
    },
}

impl<T: Scalar> Measure<'_, T> {
    /// Allocates the sums of `pieces` pieces.
    pub(super) fn parts(&self, pieces: usize, channels: usize) -> Vec<f64> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Values | Self::Gradient { .. } => vec![0.0; pieces * 2 * channels],
        }
    }

    /// Measures `out` in pieces of `piece` values, starting with piece `first` of the whole output.
    /// Does nothing if `parts` is empty.
    pub(super) fn pieces(&self, first: usize, out: &[T], piece: usize, channels: usize, parts: &mut [f64]) {
        for (i, (sums, out)) in parts.chunks_mut(2 * channels).zip(out.chunks(piece)).enumerate() {
            let (b, gate) = match self {
                Self::Gradient { x, gate } => (&x[(first + i) * piece..][..out.len()], *gate),
                Self::Nothing | Self::Values => (out, None),
            };
            arch().dispatch(MomentSums { a: out, b, gate, sums });
        }
    }

    /// Measures a complete output.
    pub(super) fn whole(&self, out: &[T], channels: usize) -> Option<Moments> {
        match *self {
            Self::Nothing => None,
            Self::Values => Some(moments(out, channels)),
            Self::Gradient { x, gate } => Some(gradient_moments(out, x, channels, gate)),
        }
    }
}

/// Overwrites `sums` with the per-channel sums of `a` and `a b`, leaving out values that `gate`'s
/// ReLU blocked.
struct MomentSums<'a, T> {
    a: &'a [T],
    b: &'a [T],
    gate: Option<Line<'a, T>>,
    sums: &'a mut [f64],
}

impl<T: Scalar> WithSimd for MomentSums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { a, b, gate, sums } = self;
        let channels = sums.len() / 2;
        let (plain, product) = sums.split_at_mut(channels);
        for c in vectors::<S, T>(channels) {
            let gate = gate.map(|gate| gate.load(simd, c.clone()));
            let (mut s, mut q) = ([simd.splat_f64s(0.0); 2], [simd.splat_f64s(0.0); 2]);
            for (a, b) in a.chunks_exact(channels).zip(b.chunks_exact(channels)) {
                let (a, b) = (load_some(simd, &a[c.clone()]), load_some(simd, &b[c.clone()]));
                let (a, b) = (T::widen(simd, through_gate::<S, T>(simd, gate, b, a)), T::widen(simd, b));
                for half in 0..2 {
                    s[half] = simd.add_f64s(s[half], a[half]);
                    q[half] = simd.mul_add_e_f64s(a[half], b[half], q[half]);
                }
            }
            plain[c.clone()].copy_from_slice(&bytemuck::cast_slice(&s)[..c.len()]);
            product[c.clone()].copy_from_slice(&bytemuck::cast_slice(&q)[..c.len()]);
        }
    }
}
