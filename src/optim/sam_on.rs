//! SAM-ON (Mueller et al. 2023): only the weights and biases of normalisation layers are perturbed. A sparse SAM whose mask
//! is known in advance; its first pass owes hardly any weight gradient.

use super::ascent::{Perturbed, masked_norm};
use super::method::{Ask, Context, Landscape, Method};
use super::sam::SAM_EPSILON;
use crate::error::Result;
use crate::mask::Mask;
use crate::nn::{BackwardPlan, ParamLayout};

/// `eps = rho m g / ||m g||`, m the normalisation layers' parameters.
#[derive(Clone, Debug)]
pub struct SamOn {
    /// Radius.
    pub rho: f64,
    mask: Mask,
    plan: BackwardPlan,
    gradient: Vec<f32>,
    perturbed: Perturbed,
}

impl SamOn {
    /// For a model with these parameters.
    pub fn new(rho: f64, layout: &ParamLayout) -> Self {
        let flags = layout.specs().iter().flat_map(|spec| std::iter::repeat_n(spec.normalisation, spec.len()));
        let mask = Mask::from_flags(flags.collect());
        let plan = BackwardPlan::of_scalars(layout, mask.flags());
        Self { rho, mask, plan, gradient: Vec::new(), perturbed: Perturbed::default() }
    }
}

impl Method for SamOn {
    fn direction(
        &mut self,
        weights: &[f32],
        batch: &mut dyn Landscape,
        context: &mut Context<'_>,
        direction: &mut Vec<f32>,
    ) -> Result<f64> {
        let ask = Ask { plan: Some(&self.plan), ..Ask::FIRST };
        let loss = batch.gradient(weights, ask, &mut self.gradient)?.mean;
        let scale = self.rho * context.rho_factor / (masked_norm(&self.gradient, &self.mask) + SAM_EPSILON);
        self.perturbed.set(weights, &self.gradient, scale, Some(&self.mask));
        batch.gradient(self.perturbed.weights(), Ask::SECOND, direction)?;
        Ok(loss)
    }
}
