//! AE-SAM (Jiang et al. 2023): a SAM step where the gradient is larger than its recent average, a
//! plain step elsewhere.

use super::ascent::dot;
use super::entry::{Key, KeyDefault, OptimizerEntry};
use super::method::{Ask, Context, Iterate, Kept, Landscape, Method};
use super::sam::Ascent;
use super::value::{Bounds, Kind};
use crate::error::Result;

/// The cost is an upper bound. The executed FLOPs show afterwards how often the second gradient was
/// computed.
pub(super) const ENTRY: OptimizerEntry = OptimizerEntry {
    keys: &[
        Key {
            name: "delta",
            about: "Fraction of the old averages kept at each step",
            kind: Kind::Number(Bounds::BelowOne),
            default: KeyDefault::Number(0.9),
        },
        Key {
            name: "threshold",
            about: "Standard deviations above the mean beyond which a gradient is large, at the start and at the end of training",
            kind: Kind::Pair,
            default: KeyDefault::Pair([1.0, -1.0]),
        },
    ],
    ..OptimizerEntry::new(
        "ae-sam",
        "SAM where the gradient is large, SGD elsewhere (Jiang et al. 2023)",
        |ascent, _| Ok(Box::new(AeSam::new(ascent.rho, ascent.number("delta")?, ascent.pair("threshold")?))),
    )
};

/// SAM step where ||g||^2 >= mu + c sigma, with exponential moving averages mu and sigma^2 of
/// ||g||^2. c moves from the first to the second threshold over the training.
#[derive(Clone, Debug)]
pub struct AeSam {
    /// Radius.
    pub rho: f64,
    /// Decay of the averages: the fraction kept at each step.
    pub delta: f64,
    /// c at the start and at the end.
    pub threshold: [f64; 2],
    mean: f64,
    variance: f64,
    gradient: Vec<f32>,
    ascent: Ascent,
}

impl AeSam {
    /// Creates the method with empty averages.
    pub fn new(rho: f64, delta: f64, threshold: [f64; 2]) -> Self {
        Self { rho, delta, threshold, mean: 0.0, variance: 0.0, gradient: Vec::new(), ascent: Ascent::default() }
    }

    /// Updates the averages with a squared norm; returns whether it is large.
    fn is_sharp(&mut self, square: f64, progress: f64) -> bool {
        self.mean = self.delta * self.mean + (1.0 - self.delta) * square;
        self.variance = self.delta * self.variance + (1.0 - self.delta) * (square - self.mean).powi(2);
        let [start, end] = self.threshold;
        square >= self.mean + (start + (end - start) * progress) * self.variance.sqrt()
    }
}

impl Method for AeSam {
    fn kept(&mut self) -> Kept<'_> {
        Kept {
            numbers: vec![("mean".into(), &mut self.mean), ("variance".into(), &mut self.variance)],
            ..Kept::default()
        }
    }

    fn direction(
        &mut self,
        Iterate { weights, .. }: Iterate<'_>,
        batch: &mut dyn Landscape,
        context: &mut Context<'_>,
        direction: &mut Vec<f32>,
    ) -> Result<f64> {
        let loss = batch.gradient(weights, Ask::FIRST, &mut self.gradient)?.mean;
        if self.is_sharp(dot(&self.gradient, &self.gradient), context.progress()) {
            self.ascent.gradient((weights, &self.gradient), self.rho * context.rho_factor, batch, direction)?;
        } else {
            std::mem::swap(&mut self.gradient, direction);
        }
        Ok(loss)
    }
}
