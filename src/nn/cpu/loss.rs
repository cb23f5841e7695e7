//! Softmax cross-entropy with integer labels, in f64 inside. libm in place of the platform's functions: the same bits
//! with every C library.

use super::Scalar;

/// Per-sample losses `-log softmax(logits)[label]` of `logits` [batch, classes].
pub(in crate::nn) fn cross_entropy<T: Scalar>(logits: &[T], labels: &[u32], classes: usize) -> Vec<f64> {
    logits.chunks(classes).zip(labels).map(|(row, &label)| log_sum_exp(row) - row[label as usize].to_f64()).collect()
}

/// The gradient of `scale` times the summed loss: `scale (softmax - one_hot)`.
pub(in crate::nn) fn cross_entropy_backward<T: Scalar>(
    logits: &[T],
    labels: &[u32],
    classes: usize,
    scale: f64,
) -> Vec<T> {
    let mut grad = Vec::with_capacity(logits.len());
    for (row, &label) in logits.chunks(classes).zip(labels) {
        let norm = log_sum_exp(row);
        grad.extend(row.iter().enumerate().map(|(class, logit)| {
            let hit = if class == label as usize { 1.0 } else { 0.0 };
            T::from_f64(scale * (libm::exp(logit.to_f64() - norm) - hit))
        }));
    }
    grad
}

fn log_sum_exp<T: Scalar>(row: &[T]) -> f64 {
    let max = row.iter().map(|v| v.to_f64()).fold(f64::NEG_INFINITY, f64::max);
    max + libm::log(row.iter().map(|v| libm::exp(v.to_f64() - max)).sum::<f64>())
}
