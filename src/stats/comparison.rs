//! A setting beside a reference: everything that is said of their difference.

use serde::Serialize;

use super::{Claim, Difference, Finding, Interval, Tested, bootstrap_mean, paired, sign_flip, summary};

/// Level of the intervals.
pub const LEVEL: f64 = 0.95;
/// Level of the tests of claims.
pub const ALPHA: f64 = 0.05;
/// The power that a stated number of seeds would have.
pub const POWER: f64 = 0.8;

/// Differences `a - b` over the keys (seeds) that both have: what a common seed makes equal cancels out. What a single pair cannot
/// tell is none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Pairs.
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
    /// The same, corrected for all comparisons of the report (Holm).
    pub p_corrected: Option<f64>,
    /// Two-sided p of no difference by flipping signs, which assumes no normal values.
    pub p_sign_flip: Option<f64>,
    /// The claim that `a` loses less than the margin against `b`.
    pub no_loss: Option<Tested>,
    /// The claim that they differ by less than the margin.
    pub equivalent: Option<Tested>,
    /// Seeds at which the first claim would be supported with a probability of .8, were there no difference and the spread what it
    /// is; where it was asked for.
    pub seeds_for_no_loss: Option<usize>,
}

impl Comparison {
    /// Of paired values that are whole multiples of `step`; none without a pair.
    pub fn of_pairs<K: PartialEq>(a: &[(K, f64)], b: &[(K, f64)], step: f64, margin: f64) -> Option<Self> {
        let differences: Vec<f64> = paired(a, b).iter().map(|[a, b]| a - b).collect();
        let found = summary(&differences)?;
        let difference = Difference::paired(&found).map(|d| d.in_steps_of(step, found.n));
        let test = |claim: Claim| claim.test(difference.as_ref()?, margin, ALPHA);
        Some(Self {
            n: found.n,
            mean: found.mean,
            sd: found.sd,
            interval: difference.and_then(|d| d.interval(LEVEL)),
            bootstrap_interval: bootstrap_mean(&differences, LEVEL),
            p: difference.and_then(|d| d.p()),
            p_corrected: None,
            p_sign_flip: sign_flip(&differences).filter(|_| found.n > 1),
            no_loss: test(Claim::NoLoss),
            equivalent: test(Claim::Equivalent),
            seeds_for_no_loss: None,
        })
    }

    /// With the seeds that would support no loss.
    #[must_use]
    pub fn with_seeds(self, step: f64, margin: f64) -> Self {
        let seeds = self.sd.and_then(|sd| Claim::NoLoss.seeds(sd.max(step), margin, ALPHA, POWER));
        Self { seeds_for_no_loss: seeds, ..self }
    }

    /// The seeds that would support no loss, where it is undecided and they are more than there are.
    pub fn seeds_wanting(&self) -> Option<usize> {
        let undecided = self.no_loss.is_some_and(|tested| tested.finding == Finding::Undecided);
        self.seeds_for_no_loss.filter(|seeds| undecided && *seeds > self.n)
    }
}

/// Which of some trade-offs no other dominates: no other costs at most as much and is worth at least as much, one of both strictly.
/// `(cost, worth)`; a NaN is never on the front.
pub fn pareto_front(tradeoffs: &[(f64, f64)]) -> Vec<bool> {
    let mut order: Vec<usize> =
        (0..tradeoffs.len()).filter(|i| !(tradeoffs[*i].0 + tradeoffs[*i].1).is_nan()).collect();
    // By rising cost; of equal cost, the worthiest first.
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
