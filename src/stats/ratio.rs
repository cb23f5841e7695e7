//! The ratio of two means over the same seeds.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{Difference, Interval, LEVEL};

/// A ratio of means.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Number of pairs.
    pub n: usize,
    /// First mean divided by the second.
    pub value: f64,
    /// 95% interval (Fieller 1954); `None` if it is unbounded because the second mean may be 0.
    pub interval: Option<Interval>,
}

impl Ratio {
    /// The ratio of the means `a` and `b` over `n` seeds; `None` if `b` is 0. Their covariance follows from the standard error of
    /// `a - b`. The interval contains the ratios r for which a - r b is within t standard errors of 0.
    pub fn of_means(a: &Difference, b: &Difference, a_less_b: &Difference, n: usize) -> Option<Self> {
        if b.mean == 0.0 {
            return None;
        }
        let freedom = a.freedom.min(b.freedom).min(a_less_b.freedom);
        let t = StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf(0.5 + LEVEL / 2.0);
        let [v_a, v_b, v_ab] = [a, b, a_less_b].map(|d| d.standard_error.powi(2));
        let most = (v_a * v_b).sqrt();
        let covariance = ((v_a + v_b - v_ab) / 2.0).clamp(-most, most);
        // (a - r b)^2 <= t^2 (v_a - 2 r covariance + r^2 v_b): c r^2 - 2 h r + d <= 0.
        let c = b.mean * b.mean - t * t * v_b;
        let h = a.mean * b.mean - t * t * covariance;
        let d = a.mean * a.mean - t * t * v_a;
        let root = (h * h - c * d).max(0.0).sqrt();
        let interval = (c > 0.0).then(|| Interval { low: (h - root) / c, high: (h + root) / c });
        Some(Self { n, value: a.mean / b.mean, interval })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Summary, summary};

    fn known(values: &[f64]) -> Difference {
        Difference::paired(&summary(values).expect("values")).expect("a spread")
    }

    fn ratio(pairs: &[[f64; 2]]) -> Option<Ratio> {
        let [a, b, less] = [|p: &[f64; 2]| p[0], |p: &[f64; 2]| p[1], |p: &[f64; 2]| p[0] - p[1]]
            .map(|of| known(&pairs.iter().map(of).collect::<Vec<_>>()));
        Ratio::of_means(&a, &b, &less, pairs.len())
    }

    /// Fieller's definition: at the ends of the interval r, the mean of a - r b is exactly t standard errors from 0.
    #[test]
    fn ends_of_the_interval_are_where_the_difference_is_just_significant() {
        let pairs = [[5.1, 6.2], [4.0, 7.1], [5.9, 6.9], [4.4, 6.0]];
        let ratio = ratio(&pairs).expect("a ratio");
        assert!((ratio.value - 19.4 / 26.2).abs() < 1e-12);
        let interval = ratio.interval.expect("bounded");
        assert!(interval.low < ratio.value && ratio.value < interval.high);
        for end in [interval.low, interval.high] {
            let differences: Summary = summary(&pairs.map(|[a, b]| a - end * b)).expect("values");
            let half = differences.half_interval(LEVEL).expect("a spread");
            assert!((differences.mean.abs() - half).abs() < 1e-9, "{end}: {differences:?}");
        }
    }

    #[test]
    fn a_second_mean_near_zero_bounds_nothing() {
        assert_eq!(ratio(&[[5.0, 1.0], [5.1, -0.5], [5.2, 0.2]]).expect("a ratio").interval, None);
    }
}
