//! The ratio of two means over the same seeds.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{Interval, LEVEL, mean};

/// A ratio of means.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Pairs.
    pub n: usize,
    /// Mean of the first over mean of the second.
    pub value: f64,
    /// 95% interval (Fieller 1954); none where the second mean may be 0, so that every ratio is possible.
    pub interval: Option<Interval>,
}

impl Ratio {
    /// Of the means of paired values that are whole multiples of `step`; none for fewer than two pairs or a second mean of 0.
    pub fn of_pairs(pairs: &[[f64; 2]], step: f64) -> Option<Self> {
        let n = pairs.len();
        let [a, b] = [0, 1].map(|i| pairs.iter().map(|pair| pair[i]).collect::<Vec<f64>>());
        let (mean_a, mean_b) = (mean(&a), mean(&b));
        if n < 2 || mean_b == 0.0 {
            return None;
        }
        let t = StudentsT::new(0.0, 1.0, (n - 1) as f64).ok()?.inverse_cdf(0.5 + LEVEL / 2.0);
        let covariance = |(x, mean_x): (&[f64], f64), (y, mean_y): (&[f64], f64)| {
            let products = x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y));
            products.sum::<f64>() / ((n - 1) * n) as f64
        };
        // What is equal by chance is not thereby certain.
        let least = step * step / n as f64;
        let variance = |x: (&[f64], f64)| covariance(x, x).max(least);
        let (a, b) = ((a.as_slice(), mean_a), (b.as_slice(), mean_b));
        // The ratios r for which a - r b is within t standard errors of 0: c r^2 - 2 h r + d <= 0.
        let c = mean_b * mean_b - t * t * variance(b);
        let h = mean_a * mean_b - t * t * covariance(a, b);
        let d = mean_a * mean_a - t * t * variance(a);
        let root = (h * h - c * d).max(0.0).sqrt();
        let interval = (c > 0.0).then(|| Interval { low: (h - root) / c, high: (h + root) / c });
        Some(Self { n, value: mean_a / mean_b, interval })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::summary;

    /// Fieller's definition: at the ends of the interval r, the mean of a - r b is exactly t standard errors from 0.
    #[test]
    fn ends_of_the_interval_are_where_the_difference_is_just_significant() {
        let pairs = [[5.1, 6.2], [4.0, 7.1], [5.9, 6.9], [4.4, 6.0]];
        let ratio = Ratio::of_pairs(&pairs, 0.0).expect("a ratio");
        assert!((ratio.value - 19.4 / 26.2).abs() < 1e-12);
        let interval = ratio.interval.expect("bounded");
        assert!(interval.low < ratio.value && ratio.value < interval.high);
        for end in [interval.low, interval.high] {
            let differences = summary(&pairs.map(|[a, b]| a - end * b)).expect("values");
            let half = differences.half_interval(LEVEL).expect("a spread");
            assert!((differences.mean.abs() - half).abs() < 1e-9, "{end}: {differences:?}");
        }
    }

    #[test]
    fn a_second_mean_near_zero_bounds_nothing() {
        let near_zero = [[5.0, 1.0], [5.0, -0.5], [5.0, 0.2]];
        assert_eq!(Ratio::of_pairs(&near_zero, 0.0).expect("a ratio").interval, None);
        assert_eq!(Ratio::of_pairs(&[[1.0, 2.0]], 0.0), None);
        // Equal by chance: the interval is that of values one step apart.
        let equal = Ratio::of_pairs(&[[1.0, 2.0], [1.0, 2.0]], 0.01).expect("a ratio");
        assert!(equal.value == 0.5 && equal.interval.is_some_and(|i| i.low < 0.5 && 0.5 < i.high), "{equal:?}");
    }
}
