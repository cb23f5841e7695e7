//! Claims that a difference is small, and the number of seeds to decide them.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::gamma::ln_gamma;

use super::{Difference, Interval};

/// Conclusion about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// The claim holds at the level.
    Supported,
    /// The claim is wrong at the level.
    Refuted,
    /// The data are compatible with both.
    Undecided,
}

impl Finding {
    /// Word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Refuted => "refuted",
            Self::Undecided => "undecided",
        }
    }
}

/// A claim about a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// The difference is larger than minus the margin: no loss (non-inferiority).
    NoLoss,
    /// The difference is within the margin on both sides (equivalence).
    Equivalent,
}

/// A tested claim.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tested {
    /// Margin of the claim.
    pub margin: f64,
    /// Conclusion.
    pub finding: Finding,
    /// p of the hypothesis that the claim is wrong; for equivalence, the larger of two one-sided
    /// tests' p (Schuirmann 1987).
    pub p: f64,
    /// Interval of level 1 - 2 alpha that decides the claim.
    pub interval: Interval,
}

impl Claim {
    /// Tests the claim at level `alpha`. It is supported if the interval of level 1 - 2 alpha lies
    /// entirely within the claimed range, and refuted if entirely outside. Each conclusion is wrong
    /// with probability at most alpha. `None` if the difference is not finite.
    pub fn test(self, difference: &Difference, margin: f64, alpha: f64) -> Option<Tested> {
        let interval = difference.interval(1.0 - 2.0 * alpha)?;
        let opposite = Difference { mean: -difference.mean, ..*difference };
        let [low, high] = [difference, &opposite].map(|d| d.p_larger_than(-margin));
        let (holds, fails, p) = match self {
            Self::NoLoss => (interval.low > -margin, interval.high < -margin, low?),
            Self::Equivalent => (
                interval.low > -margin && interval.high < margin,
                interval.high < -margin || interval.low > margin,
                low?.max(high?),
            ),
        };
        let finding = match (holds, fails) {
            (true, _) => Finding::Supported,
            (_, true) => Finding::Refuted,
            _ => Finding::Undecided,
        };
        Some(Tested { margin, finding, p, interval })
    }

    /// Seeds at which the claim is supported with probability `power`, given no true difference and
    /// this standard deviation of paired differences; `None` beyond 10,000.
    pub fn seeds(self, sd: f64, margin: f64, alpha: f64, power: f64) -> Option<usize> {
        const MOST: usize = 10_000;
        let enough = |n: &usize| self.power(*n, sd, margin, alpha) >= power;
        // Power increases with n.
        let mut high = 2;
        while !enough(&high) {
            high *= 2;
            if high > 2 * MOST {
                return None;
            }
        }
        let mut low = high / 2;
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            *(if enough(&middle) { &mut high } else { &mut low }) = middle;
        }
        (high <= MOST).then_some(high.max(2))
    }

    /// Probability that n paired differences with mean 0 and this standard deviation support the
    /// claim.
    fn power(self, n: usize, sd: f64, margin: f64, alpha: f64) -> f64 {
        if n < 2 {
            return 0.0;
        }
        let freedom = (n - 1) as f64;
        let Ok(student) = StudentsT::new(0.0, 1.0, freedom) else { return 0.0 };
        let (t, distance) = (student.inverse_cdf(1.0 - alpha), margin * (n as f64).sqrt() / sd);
        let normal = Normal::standard();
        // Given the sample standard deviation, s times the true one, only the mean is random.
        let given = |s: f64| {
            let upper = distance - t * s;
            match self {
                Self::NoLoss => normal.cdf(upper),
                Self::Equivalent => (2.0 * normal.cdf(upper) - 1.0).max(0.0),
            }
        };
        // s sqrt(n - 1) has a chi distribution.
        let constant = freedom / 2.0 * freedom.ln() - (freedom / 2.0 - 1.0) * 2f64.ln() - ln_gamma(freedom / 2.0);
        let density = |s: f64| (constant + (freedom - 1.0) * s.ln() - freedom * s * s / 2.0).exp();
        let width = 10.0 / freedom.sqrt();
        let (from, to) = ((1.0 - width).max(0.0), 1.0 + width);
        midpoints(from, to, |s| given(s) * density(s))
    }
}

/// Integrates a function by the midpoint rule.
fn midpoints(from: f64, to: f64, f: impl Fn(f64) -> f64) -> f64 {
    const PARTS: usize = 300;
    let step = (to - from) / PARTS as f64;
    (0..PARTS).map(|i| f(from + (i as f64 + 0.5) * step)).sum::<f64>() * step
}
