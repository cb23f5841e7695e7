//! Layer normalisation of rows [rows, features], with statistics in f64.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::lanes::{sum, sum_of_pairs};
use super::moments::sum_pairs;
use super::output::write;
use super::scratch::with_scratch;
use super::simd::{Scalar, arch};

/// Rows per task, fixed so that the summation order never depends on the number of threads.
const ROWS: usize = 64;
/// Rows whose sums are taken together: each is a chain of additions, and the CPU runs several chains at once.
const GROUP: usize = 8;

/// A row's mean and 1 / sqrt(variance + eps).
#[derive(Clone, Copy, Debug, Default)]
pub struct RowStats {
    mean: f64,
    inverse_deviation: f64,
}

impl RowStats {
    /// Statistics of rows of `n` values.
    #[inline(always)]
    fn measure<T: Scalar>(stats: &mut [Self], rows: &[T], n: usize, eps: f64) {
        for (stats, row) in stats.iter_mut().zip(rows.chunks_exact(n)) {
            stats.mean = sum(row, T::wide) / n as f64;
        }
        for (Self { mean, inverse_deviation }, row) in stats.iter_mut().zip(rows.chunks_exact(n)) {
            let variance = sum(row, |x| (x.wide() - *mean) * (x.wide() - *mean)) / n as f64;
            *inverse_deviation = 1.0 / (variance + eps).sqrt();
        }
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
            arch().dispatch(Forward { x, gamma, beta, eps, stats, y });
        });
    });
    (y, stats)
}

/// Some rows of a layer normalisation.
struct Forward<'a, T> {
    x: &'a [T],
    gamma: &'a [T],
    beta: &'a [T],
    eps: f64,
    stats: &'a mut [RowStats],
    y: &'a mut [T],
}

impl<T: Scalar> WithSimd for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, gamma, beta, eps, stats, y } = self;
        let n = gamma.len();
        let groups = y.chunks_mut(GROUP * n).zip(x.chunks(GROUP * n)).zip(stats.chunks_mut(GROUP));
        for ((y, x), stats) in groups {
            RowStats::measure(stats, x, n, eps);
            for ((y, x), row) in y.chunks_exact_mut(n).zip(x.chunks_exact(n)).zip(stats) {
                for ((y, x), (gamma, beta)) in y.iter_mut().zip(x).zip(gamma.iter().zip(beta)) {
                    *y = T::narrow(gamma.wide() * row.normal(*x) + beta.wide());
                }
            }
        }
    }
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
            with_scratch(2 * GROUP * n, |scratch| {
                arch().dispatch(Backward { rows, x, dy, gamma, scratch, sums, dx });
            });
        });
    });
    let [gamma, beta] = sum_pairs(&parts, n);
    LayerNormGrad { x: dx, gamma, beta }
}

/// Gradients of some rows.
struct Backward<'a, T> {
    rows: &'a [RowStats],
    x: &'a [T],
    dy: &'a [T],
    gamma: &'a [T],
    scratch: &'a mut [f64],
    /// Their part of the gradients of gamma and beta.
    sums: &'a mut [f64],
    dx: &'a mut [T],
}

impl<T: Scalar> WithSimd for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rows, x, dy, gamma, scratch, sums, dx } = self;
        let n = gamma.len();
        // The normalised rows of a group, and the gradient with respect to them.
        let (normal, d) = scratch.split_at_mut(GROUP * n);
        let (dgamma, dbeta) = sums.split_at_mut(n);
        let groups = rows.chunks(GROUP).zip(x.chunks(GROUP * n).zip(dy.chunks(GROUP * n)));
        for ((rows, (x, dy)), dx) in groups.zip(dx.chunks_mut(GROUP * n)) {
            for (((row, normal), d), (x, dy)) in rows
                .iter()
                .zip(normal.chunks_exact_mut(n))
                .zip(d.chunks_exact_mut(n))
                .zip(x.chunks_exact(n).zip(dy.chunks_exact(n)))
            {
                normal.iter_mut().zip(x).for_each(|(normal, x)| *normal = row.normal(*x));
                d.iter_mut().zip(dy.iter().zip(gamma)).for_each(|(d, (dy, gamma))| *d = dy.wide() * gamma.wide());
                dgamma
                    .iter_mut()
                    .zip(dy.iter().zip(&*normal))
                    .for_each(|(sum, (dy, normal))| *sum += dy.wide() * normal);
                dbeta.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy.wide());
            }
            let mut means = [[0.0; 2]; GROUP];
            for ((means, _), (d, normal)) in
                means.iter_mut().zip(rows).zip(d.chunks_exact(n).zip(normal.chunks_exact(n)))
            {
                *means = [sum(d, |d| d), sum_of_pairs(d, normal, |d, normal| d * normal)].map(|sum| sum / n as f64);
            }
            let gradients = dx.chunks_exact_mut(n).zip(d.chunks_exact(n).zip(normal.chunks_exact(n)));
            for ((dx, (d, normal)), ([mean, dot], row)) in gradients.zip(means.iter().zip(rows)) {
                for (dx, (d, normal)) in dx.iter_mut().zip(d.iter().zip(normal)) {
                    *dx = T::narrow((d - mean - normal * dot) * row.inverse_deviation);
                }
            }
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
    fn layer_norm_has_the_same_bits_with_narrower_vectors() {
        let x: Vec<f32> = (0..77 * 33).map(|i| (i * 37 % 101) as f32 / 9.0).collect();
        let gamma: Vec<f32> = (0..33).map(|i| 1.0 + i as f32 / 7.0).collect();
        let bits = crate::simd::with_avx2_and_best(|| {
            let (y, stats) = layer_norm(&x, &gamma, &gamma, 1e-5);
            let grad = layer_norm_backward(&x, &y, &gamma, &stats);
            (y, grad.x, grad.gamma, grad.beta)
        });
        assert!(bits.is_none_or(|[narrow, wide]| narrow == wide), "the bits of layer normalisation depend on the CPU");
    }

    #[test]
    #[should_panic(expected = "whole rows")]
    fn a_part_of_a_row_is_refused() {
        layer_norm(&[0.0f32; 5], &[1.0; 2], &[0.0; 2], 1e-5);
    }
}
