//! ReLU (with PyTorch's relu'(0) = 0), residual addition, and the parameter-free shortcut.

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

/// The shortcut of He et al. (2016), option A: every second pixel of every second row, the channels padded
/// with zeros equally on both sides. `dims` = [batch, c_in, height, width] of the input.
pub(in crate::nn) fn shortcut<T: Scalar>(x: &[T], dims: [usize; 4], c_out: usize) -> Vec<T> {
    let [batch, c_in, h, w] = dims;
    let (oh, ow, pad) = (h.div_ceil(2), w.div_ceil(2), (c_out - c_in) / 2);
    let mut y = vec![T::zero(); batch * c_out * oh * ow];
    y.par_chunks_mut(c_out * oh * ow).zip(x.par_chunks(c_in * h * w)).for_each(|(y, x)| {
        let live = &mut y[pad * oh * ow..(pad + c_in) * oh * ow];
        for (row, y) in live.chunks_mut(ow).enumerate() {
            let x = &x[(row / oh * h + row % oh * 2) * w..][..w];
            y.iter_mut().zip(x.iter().step_by(2)).for_each(|(y, x)| *y = *x);
        }
    });
    y
}

/// The gradient of [`shortcut`]'s input; `dims` are the input's.
pub(in crate::nn) fn shortcut_backward<T: Scalar>(dy: &[T], dims: [usize; 4], c_out: usize) -> Vec<T> {
    let [batch, c_in, h, w] = dims;
    let (oh, ow, pad) = (h.div_ceil(2), w.div_ceil(2), (c_out - c_in) / 2);
    let mut dx = vec![T::zero(); batch * c_in * h * w];
    dx.par_chunks_mut(c_in * h * w).zip(dy.par_chunks(c_out * oh * ow)).for_each(|(dx, dy)| {
        let live = &dy[pad * oh * ow..(pad + c_in) * oh * ow];
        for (row, dy) in live.chunks(ow).enumerate() {
            let dx = &mut dx[(row / oh * h + row % oh * 2) * w..][..w];
            dx.iter_mut().step_by(2).zip(dy).for_each(|(dx, dy)| *dx = *dy);
        }
    });
    dx
}
