//! Layer normalisation of rows [rows, features], with statistics in f64.

use rayon::prelude::*;

use super::moments::sum_pairs;
use super::output::write;
use super::simd::Scalar;

/// Rows per task, fixed so that the summation order never depends on the number of threads.
const ROWS: usize = 256;

/// A row's mean and 1 / sqrt(variance + eps).
#[derive(Clone, Copy, Debug)]
pub struct RowStats {
    mean: f64,
    inverse_deviation: f64,
}

pub(crate) fn layer_norm<T: Scalar>(x: &[T], gamma: &[T], beta: &[T], eps: f64) -> (Vec<T>, Vec<RowStats>) {
    let n = gamma.len();
    let stats: Vec<RowStats> = x
        .par_chunks(n)
        .with_min_len(ROWS)
        .map(|x| {
            let mean = x.iter().map(|x| x.wide()).sum::<f64>() / n as f64;
            let variance = x.iter().map(|x| (x.wide() - mean).powi(2)).sum::<f64>() / n as f64;
            RowStats { mean, inverse_deviation: 1.0 / (variance + eps).sqrt() }
        })
        .collect();
    let y = write(x.len(), |y| {
        y.par_chunks_mut(n).with_min_len(ROWS).zip(x.par_chunks(n).zip(&stats)).for_each(|(y, (x, row))| {
            for ((y, x), (gamma, beta)) in y.iter_mut().zip(x).zip(gamma.iter().zip(beta)) {
                let normal = (x.wide() - row.mean) * row.inverse_deviation;
                *y = T::narrow(gamma.wide() * normal + beta.wide());
            }
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
            let (dgamma, dbeta) = sums.split_at_mut(n);
            let (mut normal, mut d) = (vec![0.0; n], vec![0.0; n]);
            for (((row, x), dy), dx) in rows.iter().zip(x.chunks(n)).zip(dy.chunks(n)).zip(dx.chunks_mut(n)) {
                for i in 0..n {
                    normal[i] = (x[i].wide() - row.mean) * row.inverse_deviation;
                    d[i] = dy[i].wide() * gamma[i].wide();
                    dgamma[i] += dy[i].wide() * normal[i];
                    dbeta[i] += dy[i].wide();
                }
                let mean = d.iter().sum::<f64>() / n as f64;
                let dot = d.iter().zip(&normal).map(|(d, x)| d * x).sum::<f64>() / n as f64;
                for i in 0..n {
                    dx[i] = T::narrow((d[i] - mean - normal[i] * dot) * row.inverse_deviation);
                }
            }
        });
    });
    let [gamma, beta] = sum_pairs(&parts, n);
    LayerNormGrad { x: dx, gamma, beta }
}
