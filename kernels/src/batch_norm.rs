//! Per-channel batch normalisation: from sums to the lines that [`super::Source`] applies on the
//! fly. In f64.

use super::moments::Moments;

/// Mean and biased variance of one channel.
#[derive(Clone, Copy, Debug)]
pub struct ChannelStats {
    /// Mean.
    pub mean: f64,
    /// Biased variance.
    pub variance: f64,
}

impl ChannelStats {
    /// Batch statistics from the per-channel sums of x and x^2 over `count` values.
    pub fn of_batch(moments: &Moments, count: f64) -> Vec<Self> {
        let sums = moments.plain.iter().zip(&moments.product);
        sums.map(|(x, xx)| {
            let mean = x / count;
            // max: rounding can push a constant channel just below zero. NaN stays NaN.
            let variance = xx / count - mean * mean;
            Self { mean, variance: if variance < 0.0 { 0.0 } else { variance } }
        })
        .collect()
    }

    fn inverse_deviation(&self, eps: f64) -> f64 {
        1.0 / (self.variance + eps).sqrt()
    }
}

/// `gamma (x - mean) / sqrt(variance + eps) + beta` as per-channel scale and shift.
pub fn normalisation(stats: &[ChannelStats], gamma: &[f64], beta: &[f64], eps: f64) -> [Vec<f64>; 2] {
    let scale: Vec<f64> = stats.iter().zip(gamma).map(|(s, gamma)| gamma * s.inverse_deviation(eps)).collect();
    let shift = stats.iter().zip(beta).zip(&scale).map(|((s, beta), scale)| beta - s.mean * scale).collect();
    [scale, shift]
}

/// Per-channel gradients of a batch normalisation.
pub struct BatchNormGrad {
    /// Gradient of the scale.
    pub gamma: Vec<f64>,
    /// Gradient of the shift.
    pub beta: Vec<f64>,
    /// Coefficients a, b and c of the input gradient `a dy + b x + c`.
    pub terms: [Vec<f64>; 3],
}

/// Whether the statistics came from the batch, so that the gradient passes through them, or are
/// constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// Computed from the batch.
    Batch,
    /// Constants.
    Fixed,
}

/// Gradients from the per-channel sums of dy and dy x over `count` values:
/// dx = gamma inv (dy - mean(dy) - xhat mean(dy xhat)) with xhat = (x - mean) inv.
pub fn batch_norm_backward(
    moments: &Moments,
    (stats, statistics): (&[ChannelStats], Statistics),
    gamma: &[f64],
    eps: f64,
    count: f64,
) -> BatchNormGrad {
    let mut grad = BatchNormGrad { gamma: Vec::new(), beta: moments.plain.clone(), terms: Default::default() };
    for (c, s) in stats.iter().enumerate() {
        let (inv, sum) = (s.inverse_deviation(eps), moments.plain[c]);
        let dot = (moments.product[c] - s.mean * sum) * inv;
        grad.gamma.push(dot);
        let a = gamma[c] * inv;
        let (b, shift) = match statistics {
            Statistics::Fixed => (0.0, 0.0),
            Statistics::Batch => {
                let b = -a * dot * inv / count;
                (b, -a * sum / count - b * s.mean)
            }
        };
        for (term, value) in grad.terms.iter_mut().zip([a, b, shift]) {
            term.push(value);
        }
    }
    grad
}
