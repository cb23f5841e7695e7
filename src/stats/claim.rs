//! Claims about differences, tested in both directions and corrected for the number of tests.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::gamma::ln_gamma;

use super::{Difference, Looks};

/// Conclusion about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// The claim is shown at its level.
    Supported,
    /// The opposite of the claim is shown at its level.
    Refuted,
    /// The data are compatible with both.
    Undecided,
    /// A precondition of the claim is not shown, so neither the claim nor its opposite can be.
    NotShown,
}

impl Finding {
    /// The finding as reports word it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Refuted => "refuted",
            Self::Undecided => "undecided",
            Self::NotShown => "not shown",
        }
    }

    /// Whether the finding is final, so that more seeds cannot change it.
    pub fn is_decided(self) -> bool {
        matches!(self, Self::Supported | Self::Refuted)
    }
}

/// One row's evidence for the claim that a quantity exceeds a bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// The quantity minus its bound.
    pub difference: Difference,
    /// The look at which it is tested, from 0.
    pub look: usize,
    /// Whether the row diverged more often than the one it is compared with, so that the claim cannot be supported.
    pub fails: bool,
}

/// Tests for every row the claim "the quantity exceeds its bound", and its opposite. Each of the two has a false conclusion about
/// any row at any look with probability at most `alpha`: Holm's procedure divides `alpha` among the open rows, and each look tests at
/// its level for that part (Maurer and Bretz 2013). `before` holds the findings of earlier looks, which stand.
pub fn decide(rows: &[Option<Evidence>], looks: &Looks, alpha: f64, before: &[Finding]) -> Vec<Finding> {
    let side = |finding: Finding, p: &dyn Fn(&Evidence) -> Option<f64>| {
        let mut found: Vec<bool> = before.iter().map(|before| *before == finding).collect();
        let mut open: Vec<usize> = (0..rows.len()).filter(|row| !found[*row]).collect();
        loop {
            let levels = looks.levels(alpha / open.len().max(1) as f64);
            let rejects = |row: &usize| {
                let evidence = rows[*row].as_ref()?;
                Some(p(evidence)? <= *levels.get(evidence.look)?)
            };
            let Some(place) = open.iter().position(|row| rejects(row) == Some(true)) else { return found };
            found[open.remove(place)] = true;
        }
    };
    let exceeds = |e: &Evidence| e.difference.p_larger_than(0.0).filter(|_| !e.fails);
    let falls_short = |e: &Evidence| Difference { mean: -e.difference.mean, ..e.difference }.p_larger_than(0.0);
    let (supported, refuted) = (side(Finding::Supported, &exceeds), side(Finding::Refuted, &falls_short));
    let finding = |(row, before): (usize, &Finding)| match (before.is_decided(), supported[row], refuted[row]) {
        (true, ..) => *before,
        (_, true, _) => Finding::Supported,
        (_, _, true) => Finding::Refuted,
        _ => Finding::Undecided,
    };
    before.iter().enumerate().map(finding).collect()
}

/// Number of seeds at which a one-sided t-test at `alpha` supports "loses less than the margin" with probability `power`, if there is
/// no true difference and paired differences have standard deviation `sd`; `None` beyond 10,000.
pub fn seeds_for_no_loss(sd: f64, margin: f64, alpha: f64, power: f64) -> Option<usize> {
    const MOST: usize = 10_000;
    let enough = |n: usize| power_of_no_loss(n, sd, margin, alpha) >= power;
    // Power increases with n.
    let mut high = 2;
    while !enough(high) {
        high *= 2;
        if high > 2 * MOST {
            return None;
        }
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        *(if enough(middle) { &mut high } else { &mut low }) = middle;
    }
    (high <= MOST).then_some(high.max(2))
}

/// Probability that n paired differences with mean 0 and standard deviation `sd` support no loss.
fn power_of_no_loss(n: usize, sd: f64, margin: f64, alpha: f64) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let freedom = (n - 1) as f64;
    let Ok(student) = StudentsT::new(0.0, 1.0, freedom) else { return 0.0 };
    let (t, distance) = (student.inverse_cdf(1.0 - alpha), margin * (n as f64).sqrt() / sd);
    let normal = Normal::standard();
    // Given the sample standard deviation, s times the true one, only the mean is random.
    let given = |s: f64| normal.cdf(distance - t * s);
    // s sqrt(n - 1) has a chi distribution.
    let constant = freedom / 2.0 * freedom.ln() - (freedom / 2.0 - 1.0) * 2f64.ln() - ln_gamma(freedom / 2.0);
    let density = |s: f64| (constant + (freedom - 1.0) * s.ln() - freedom * s * s / 2.0).exp();
    let width = 10.0 / freedom.sqrt();
    let (from, to) = ((1.0 - width).max(0.0), 1.0 + width);
    midpoints(from, to, |s| given(s) * density(s))
}

/// Integrates a function by the midpoint rule.
fn midpoints(from: f64, to: f64, f: impl Fn(f64) -> f64) -> f64 {
    const PARTS: usize = 300;
    let step = (to - from) / PARTS as f64;
    (0..PARTS).map(|i| f(from + (i as f64 + 0.5) * step)).sum::<f64>() * step
}
