//! Looks: tests of claims before all seeds are trained, and the levels that allow for them.

use std::collections::HashMap;
use std::sync::Mutex;

use statrs::distribution::{Continuous, ContinuousCDF, Normal};

/// The looks of a sequential design, as fractions of the maximum number of seeds. A claim's error probability is spent over them, with
/// little spent early (Lan and DeMets 1983, their spending function of O'Brien and Fleming's type).
#[derive(Debug)]
pub struct Looks {
    /// Ascending; the last one is 1.
    fractions: Vec<f64>,
    /// Levels computed so far, by the bits of alpha.
    known: Mutex<HashMap<u64, Vec<f64>>>,
}

/// Intervals of the grid on which densities are integrated.
const GRID: usize = 300;

impl Looks {
    fn new(fractions: Vec<f64>) -> Self {
        Self { fractions, known: Mutex::default() }
    }

    /// A single look, at the end.
    pub fn once() -> Self {
        Self::new(vec![1.0])
    }

    /// Looks at these ascending numbers of seeds.
    ///
    /// # Panics
    /// When `seeds` is empty.
    pub fn at(seeds: &[usize]) -> Self {
        let last = *seeds.last().expect("a look") as f64;
        Self::new(seeds.iter().map(|n| *n as f64 / last).collect())
    }

    /// Levels of the one-sided tests at each look, such that at least one test rejects a true null hypothesis with probability `alpha`.
    /// They are exact for normal values; t-tests use the same p (Jennison and Turnbull 2000, section 4.4).
    pub fn levels(&self, alpha: f64) -> Vec<f64> {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.entry(alpha.to_bits()).or_insert_with(|| self.integrate(alpha)).clone()
    }

    fn integrate(&self, alpha: f64) -> Vec<f64> {
        let normal = Normal::standard();
        let mut levels = Vec::with_capacity(self.fractions.len());
        // Density of the sum of values up to the last look, if no test has rejected so far.
        let mut density: Option<Density> = None;
        let (mut spent, mut before) = (0.0, 0.0);
        for fraction in &self.fractions {
            let due = spend(alpha, *fraction) - spent;
            let deviation = (fraction - before).sqrt();
            let above = |bound: f64| match &density {
                None => normal.sf(bound / deviation),
                Some(density) => density.integral(|x| normal.sf((bound - x) / deviation)),
            };
            // The probability falls with the bound.
            let (mut low, mut high) = (-10.0 * fraction.sqrt(), 40.0 * fraction.sqrt());
            for _ in 0..80 {
                let middle = f64::midpoint(low, high);
                *(if above(middle) > due { &mut low } else { &mut high }) = middle;
            }
            let bound = f64::midpoint(low, high);
            levels.push(normal.sf(bound / fraction.sqrt()));
            if levels.len() == self.fractions.len() {
                break;
            }
            let next = Density::new(-8.0 * fraction.sqrt(), bound, |y| match &density {
                None => normal.pdf(y / deviation) / deviation,
                Some(density) => density.integral(|x| normal.pdf((y - x) / deviation) / deviation),
            });
            density = Some(next);
            (spent, before) = (spent + due, *fraction);
        }
        levels
    }
}

/// Error probability that is spent up to this fraction of the seeds.
fn spend(alpha: f64, fraction: f64) -> f64 {
    let normal = Normal::standard();
    2.0 * normal.sf(normal.inverse_cdf(1.0 - alpha / 2.0) / fraction.sqrt())
}

/// Values of a function on a grid, multiplied by the weights of Simpson's rule.
struct Density(Vec<[f64; 2]>);

impl Density {
    fn new(from: f64, to: f64, of: impl Fn(f64) -> f64) -> Self {
        let step = (to - from) / GRID as f64;
        let weight = |i: usize| match i {
            0 | GRID => step / 3.0,
            i if i % 2 == 1 => 4.0 * step / 3.0,
            _ => 2.0 * step / 3.0,
        };
        let point = |i: usize| from + i as f64 * step;
        Self((0..=GRID).map(|i| [point(i), weight(i) * of(point(i))]).collect())
    }

    fn integral(&self, of: impl Fn(f64) -> f64) -> f64 {
        self.0.iter().map(|[x, mass]| mass * of(*x)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// gsDesign: gsDesign(k = 5, test.type = 1, alpha = .025, sfu = sfLDOF) has the bounds 4.8769, 3.3569, 2.6803, 2.2898, 2.0310.
    #[test]
    fn bounds_are_those_of_gs_design() {
        let normal = Normal::standard();
        let levels = Looks::at(&[1, 2, 3, 4, 5]).levels(0.025);
        for (level, bound) in levels.iter().zip([4.8769, 3.3569, 2.6803, 2.2898, 2.0310]) {
            let found = normal.inverse_cdf(1.0 - level);
            assert!((found - bound).abs() < 2e-3, "{found} {bound}");
        }
        assert!((Looks::once().levels(0.05)[0] - 0.05).abs() < 1e-9);
    }
}
