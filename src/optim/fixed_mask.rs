//! Sparse SAM whose mask never changes: SAM-ON perturbs the normalisation layers alone (Mueller et al. 2023), `sam-layers` the layers
//! that a suite names. The first pass computes only the weight gradients that the ascent step reads.

use super::entry::{Key, KeyDefault, OptimizerEntry};
use super::method::{ActiveMask, Context, Iterate, Landscape, Method};
use super::norm::Norm;
use super::sam::Sam;
use super::value::Kind;
use crate::error::Result;
use crate::flops::StepCost;
use crate::mask::Mask;
use crate::nn::{BackwardPlan, ParamLayout, ParamSpec};

pub(super) const SAM_ON: OptimizerEntry = OptimizerEntry {
    check: |_, shape| {
        if shape.layout.normalises() {
            return Ok(());
        }
        Err("optimizer sam-on perturbs normalisation layers, which the model does not have; use another".into())
    },
    // Normalisation parameters are less than a hundredth of any network here.
    cost: |_, _| Ok(StepCost::sparse(1.0)),
    ..OptimizerEntry::new(
        "sam-on",
        "SAM of the normalisation parameters only (Mueller et al. 2023)",
        |ascent, layout| Ok(Box::new(FixedMaskSam::normalisation(ascent.rho, layout))),
    )
};

pub(super) const SAM_LAYERS: OptimizerEntry = OptimizerEntry {
    keys: &[Key {
        name: "live",
        about: "Perturbed parameters: those whose names start with one of these",
        kind: Kind::ParameterNames,
        default: KeyDefault::Required("[\"fc\"]"),
    }],
    cost: |ascent, layout| {
        let mask = Mask::of_tensors(layout, |spec| starts_with(spec, &ascent.words("live").unwrap_or_default()));
        Ok(StepCost::sparse(1.0 - mask.live_fraction()))
    },
    ..OptimizerEntry::new("sam-layers", "SAM of the named layers only", |ascent, layout| {
        Ok(Box::new(FixedMaskSam::layers(ascent.rho, layout, &ascent.words("live")?)))
    })
};

fn starts_with(spec: &ParamSpec, prefixes: &[String]) -> bool {
    prefixes.iter().any(|prefix| spec.name.starts_with(prefix))
}

/// Perturbs by `eps = rho m g / ||m g||` with a fixed mask m of whole tensors.
#[derive(Clone, Debug)]
pub struct FixedMaskSam {
    sam: Sam,
    mask: Mask,
    plan: BackwardPlan,
}

impl FixedMaskSam {
    /// Perturbs the parameters of normalisation layers: SAM-ON.
    pub fn normalisation(rho: f64, layout: &ParamLayout) -> Self {
        Self::new(rho, layout, |spec| spec.normalisation)
    }

    /// Perturbs the parameters whose names start with one of `prefixes`.
    pub fn layers(rho: f64, layout: &ParamLayout, prefixes: &[String]) -> Self {
        Self::new(rho, layout, |spec| starts_with(spec, prefixes))
    }

    fn new(rho: f64, layout: &ParamLayout, is_live: impl Fn(&ParamSpec) -> bool) -> Self {
        let mask = Mask::of_tensors(layout, is_live);
        let plan = BackwardPlan::of_scalars(layout, mask.flags());
        let mut sam = Sam::new(rho);
        sam.norm = Norm::Masked;
        Self { sam, mask, plan }
    }
}

impl Method for FixedMaskSam {
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
