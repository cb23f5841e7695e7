//! GSAM (Zhuang et al. 2022): SAM's gradient minus a multiple of the plain gradient's component
//! orthogonal to it, which shrinks the gap between the perturbed and the plain loss.

use super::ascent::{combine, dot, ratio};
use super::entry::{Key, KeyDefault, OptimizerEntry};
use super::method::{Ask, Context, Iterate, Landscape, Method};
use super::sam::Ascent;
use super::value::{Bounds, Kind};
use crate::error::Result;

pub(super) const ENTRY: OptimizerEntry = OptimizerEntry {
    keys: &[Key {
        name: "alpha",
        about: "Weight of the orthogonal part that is subtracted",
        kind: Kind::Number(Bounds::NonNegative),
        default: KeyDefault::Number(0.1),
    }],
    ..OptimizerEntry::new("gsam", "surrogate gap guided SAM (Zhuang et al. 2022)", |ascent, _| {
        Ok(Box::new(Gsam::new(ascent.rho, ascent.number("alpha")?)))
    })
};

/// Direction `g2 - alpha (g - (g.g2) g2 / ||g2||^2)`.
#[derive(Clone, Debug)]
pub struct Gsam {
    /// Radius.
    pub rho: f64,
    /// Multiple of the orthogonal component that is subtracted.
    pub alpha: f64,
    gradient: Vec<f32>,
    second: Vec<f32>,
    orthogonal: Vec<f32>,
    ascent: Ascent,
}

impl Gsam {
    /// Creates the method with empty buffers.
    pub fn new(rho: f64, alpha: f64) -> Self {
        Self { rho, alpha, gradient: Vec::new(), second: Vec::new(), orthogonal: Vec::new(), ascent: Ascent::default() }
    }
}

impl Method for Gsam {
    fn direction(
        &mut self,
        Iterate { weights, .. }: Iterate<'_>,
        batch: &mut dyn Landscape,
        context: &mut Context<'_>,
        direction: &mut Vec<f32>,
    ) -> Result<f64> {
        let loss = batch.gradient(weights, Ask::FIRST, &mut self.gradient)?.mean;
        let rho = self.rho * context.rho_factor;
        self.ascent.gradient((weights, &self.gradient), rho, batch, &mut self.second)?;
        let along = ratio(dot(&self.gradient, &self.second), dot(&self.second, &self.second));
        let (alpha, along) = (self.alpha as f32, along as f32);
        combine([1.0, -along], &self.gradient, &self.second, &mut self.orthogonal);
        combine([1.0, -alpha], &self.second, &self.orthogonal, direction);
        Ok(loss)
    }
}
