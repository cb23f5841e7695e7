//! Losses of logits and integer labels, computed internally in f64. libm replaces the platform's
//! functions, so results are bit-identical with every C library.

use rayon::prelude::*;

use super::output::write;
use super::simd::Scalar;

/// Minimum rows per task.
const ROWS: usize = 64;

pub(crate) fn cross_entropy<T: Scalar>(logits: &[T], labels: &[u32], classes: usize, smoothing: f64) -> Vec<f64> {
    let rows = logits.par_chunks(classes).zip(labels).with_min_len(ROWS);
    rows.map(|(row, &label)| {
        let hit = row[label as usize].wide();
        let target = match smoothing {
            0.0 => hit, // Without smoothing, an infinite logit of another class must not give NaN.
            _ => hit + smoothing * (row.iter().map(|v| v.wide()).sum::<f64>() / classes as f64 - hit),
        };
        log_sum_exp(row) - target
    })
    .collect()
}

pub(crate) fn cross_entropy_backward<T: Scalar>(
    logits: &[T],
    labels: &[u32],
    classes: usize,
    smoothing: f64,
    scale: f64,
) -> Vec<T> {
    write(logits.len(), |grad| {
        let rows = logits.par_chunks(classes).zip(labels).with_min_len(ROWS);
        grad.par_chunks_mut(classes).zip(rows).for_each(|(grad, (row, &label))| {
            let norm = log_sum_exp(row);
            for (class, (grad, logit)) in grad.iter_mut().zip(row).enumerate() {
                let target = (1.0 - smoothing) * one_hot(class, label) + smoothing / classes as f64;
                *grad = T::narrow(scale * (libm::exp(logit.wide() - norm) - target));
            }
        });
    })
}

pub(crate) fn squared_error<T: Scalar>(logits: &[T], labels: &[u32], classes: usize) -> Vec<f64> {
    let rows = logits.par_chunks(classes).zip(labels).with_min_len(ROWS);
    rows.map(|(row, &label)| {
        let squares = row.iter().enumerate().map(|(class, logit)| (logit.wide() - one_hot(class, label)).powi(2));
        squares.sum::<f64>() / classes as f64
    })
    .collect()
}

pub(crate) fn squared_error_backward<T: Scalar>(logits: &[T], labels: &[u32], classes: usize, scale: f64) -> Vec<T> {
    let scale = 2.0 * scale / classes as f64;
    write(logits.len(), |grad| {
        let rows = logits.par_chunks(classes).zip(labels).with_min_len(ROWS);
        grad.par_chunks_mut(classes).zip(rows).for_each(|(grad, (row, &label))| {
            for (class, (grad, logit)) in grad.iter_mut().zip(row).enumerate() {
                *grad = T::narrow(scale * (logit.wide() - one_hot(class, label)));
            }
        });
    })
}

fn one_hot(class: usize, label: u32) -> f64 {
    if class == label as usize { 1.0 } else { 0.0 }
}

fn log_sum_exp<T: Scalar>(row: &[T]) -> f64 {
    let max = row.iter().map(|v| v.wide()).fold(f64::NEG_INFINITY, f64::max);
    max + libm::log(row.iter().map(|v| libm::exp(v.wide() - max)).sum::<f64>())
}
