//! Layer normalisation of rows [rows, features], with statistics in f64.

use rayon::prelude::*;

use super::lanes::{sum, sum_pairs};
use super::moments;
use super::output::write;
use super::scratch::with_scratch;
use super::simd::{Scalar, arch};

/// Rows per task, fixed so that the summation order never depends on the number of threads.
const ROWS: usize = 64;
/// A row's mean and 1 / sqrt(variance + eps).
#[derive(Clone, Copy, Debug, Default)]
pub struct RowStats {
    mean: f64,
    inverse_deviation: f64,
}

impl RowStats {
    #[inline(always)]
    fn of<T: Scalar>(row: &[T], eps: f64) -> Self {
        let n = row.len() as f64;
        let mean = sum(row, T::wide) / n;
        let variance = sum(row, |x| (x.wide() - mean) * (x.wide() - mean)) / n;
        Self { mean, inverse_deviation: 1.0 / (variance + eps).sqrt() }
    }

    #[inline(always)]
    fn normal<T: Scalar>(self, x: T) -> f64 {
        (x.wide() - self.mean) * self.inverse_deviation
    }
}

pub(crate) fn layer_norm<T: Scalar>(x: &[T], gamma: &[T], beta: &[T], eps: f64) -> (Vec<T>, Vec<RowStats>) {
    let n = gamma.len();
    let mut stats = vec![RowStats::default(); x.len() / n];
    let y = write(x.len(), |y| {
        let rows = y.par_chunks_mut(ROWS * n).zip(x.par_chunks(ROWS * n)).zip(stats.par_chunks_mut(ROWS));
        rows.for_each(|((y, x), stats)| {
            arch().dispatch(|| {
                for ((y, x), row) in y.chunks_exact_mut(n).zip(x.chunks_exact(n)).zip(stats) {
                    *row = RowStats::of(x, eps);
                    for ((y, x), (gamma, beta)) in y.iter_mut().zip(x).zip(gamma.iter().zip(beta)) {
                        *y = T::narrow(gamma.wide() * row.normal(*x) + beta.wide());
                    }
                }
            });
        });
    });
    (y, stats)
}

/// Gradients of a layer normalisation: of the input, gamma and beta.
pub struct LayerNormGrad<T> {
    /// Gradient of the input.
    pub x: Vec<T>,
    /// Gradient of the scale.
    pub gamma: Vec<f64>,
    /// Gradient of the shift.
    pub beta: Vec<f64>,
}

pub(crate) fn layer_norm_backward<T: Scalar>(x: &[T], dy: &[T], gamma: &[T], rows: &[RowStats]) -> LayerNormGrad<T> {
    let n = gamma.len();
    let mut parts = vec![0.0; rows.len().div_ceil(ROWS) * 2 * n];
    let dx = write(x.len(), |dx| {
        let rows = rows.par_chunks(ROWS).zip(x.par_chunks(ROWS * n)).zip(dy.par_chunks(ROWS * n));
        let outs = dx.par_chunks_mut(ROWS * n).zip(parts.par_chunks_mut(2 * n));
        outs.zip(rows).for_each(|((dx, sums), ((rows, x), dy))| {
            with_scratch(2 * n, |scratch| {
                arch().dispatch(|| backward_rows((rows, x, dy), gamma, scratch, sums, dx));
            });
        });
    });
    let [gamma, beta] = moments::sum_pairs(&parts, n);
    LayerNormGrad { x: dx, gamma, beta }
}

/// Input gradients of some rows; adds their part of the gradients of gamma and beta to `sums`.
#[inline(always)]
fn backward_rows<T: Scalar>(
    (rows, x, dy): (&[RowStats], &[T], &[T]),
    gamma: &[T],
    scratch: &mut [f64],
    sums: &mut [f64],
    dx: &mut [T],
) {
    let n = gamma.len();
    // The normalised row, and the gradient with respect to it.
    let (normal, d) = scratch.split_at_mut(n);
    let (dgamma, dbeta) = sums.split_at_mut(n);
    let rows = rows.iter().zip(x.chunks_exact(n).zip(dy.chunks_exact(n)));
    for ((row, (x, dy)), dx) in rows.zip(dx.chunks_exact_mut(n)) {
        normal.iter_mut().zip(x).for_each(|(normal, x)| *normal = row.normal(*x));
        d.iter_mut().zip(dy.iter().zip(gamma)).for_each(|(d, (dy, gamma))| *d = dy.wide() * gamma.wide());
        dgamma.iter_mut().zip(dy.iter().zip(&*normal)).for_each(|(sum, (dy, normal))| *sum += dy.wide() * normal);
        dbeta.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy.wide());
        let mean = sum(d, |d| d) / n as f64;
        let dot = sum_pairs(d, normal, |d, normal| d * normal) / n as f64;
        for (dx, (d, normal)) in dx.iter_mut().zip(d.iter().zip(&*normal)) {
            *dx = T::narrow((d - mean - normal * dot) * row.inverse_deviation);
        }
    }
}
