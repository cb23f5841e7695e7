//! Tests of differences for small samples.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{Interval, ROUNDING, Summary, mean, summary};
use crate::random::{Stream, stream, unit};

/// Maximum number of rearrangements to enumerate, which makes a test exact.
const ALL: u64 = 1 << 16;
/// Random rearrangements otherwise, besides the observed one.
const DRAWN: u64 = 20_000;

/// Two-sided p of paired differences under the hypothesis that each sign is arbitrary (Fisher 1935,
/// section 21): the fraction of sign assignments with a mean at least as far from 0. It is at least
/// 2^(1 - n) for n differences, so five seeds decide nothing at .05. `None` for no values or NaN.
pub fn sign_flip(differences: &[f64]) -> Option<f64> {
    let n = differences.len() as u32;
    let found = mean(differences).abs();
    if !found.is_finite() {
        return None;
    }
    let scale = differences.iter().fold(0f64, |m, d| m.max(d.abs()));
    let far = |sum: f64| (sum / f64::from(n)).abs() >= found - ROUNDING * scale;
    if n <= ALL.ilog2() {
        let all = 1u64 << n;
        let flipped = |signs: u64| (0..n).map(move |i| if signs >> i & 1 == 1 { -1.0 } else { 1.0 });
        let sum = |signs| flipped(signs).zip(differences).map(|(sign, d)| sign * d).sum::<f64>();
        return Some((0..all).filter(|signs| far(sum(*signs))).count() as f64 / all as f64);
    }
    let mut rng = stream(0, Stream::Signs);
    let hits = (0..DRAWN).filter(|_| far(differences.iter().map(|d| if unit(&mut rng) < 0.5 { -d } else { *d }).sum()));
    Some((1 + hits.count()) as f64 / (1 + DRAWN) as f64)
}

/// Difference of means, with its standard error and degrees of freedom.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Estimated difference.
    pub mean: f64,
    /// Standard error of the difference.
    pub standard_error: f64,
    /// Degrees of freedom.
    pub freedom: f64,
}

impl Difference {
    /// Difference of pairs (Student 1908), from their differences; `None` for fewer than two.
    pub fn paired(differences: &Summary) -> Option<Self> {
        let n = differences.n as f64;
        Some(Self { mean: differences.mean, standard_error: differences.sd? / n.sqrt(), freedom: n - 1.0 })
    }

    /// Difference `a - b` of two samples with unequal variances (Welch 1947); `None` if one has
    /// fewer than two values.
    pub fn welch(a: &[f64], b: &[f64]) -> Option<Self> {
        let [a, b] = [summary(a)?, summary(b)?];
        let part = |s: Summary| Some((s.sd?.powi(2) / s.n as f64, (s.n - 1) as f64));
        let ((va, fa), (vb, fb)) = (part(a)?, part(b)?);
        let freedom = (va + vb).powi(2) / (va * va / fa + vb * vb / fb);
        let freedom = if freedom.is_nan() { fa + fb } else { freedom };
        Some(Self { mean: a.mean - b.mean, standard_error: (va + vb).sqrt(), freedom })
    }

    /// Raises the standard error for means of values that are whole multiples of a step. Values may
    /// be equal by chance, so the error is at least that of one step in each of the n values.
    #[must_use]
    pub fn in_steps_of(self, step: f64, n: usize) -> Self {
        Self { standard_error: self.standard_error.max(step / (n.max(1) as f64).sqrt()), ..self }
    }

    /// Interval of the difference; `None` if not finite.
    pub fn interval(&self, level: f64) -> Option<Interval> {
        let half = self.student()?.inverse_cdf(0.5 + level / 2.0) * self.standard_error;
        let interval = Interval { low: self.mean - half, high: self.mean + half };
        (interval.low.is_finite() && interval.high.is_finite()).then_some(interval)
    }

    /// Two-sided p under the hypothesis of no difference.
    pub fn p(&self) -> Option<f64> {
        Some(2.0 * self.above(self.mean.abs())?.min(0.5))
    }

    /// p of the one-sided test that the difference is larger than `bound`.
    pub fn p_larger_than(&self, bound: f64) -> Option<f64> {
        self.above(self.mean - bound)
    }

    /// Probability of an estimate this far above the truth.
    fn above(&self, distance: f64) -> Option<f64> {
        if self.standard_error == 0.0 {
            // Without spread the result is certain.
            let p = if distance > 0.0 { 0.0 } else { 1.0 };
            return distance.is_finite().then_some(p);
        }
        let t = distance / self.standard_error;
        (!t.is_nan()).then(|| self.student().map(|student| student.sf(t)))?
    }

    fn student(&self) -> Option<StudentsT> {
        StudentsT::new(0.0, 1.0, self.freedom).ok()
    }
}

/// Holm's correction of several tests (Holm 1979). Rejecting where the corrected p is at most a
/// level makes at least one false rejection with at most that probability.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut corrected = vec![0.0; p.len()];
    let mut largest = 0f64;
    for (rank, test) in order.into_iter().enumerate() {
        largest = largest.max(p[test] * (p.len() - rank) as f64).min(1.0);
        corrected[test] = largest;
    }
    corrected
}
