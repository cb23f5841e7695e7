//! ASAM, adaptive SAM (Kwon et al. 2021). The radius is measured in units of the weights,
//! T = |w| + eta, which makes it invariant to rescaling layers against one another.

use sharpbench_kernels as kernels;

use super::ascent::Perturbed;
use super::ascent_step::AscentStep;
use super::entry::{Key, KeyDefault, OptimizerEntry};
use super::method::{Ask, Context, Iterate, Landscape, Method};
use super::value::{Bounds, Kind};
use crate::error::Result;

pub(super) const ENTRY: OptimizerEntry = OptimizerEntry {
    keys: &[Key {
        name: "eta",
        about: "Added to |w|",
        kind: Kind::Number(Bounds::NonNegative),
        default: KeyDefault::Number(0.01),
    }],
    ..OptimizerEntry::new("asam", "adaptive SAM (Kwon et al. 2021): the radius in units of the weights", |ascent, _| {
        Ok(Box::new(Asam::new(ascent.rho, ascent.number("eta")?)))
    })
};

/// `eps = rho T^2 g / ||T g||`.
#[derive(Clone, Debug)]
pub struct Asam {
    /// Radius.
    pub rho: f64,
    /// Added to |w|.
    pub eta: f64,
    gradient: Vec<f32>,
    scaled: Vec<f32>,
    perturbed: Perturbed,
}

impl Asam {
    /// Creates the method with empty buffers.
    pub fn new(rho: f64, eta: f64) -> Self {
        Self { rho, eta, gradient: Vec::new(), scaled: Vec::new(), perturbed: Perturbed::default() }
    }
}

impl Method for Asam {
    fn direction(
        &mut self,
        Iterate { weights, .. }: Iterate<'_>,
        batch: &mut dyn Landscape,
        context: &mut Context<'_>,
        direction: &mut Vec<f32>,
    ) -> Result<f64> {
        let loss = batch.gradient(weights, Ask::FIRST, &mut self.gradient)?.mean;
        let eta = self.eta as f32;
        self.scaled.resize(weights.len(), 0.0);
        kernels::scale_by_magnitude(weights, eta, &self.gradient, &mut self.scaled);
        let scale = AscentStep::dense(self.rho * context.rho_factor).scale(&self.scaled);
        kernels::scale_by_magnitude(weights, eta, &self.scaled, &mut self.gradient);
        self.perturbed.set(weights, &self.gradient, scale, None);
        batch.gradient(self.perturbed.weights(), Ask::SECOND, direction)?;
        Ok(loss)
    }
}
