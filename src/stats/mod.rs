//! Statistics of small samples. Pure: numbers in, numbers out.

mod convergence;

pub use convergence::convergence_exponent;

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Mean and spread of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Size of the sample.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (n - 1); none for a single value, which has no spread to show.
    pub sd: Option<f64>,
}

/// Mean and standard deviation; none of an empty sample.
pub fn summary(values: &[f64]) -> Option<Summary> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some(Summary { n, mean, sd: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()) })
}

impl Summary {
    /// Half the width of the interval that holds the mean at this confidence level, by Student's t for normal values; none
    /// for a single value.
    pub fn half_interval(&self, level: f64) -> Option<f64> {
        let sd = self.sd?;
        let t = StudentsT::new(0.0, 1.0, (self.n - 1) as f64).ok()?;
        Some(t.inverse_cdf(0.5 + level / 2.0) * sd / (self.n as f64).sqrt())
    }
}

/// Summary of `a - b` over the keys both have (seeds): what a common seed makes equal cancels out.
pub fn paired_difference<K: PartialEq>(a: &[(K, f64)], b: &[(K, f64)]) -> Option<Summary> {
    let partner = |key: &K| b.iter().find(|(k, _)| k == key).map(|(_, v)| *v);
    let differences: Vec<f64> = a.iter().filter_map(|(k, v)| Some(v - partner(k)?)).collect();
    summary(&differences)
}

/// `a / b` over the keys both have (seeds).
pub fn paired_ratios<K: PartialEq>(a: &[(K, f64)], b: &[(K, f64)]) -> Vec<f64> {
    let partner = |key: &K| b.iter().find(|(k, _)| k == key).map(|(_, v)| *v);
    a.iter().filter_map(|(k, v)| Some(v / partner(k)?)).collect()
}

/// Median of sorted values.
///
/// # Panics
/// When there are none.
pub fn median_of_sorted(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// Median and range of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
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

/// Median and range; none of an empty sample.
pub fn median(values: &[f64]) -> Option<Median> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    Some(Median { n: sorted.len(), median: median_of_sorted(&sorted), min, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_is_the_textbook_one() {
        // numpy: mean([1,2,4]) = 2.3333, std([1,2,4], ddof=1) = 1.5275
        let s = summary(&[1.0, 2.0, 4.0]).expect("a sample");
        assert!((s.mean - 2.333_333).abs() < 1e-6 && (s.sd.expect("a spread") - 1.527_525).abs() < 1e-6);
        assert_eq!(summary(&[3.0]), Some(Summary { n: 1, mean: 3.0, sd: None }));
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn intervals_are_students() {
        // scipy: t.ppf(.975, 2) * std([1, 2, 4], ddof=1) / sqrt(3) = 3.794583
        let half = summary(&[1.0, 2.0, 4.0]).and_then(|s| s.half_interval(0.95)).expect("an interval");
        assert!((half - 3.794_583).abs() < 1e-5, "{half}");
        assert_eq!(summary(&[3.0]).and_then(|s| s.half_interval(0.95)), None);
    }

    #[test]
    fn differences_pair_by_seed() {
        let difference = paired_difference(&[(1, 5.0), (2, 7.0), (3, 9.0)], &[(2, 6.0), (1, 5.0), (9, 0.0)]);
        assert_eq!(difference.map(|d| (d.n, d.mean)), Some((2, 0.5)));
    }

    #[test]
    fn median_of_an_even_sample_is_between() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(Median { n: 4, median: 2.5, min: 1.0, max: 4.0 }));
    }
}
