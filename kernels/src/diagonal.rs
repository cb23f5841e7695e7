//! A layer without input whose output is its parameter, scaled elementwise.

use super::simd::Scalar;

pub(crate) fn diagonal<T: Scalar>(w: &[T], factors: &[T], batch: usize) -> Vec<T> {
    let row: Vec<T> = w.iter().zip(factors).map(|(w, f)| *w * *f).collect();
    row.repeat(batch)
}

pub(crate) fn diagonal_backward<T: Scalar>(dy: &[T], factors: &[T], dw: &mut [T]) {
    dw.fill(T::zero());
    for row in dy.chunks(factors.len()) {
        dw.iter_mut().zip(row.iter().zip(factors)).for_each(|(g, (dy, f))| *g += *dy * *f);
    }
}
