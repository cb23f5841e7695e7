//! Confidence intervals of a sample's mean or median.

use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal};

use super::{ROUNDING, mean, median_of_sorted};
use crate::random::{Stream, below, stream};

/// An interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether `value` lies in the interval.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// Maximum number of resamples to enumerate, which is exact: up to five values.
const ALL: usize = 5_000;
/// Random resamples otherwise. The ends of a 95% interval then vary by a few hundredths of its
/// width.
const DRAWN: usize = 5_000;

/// Interval of the mean by the bootstrap, bias-corrected and accelerated (Efron 1987, section 4);
/// `None` for fewer than two values or equal ones. It is too narrow for few values: with five
/// normal ones, a 95% interval covers the mean in 82% of cases.
pub fn bootstrap_mean(values: &[f64], level: f64) -> Option<Interval> {
    let found = mean(values);
    let means = resampled(values, |sample| mean(sample))?;
    // Resamples of the same values in another order have equal means up to rounding.
    let equal = ROUNDING * values.iter().fold(0f64, |m, v| m.max(v.abs()));
    let below = means.iter().map(|m| if (m - found).abs() <= equal { 0.5 } else { f64::from(*m < found) });
    let normal = Normal::standard();
    let bias = normal.inverse_cdf(below.sum::<f64>() / means.len() as f64);
    // The jackknife's means deviate from their mean in proportion to the values' deviations, with
    // the opposite sign.
    let power = |k| values.iter().map(|v| (v - found).powi(k)).sum::<f64>();
    let acceleration = power(3) / (6.0 * power(2).powf(1.5));
    let end = |tail: f64| {
        let z = bias + normal.inverse_cdf(tail);
        quantile(&means, normal.cdf(bias + z / (1.0 - acceleration * z)))
    };
    let interval = Interval { low: end((1.0 - level) / 2.0), high: end((1.0 + level) / 2.0) };
    (interval.low.is_finite() && interval.high.is_finite()).then_some(interval)
}

/// Interval of the median by bootstrap quantiles (Efron 1979); `None` for fewer than two values or
/// equal ones.
pub fn bootstrap_median(values: &[f64], level: f64) -> Option<Interval> {
    let medians = resampled(values, |sample| {
        sample.sort_unstable_by(f64::total_cmp);
        median_of_sorted(sample)
    })?;
    Some(Interval { low: quantile(&medians, (1.0 - level) / 2.0), high: quantile(&medians, (1.0 + level) / 2.0) })
}

/// Sorted statistics of resamples; `None` if nothing varies.
fn resampled(values: &[f64], mut statistic: impl FnMut(&mut [f64]) -> f64) -> Option<Vec<f64>> {
    let n = values.len();
    if n < 2 || values.iter().any(|v| !v.is_finite()) || values.iter().all(|v| *v == values[0]) {
        return None;
    }
    let all = n.checked_pow(n as u32).filter(|all| *all <= ALL);
    let mut rng = stream(0, Stream::Bootstrap);
    let mut sample = vec![0.0; n];
    let mut found: Vec<f64> = (0..all.unwrap_or(DRAWN))
        .map(|resample| {
            match all {
                Some(_) => nth(values, resample, &mut sample),
                None => drawn(values, &mut rng, &mut sample),
            }
            statistic(&mut sample)
        })
        .collect();
    found.sort_unstable_by(f64::total_cmp);
    Some(found)
}

/// Resample whose indices are the digits of `number` in base n.
fn nth(values: &[f64], mut number: usize, sample: &mut [f64]) {
    for place in sample {
        *place = values[number % values.len()];
        number /= values.len();
    }
}

fn drawn(values: &[f64], rng: &mut ChaCha8Rng, sample: &mut [f64]) {
    sample.iter_mut().for_each(|place| *place = values[below(rng, values.len())]);
}

/// Quantile of sorted values, with linear interpolation.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = part.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}
