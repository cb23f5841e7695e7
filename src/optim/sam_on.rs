//! SAM-ON (Mueller et al. 2023) perturbs only the weights and biases of normalisation layers. It is
//! sparse SAM with a fixed mask, whose first pass requires hardly any weight gradients.

use super::entry::OptimizerEntry;
use super::method::{ActiveMask, Context, Iterate, Landscape, Method};
use super::norm::Norm;
use super::sam::Sam;
use crate::error::Result;
use crate::flops::StepCost;
use crate::mask::Mask;
use crate::nn::{BackwardPlan, ParamLayout};

pub(super) const ENTRY: OptimizerEntry = OptimizerEntry {
    check: |_, shape| {
        if shape.normalised {
            return Ok(());
        }
        Err("optimizer sam-on perturbs normalisation layers, which the model does not have; use another".into())
    },
    // Normalisation parameters are less than a hundredth of any network here.
    cost: |_| Ok(StepCost::sparse(1.0)),
    ..OptimizerEntry::new(
        "sam-on",
        "SAM of the normalisation parameters only (Mueller et al. 2023)",
        |ascent, layout| Ok(Box::new(SamOn::new(ascent.rho, layout))),
    )
};

/// Perturbs by `eps = rho m g / ||m g||`, where m selects the normalisation layers' parameters.
#[derive(Clone, Debug)]
pub struct SamOn {
    sam: Sam,
    mask: Mask,
    plan: BackwardPlan,
}

impl SamOn {
    /// Creates the method for a model with these parameters.
    pub fn new(rho: f64, layout: &ParamLayout) -> Self {
        let flags = layout.specs().iter().flat_map(|spec| std::iter::repeat_n(spec.normalisation, spec.len()));
        let mask = Mask::from_flags(flags.collect());
        let plan = BackwardPlan::of_scalars(layout, mask.flags());
        let mut sam = Sam::new(rho);
        sam.norm = Norm::Masked;
        Self { sam, mask, plan }
    }
}

impl Method for SamOn {
    fn direction(
        &mut self,
        at: Iterate<'_>,
        batch: &mut dyn Landscape,
        context: &mut Context<'_>,
        direction: &mut Vec<f32>,
    ) -> Result<f64> {
        let mask = Some(ActiveMask { mask: &self.mask, plan: Some(&self.plan) });
        let rho_factor = context.rho_factor;
        let mut masked = Context { mask, rho_factor, ..Context::new(context.step, context.steps) };
        self.sam.direction(at, batch, &mut masked, direction)
    }
}
