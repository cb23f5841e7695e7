//! ReLU (with PyTorch's relu'(0) = 0), GELU, residual addition, and materialised normalised values.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::moments::{Measure, Moments};
use super::output::{pieces, write};
use super::scratch::with_scratch;
use super::simd::{Scalar, arch, load_some, store_some};
use super::source::{Source, vectors};

/// Elements per task of an elementwise pass, fixed so that the summation order never depends on the
/// number of threads.
const CHUNK: usize = 1 << 13;

/// Values per task, rounded to whole pixels.
fn chunk(channels: usize) -> usize {
    (CHUNK / channels).max(1) * channels
}

/// Runs `f(index of the first value, output values)` on each chunk.
pub(super) fn by_chunks<T: Scalar>(len: usize, channels: usize, f: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    let chunk = chunk(channels);
    write(len, |out| out.par_chunks_mut(chunk).enumerate().for_each(|(i, out)| f(i * chunk, out)))
}

pub(crate) fn values<T: Scalar>(x: &Source<'_, T>, channels: usize) -> Vec<T> {
    by_chunks(x.len(), channels, |first, out| arch().dispatch(Read { x, first, channels, out }))
}

struct Read<'a, T> {
    x: &'a Source<'a, T>,
    first: usize,
    channels: usize,
    out: &'a mut [T],
}

impl<T: Scalar> WithSimd for Read<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let pixels = self.out.len() / self.channels;
        self.x.read(simd, (self.first, pixels, self.channels), self.out, self.channels);
    }
}

pub(crate) fn relu<T: Scalar>(x: &[T]) -> Vec<T> {
    by_chunks(x.len(), 1, |first, out| {
        let x = &x[first..first + out.len()];
        arch().dispatch(|| out.iter_mut().zip(x).for_each(|(y, x)| *y = if *x < T::zero() { T::zero() } else { *x }));
    })
}

pub(crate) fn gelu<T: Scalar>(x: &[T]) -> Vec<T> {
    by_chunks(x.len(), 1, |first, out| arch().dispatch(Gelu { x: &x[first..first + out.len()], out }))
}

struct Gelu<'a, T> {
    x: &'a [T],
    out: &'a mut [T],
}

impl<T: Scalar> WithSimd for Gelu<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.out.iter_mut().zip(self.x).for_each(|(y, x)| *y = *x * x.normal().0);
    }
}

pub(crate) fn gelu_backward<T: Scalar>(x: &[T], dy: &[T]) -> Vec<T> {
    by_chunks(x.len(), 1, |first, out| {
        let range = first..first + out.len();
        arch().dispatch(GeluBackward { x: &x[range.clone()], dy: &dy[range], out });
    })
}

struct GeluBackward<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    out: &'a mut [T],
}

impl<T: Scalar> WithSimd for GeluBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (dx, (x, dy)) in self.out.iter_mut().zip(self.x.iter().zip(self.dy)) {
            let (cdf, density) = x.normal();
            *dx = *dy * (cdf + *x * density);
        }
    }
}

pub(crate) fn add<T: Scalar>(a: &[T], b: &[T]) -> Vec<T> {
    by_chunks(a.len(), 1, |first, out| {
        let range = first..first + out.len();
        let terms = a[range.clone()].iter().zip(&b[range]);
        arch().dispatch(|| out.iter_mut().zip(terms).for_each(|(y, (a, b))| *y = *a + *b));
    })
}

pub(crate) fn sum<T: Scalar>(a: &Source<'_, T>, b: &Source<'_, T>, channels: usize, relu: bool) -> Vec<T> {
    by_chunks(a.len(), channels, |first, out| {
        with_scratch(out.len(), |scratch| arch().dispatch(Sum { a, b, first, channels, relu, scratch, out }));
    })
}

struct Sum<'a, T> {
    a: &'a Source<'a, T>,
    b: &'a Source<'a, T>,
    first: usize,
    channels: usize,
    relu: bool,
    scratch: &'a mut [T],
    out: &'a mut [T],
}

impl<T: Scalar> WithSimd for Sum<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { a, b, first, channels, relu, scratch, out } = self;
        let n = out.len();
        a.read(simd, (first, n / channels, channels), out, channels);
        b.read(simd, (first, n / channels, channels), scratch, channels);
        for c in vectors::<S, T>(n) {
            let sum = T::plus(simd, load_some(simd, &out[c.clone()]), load_some(simd, &scratch[c.clone()]));
            store_some(simd, if relu { T::positive_part(simd, sum) } else { sum }, &mut out[c]);
        }
    }
}

pub(crate) fn relu_backward<T: Scalar>(
    y: &[T],
    dy: &[T],
    channels: usize,
    measure: Measure<'_, T>,
) -> (Vec<T>, Option<Moments>) {
    let chunk = chunk(channels);
    let n = y.len().div_ceil(chunk);
    let mut parts = measure.parts(n, channels);
    let dx = write(y.len(), |dx| {
        let tasks: Vec<_> = dx.chunks_mut(chunk).zip(pieces(&mut parts, 2 * channels, n)).enumerate().collect();
        tasks.into_par_iter().for_each(|(i, (dx, parts))| {
            let range = i * chunk..i * chunk + dx.len();
            let terms = y[range.clone()].iter().zip(&dy[range]);
            arch().dispatch(|| {
                dx.iter_mut().zip(terms).for_each(|(dx, (y, dy))| *dx = if *y > T::zero() { *dy } else { T::zero() });
            });
            measure.pieces(i, dx, chunk, channels, parts);
        });
    });
    (dx, Moments::measured(&parts, channels))
}
