//! Statistics of small samples, as pure functions.

mod censored;
mod claim;
mod comparison;
mod convergence;
mod hypothesis;
mod interval;
mod looks;
mod ratio;
mod samples;
mod spread;
#[cfg(test)]
mod tests;

pub use censored::Censored;
pub use claim::{Evidence, Finding, decide, seeds_for_no_loss};
pub use comparison::{ALPHA, Comparison, LEVEL, POWER, pareto_front};
pub use convergence::convergence_exponent;
pub use hypothesis::{Difference, holm, sign_flip};
pub use interval::Interval;
pub use looks::Looks;
pub use ratio::Ratio;
pub use samples::over_samples;
pub use spread::{BySeed, moderated};

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Relative rounding difference, over the largest value, between sums of the same values in
/// different orders.
const ROUNDING: f64 = 1e-12;

/// Mean and spread of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Size of the sample.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (n - 1); `None` for a single value.
    pub sd: Option<f64>,
}

/// Arithmetic mean; NaN without values.
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean and standard deviation; `None` for an empty sample.
pub fn summary(values: &[f64]) -> Option<Summary> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some(Summary { n, mean, sd: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()) })
}

impl Summary {
    /// Half the width of the mean's confidence interval at this level, by Student's t for normal
    /// values; `None` for a single value.
    pub fn half_interval(&self, level: f64) -> Option<f64> {
        let sd = self.sd?;
        let t = StudentsT::new(0.0, 1.0, (self.n - 1) as f64).ok()?;
        Some(t.inverse_cdf(0.5 + level / 2.0) * sd / (self.n as f64).sqrt())
    }
}

/// Pairs of values of `a` and `b` for the keys (seeds) that both have, in the order of `a`.
pub fn paired<K: PartialEq>(a: &[(K, f64)], b: &[(K, f64)]) -> Vec<[f64; 2]> {
    let partner = |key: &K| b.iter().find(|(k, _)| k == key).map(|(_, v)| *v);
    a.iter().filter_map(|(k, v)| Some([*v, partner(k)?])).collect()
}

/// Median of sorted values.
///
/// # Panics
/// When there are no values.
fn median_of_sorted(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// Median and range of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Median {
    /// Size of the sample.
    pub n: usize,
    /// Median.
    pub median: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

/// Median and range; `None` for an empty sample.
pub fn median(values: &[f64]) -> Option<Median> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    Some(Median { n: sorted.len(), median: median_of_sorted(&sorted), min, max })
}
