//! Comparison of a setting with a reference.

use serde::Serialize;

use super::{Claim, Difference, Finding, Interval, Tested, bootstrap_mean, paired, sign_flip, summary};

/// Confidence level of the intervals.
pub const LEVEL: f64 = 0.95;
/// Significance level of tests of claims.
pub const ALPHA: f64 = 0.05;
/// Power for the stated number of seeds.
pub const POWER: f64 = 0.8;

/// Differences `a - b`, paired by the keys (seeds) that both have, so that effects of a common seed
/// cancel. Values that a single pair cannot determine are `None`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Number of pairs.
    pub n: usize,
    /// Mean difference.
    pub mean: f64,
    /// Sample standard deviation of the differences.
    pub sd: Option<f64>,
    /// 95% interval of the mean by Student's t.
    pub interval: Option<Interval>,
    /// 95% interval of the mean by the bootstrap (BCa).
    pub bootstrap_interval: Option<Interval>,
    /// Two-sided p of no difference, by Student's t.
    pub p: Option<f64>,
    /// [`Comparison::p`] with Holm's correction for all comparisons of the report.
    pub p_corrected: Option<f64>,
    /// Two-sided p of no difference by sign flips, without assuming normality.
    pub p_sign_flip: Option<f64>,
    /// Claim that `a` loses less than the margin against `b`.
    pub no_loss: Option<Tested>,
    /// Claim that they differ by less than the margin.
    pub equivalent: Option<Tested>,
    /// Seeds at which the no-loss claim would be supported with probability .8, given no true
    /// difference and the observed spread, if requested.
    pub seeds_for_no_loss: Option<usize>,
}

/// The part of an interval that differences of fractions can have.
fn possible(interval: Interval) -> Interval {
    Interval { low: interval.low.max(-1.0), high: interval.high.min(1.0) }
}

impl Comparison {
    /// Compares paired fractions that are whole multiples of `step`; `None` without a pair.
    pub fn of_pairs<K: PartialEq>(a: &[(K, f64)], b: &[(K, f64)], step: f64, margin: f64) -> Option<Self> {
        let differences: Vec<f64> = paired(a, b).iter().map(|[a, b]| a - b).collect();
        let found = summary(&differences)?;
        let difference = Difference::paired(&found).map(|d| d.in_steps_of(step, found.n));
        let test = |claim: Claim| claim.test(difference.as_ref()?, margin, ALPHA);
        Some(Self {
            n: found.n,
            mean: found.mean,
            sd: found.sd,
            interval: difference.and_then(|d| d.interval(LEVEL)).map(possible),
            bootstrap_interval: bootstrap_mean(&differences, LEVEL),
            p: difference.and_then(|d| d.p()),
            p_corrected: None,
            p_sign_flip: sign_flip(&differences).filter(|_| found.n > 1),
            no_loss: test(Claim::NoLoss),
            equivalent: test(Claim::Equivalent),
            seeds_for_no_loss: None,
        })
    }

    /// Adds the number of seeds that would support no loss.
    #[must_use]
    pub fn with_seeds(self, step: f64, margin: f64) -> Self {
        let seeds = self.sd.and_then(|sd| Claim::NoLoss.seeds(sd.max(step), margin, ALPHA, POWER));
        Self { seeds_for_no_loss: seeds, ..self }
    }

    /// Seeds that would support no loss, if it is undecided and they exceed the present number.
    pub fn seeds_wanting(&self) -> Option<usize> {
        let undecided = self.no_loss.is_some_and(|tested| tested.finding == Finding::Undecided);
        self.seeds_for_no_loss.filter(|seeds| undecided && *seeds > self.n)
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
