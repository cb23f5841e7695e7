//! Comparison of a setting with a reference.

use serde::Serialize;

use super::spread::BySeed;
use super::{Difference, Interval, sign_flip, summary};

/// Confidence level of the intervals.
pub const LEVEL: f64 = 0.95;
/// Significance level of tests of differences.
pub const ALPHA: f64 = 0.05;
/// Power at which numbers of needed seeds are computed.
pub const POWER: f64 = 0.8;

/// Differences `a - b` of accuracies, paired by seed, so that effects of a common seed cancel. Values that a single pair cannot
/// determine are `None`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Number of pairs.
    pub n: usize,
    /// Mean difference.
    pub mean: f64,
    /// Sample standard deviation of the differences.
    pub sd: Option<f64>,
    /// Standard error of the mean, from the variance moderated over the report's rows.
    pub standard_error: Option<f64>,
    /// Degrees of freedom of the standard error.
    pub freedom: Option<f64>,
    /// 95% interval of the mean by Student's t.
    pub interval: Option<Interval>,
    /// 95% interval of the mean over other test samples as well as other seeds ([`over_samples`](super::over_samples)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_over_samples: Option<Interval>,
    /// Two-sided p of no difference, by Student's t.
    pub p: Option<f64>,
    /// [`Comparison::p`] after Holm's correction over all comparisons of the report.
    pub p_corrected: Option<f64>,
    /// Two-sided p of no difference by sign flips, without assuming normality.
    pub p_sign_flip: Option<f64>,
}

/// Cuts an interval off at the values that differences of fractions can have.
fn possible(interval: Interval) -> Interval {
    Interval { low: interval.low.max(-1.0), high: interval.high.min(1.0) }
}

impl Comparison {
    /// Summarises differences of fractions by seed, given the moderated estimate of their mean; `None` without a pair.
    pub fn new(differences: &BySeed, known: Option<Difference>) -> Option<Self> {
        let values: Vec<f64> = differences.iter().map(|(_, d)| *d).collect();
        let found = summary(&values)?;
        Some(Self {
            n: found.n,
            mean: found.mean,
            sd: found.sd,
            standard_error: known.map(|d| d.standard_error),
            freedom: known.map(|d| d.freedom),
            interval: known.and_then(|d| d.interval(LEVEL)).map(possible),
            interval_over_samples: None,
            p: known.and_then(|d| d.p()),
            p_corrected: None,
            p_sign_flip: sign_flip(&values).filter(|_| found.n > 1),
        })
    }

    /// Adds the interval for other test samples.
    #[must_use]
    pub fn with_samples(self, interval: Option<Interval>) -> Self {
        Self { interval_over_samples: interval.map(possible), ..self }
    }

    /// The differences `b - a`.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self {
            mean: -self.mean,
            interval: self.interval.map(Interval::reversed),
            interval_over_samples: self.interval_over_samples.map(Interval::reversed),
            ..self
        }
    }
}

/// Marks the Pareto front. A trade-off `(cost, worth)` is dominated if another costs at most as
/// much and is worth at least as much, one of them strictly. NaN is never on the front.
pub fn pareto_front(tradeoffs: &[(f64, f64)]) -> Vec<bool> {
    let mut order: Vec<usize> =
        (0..tradeoffs.len()).filter(|i| !(tradeoffs[*i].0 + tradeoffs[*i].1).is_nan()).collect();
    // By ascending cost; ties by descending worth.
    order.sort_by(|a, b| {
        let ((cost_a, worth_a), (cost_b, worth_b)) = (tradeoffs[*a], tradeoffs[*b]);
        cost_a.total_cmp(&cost_b).then(worth_b.total_cmp(&worth_a))
    });
    let mut front = vec![false; tradeoffs.len()];
    let mut best: Option<(f64, f64)> = None;
    for i in order {
        let (cost, worth) = tradeoffs[i];
        if best.is_none_or(|(least, most)| worth > most || (worth, cost) == (most, least)) {
            front[i] = true;
            best = Some((cost, worth));
        }
    }
    front
}
