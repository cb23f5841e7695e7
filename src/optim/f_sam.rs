//! F-SAM, friendly SAM (Li et al. 2024): the ascent step follows the gradient minus a multiple of
//! its running mean.

use super::ascent::combine;
use super::entry::{Key, KeyDefault, OptimizerEntry};
use super::method::{Ask, Context, Iterate, Kept, Landscape, Method};
use super::sam::Ascent;
use super::value::{Bounds, Kind};
use crate::error::Result;

pub(super) const ENTRY: OptimizerEntry = OptimizerEntry {
    keys: &[
        Key {
            name: "lambda",
            about: "Fraction of the old mean kept at each step",
            kind: Kind::Number(Bounds::BelowOne),
            default: KeyDefault::Number(0.9),
        },
        Key {
            name: "sigma",
            about: "Multiple of the mean that is subtracted",
            kind: Kind::Number(Bounds::NonNegative),
            default: KeyDefault::Number(1.0),
        },
    ],
    ..OptimizerEntry::new(
        "f-sam",
        "friendly SAM (Li et al. 2024): along the gradient less its running mean",
        |ascent, _| Ok(Box::new(FSam::new(ascent.rho, ascent.number("lambda")?, ascent.number("sigma")?))),
    )
};

/// Perturbs along `g - sigma m`, where m is the exponential moving average of g.
#[derive(Clone, Debug)]
pub struct FSam {
    /// Radius.
    pub rho: f64,
    /// Decay of the average: the fraction kept at each step.
    pub lambda: f64,
    /// Multiple of the average that is subtracted.
    pub sigma: f64,
    gradient: Vec<f32>,
    mean: Vec<f32>,
    ascent: Ascent,
}

impl FSam {
    /// Creates the method with an empty average.
    pub fn new(rho: f64, lambda: f64, sigma: f64) -> Self {
        Self { rho, lambda, sigma, gradient: Vec::new(), mean: Vec::new(), ascent: Ascent::default() }
    }
}

impl Method for FSam {
    fn kept(&mut self) -> Kept<'_> {
        Kept { vectors: vec![("mean".into(), &mut self.mean)], ..Kept::default() }
    }

    fn direction(
        &mut self,
        Iterate { weights, .. }: Iterate<'_>,
        batch: &mut dyn Landscape,
        context: &mut Context<'_>,
        direction: &mut Vec<f32>,
    ) -> Result<f64> {
        let loss = batch.gradient(weights, Ask::FIRST, &mut self.gradient)?.mean;
        self.mean.resize(weights.len(), 0.0);
        let (lambda, sigma) = (self.lambda as f32, self.sigma as f32);
        combine([lambda, 1.0 - lambda], &self.mean, &self.gradient, direction);
        std::mem::swap(&mut self.mean, direction);
        combine([1.0, -sigma], &self.gradient, &self.mean, direction);
        std::mem::swap(&mut self.gradient, direction);
        self.ascent.gradient((weights, &self.gradient), self.rho * context.rho_factor, batch, direction)?;
        Ok(loss)
    }
}
