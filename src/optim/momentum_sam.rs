//! Momentum-SAM (Becker et al. 2024): the ascent step follows the momentum buffer instead of a
//! gradient, so a step takes only one gradient, at the perturbed weights.

use super::ascent::Perturbed;
use super::ascent_step::AscentStep;
use super::entry::OptimizerEntry;
use super::method::{Ask, Context, Iterate, Landscape, Method};
use crate::error::Result;
use crate::flops::StepCost;

pub(super) const ENTRY: OptimizerEntry = OptimizerEntry {
    reads: &["rho", "rho_decay"],
    cost: |_, _| Ok(StepCost::ONE),
    ..OptimizerEntry::new(
        "momentum-sam",
        "SAM along the momentum buffer, one gradient a step (Becker et al. 2024)",
        |ascent, _| Ok(Box::new(MomentumSam::new(ascent.rho))),
    )
};

/// Perturbs by `eps = -rho v / ||v||`, where v is the momentum buffer before the step. Takes a
/// plain step if v is 0, as in the first step.
struct MomentumSam {
    /// Radius.
    rho: f64,
    perturbed: Perturbed,
}

impl MomentumSam {
    fn new(rho: f64) -> Self {
        Self { rho, perturbed: Perturbed::default() }
    }
}

impl Method for MomentumSam {
    fn direction(
        &mut self,
        Iterate { weights, velocity }: Iterate<'_>,
        batch: &mut dyn Landscape,
        context: &mut Context<'_>,
        direction: &mut Vec<f32>,
    ) -> Result<f64> {
        // v points against the last step, so the ascent step goes in the last step's direction.
        let step = AscentStep::dense(-self.rho * context.rho_factor);
        step.perturb(weights, velocity, &mut self.perturbed);
        Ok(batch.gradient(self.perturbed.weights(), Ask::FIRST, direction)?.mean)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Quadratics, RHO, START, assert_close, moved, wide};
    use super::*;

    /// Oracle: the gradient of the quadratics at w - rho v / ||v||, and at w while there is no
    /// momentum.
    #[test]
    fn the_gradient_is_taken_along_the_last_step() {
        let (mut batch, mut direction) = (Quadratics::new(), Vec::new());
        let w = wide(&START);
        for velocity in [[0.0; 5], [0.0, 3.0, 0.0, -4.0, 0.0]] {
            let at = Iterate { weights: &START, velocity: &velocity };
            let context = &mut Context::new(1, 2);
            MomentumSam::new(RHO).direction(at, &mut batch, context, &mut direction).expect("a direction");
            let point = moved(&w, -RHO / 5.0, &wide(&velocity));
            assert_close(&wide(&direction), &batch.all_slope(&point));
        }
    }
}
