//! ReLU (with PyTorch's relu'(0) = 0) and residual addition.

use rayon::prelude::*;

use super::Scalar;

/// Elements per task of an elementwise pass.
const CHUNK: usize = 1 << 14;

/// `max(v, 0)`, but NaN stays NaN, so that a diverged run is seen.
pub(super) fn positive_part<T: Scalar>(v: T) -> T {
    if v < T::zero() { T::zero() } else { v }
}

/// `max(x, 0)`.
pub(in crate::nn) fn relu<T: Scalar>(x: &[T]) -> Vec<T> {
    let mut y = vec![T::zero(); x.len()];
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = positive_part(*x));
    });
    y
}

/// `a + b`.
pub(in crate::nn) fn add<T: Scalar>(a: &[T], b: &[T]) -> Vec<T> {
    let mut y = vec![T::zero(); a.len()];
    y.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK)).for_each(|((y, a), b)| {
        y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = *a + *b);
    });
    y
}

/// `max(a + b, 0)`.
pub(in crate::nn) fn add_relu<T: Scalar>(a: &[T], b: &[T]) -> Vec<T> {
    let mut y = vec![T::zero(); a.len()];
    y.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK)).for_each(|((y, a), b)| {
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            *y = positive_part(*a + *b);
        }
    });
    y
}

/// The gradient of a ReLU whose output was `y`.
pub(in crate::nn) fn relu_backward<T: Scalar>(y: &[T], dy: &[T]) -> Vec<T> {
    let mut dx = vec![T::zero(); y.len()];
    dx.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK)).zip(dy.par_chunks(CHUNK)).for_each(|((dx, y), dy)| {
        for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
            *dx = if *y > T::zero() { *dy } else { T::zero() };
        }
    });
    dx
}
