//! Layer normalisation of rows [rows, features], with statistics in f64.

use rayon::prelude::*;

use super::lanes::{sum, sum_of_pairs};
use super::moments::sum_pairs;
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
    assert!(beta.len() == n && x.len().is_multiple_of(n), "a layer normalisation reads whole rows");
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
    assert!(rows.len() * n == x.len() && x.len() == dy.len(), "gradients have the shape of the values");
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
    let [gamma, beta] = sum_pairs(&parts, n);
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
        let dot = sum_of_pairs(d, normal, |d, normal| d * normal) / n as f64;
        for (dx, (d, normal)) in dx.iter_mut().zip(d.iter().zip(&*normal)) {
            *dx = T::narrow((d - mean - normal * dot) * row.inverse_deviation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By definition; in f64, and rows and features that no task or lane divides.
    #[test]
    fn rows_have_mean_beta_and_deviation_gamma() {
        for (rows, n) in [(1, 1), (65, 17), (130, 33)] {
            let x: Vec<f64> = (0..rows * n).map(|i| (i * 37 % 101) as f64 / 9.0).collect();
            let (gamma, beta) = (vec![2.0; n], vec![0.5; n]);
            let (y, stats) = layer_norm(&x, &gamma, &beta, 1e-5);
            for (x, y) in x.chunks(n).zip(y.chunks(n)) {
                let mean = x.iter().sum::<f64>() / n as f64;
                let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
                for (x, y) in x.iter().zip(y) {
                    let expected = 2.0 * (x - mean) / (variance + 1e-5).sqrt() + 0.5;
                    assert!((y - expected).abs() < 1e-12, "{y} instead of {expected}");
                }
            }
            // The gradient of a sum does not reach the input.
            let grad = layer_norm_backward(&x, &vec![1.0; rows * n], &gamma, &stats);
            assert!(grad.x.iter().all(|dx| dx.abs() < 1e-9), "{rows}x{n}");
            assert!(grad.beta.iter().all(|d| *d == rows as f64));
        }
    }

    #[test]
    #[should_panic(expected = "whole rows")]
    fn a_part_of_a_row_is_refused() {
        layer_norm(&[0.0f32; 5], &[1.0; 2], &[0.0; 2], 1e-5);
    }
}
