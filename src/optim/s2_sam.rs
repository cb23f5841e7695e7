//! S2-SAM (Ji et al. 2024): the ascent step follows the gradient of the step before, so a step takes only one gradient, at the
//! perturbed weights.

use super::ascent::Perturbed;
use super::ascent_step::AscentStep;
use super::entry::OptimizerEntry;
use super::method::{Ask, Context, Iterate, Kept, Landscape, Method};
use crate::error::Result;
use crate::flops::StepCost;

pub(super) const ENTRY: OptimizerEntry = OptimizerEntry {
    reads: &["rho", "rho_decay"],
    cost: |_, _| Ok(StepCost::ONE),
    ..OptimizerEntry::new(
        "s2-sam",
        "SAM along the gradient of the step before, one gradient a step (Ji et al. 2024)",
        |ascent, _| Ok(Box::new(S2Sam::new(ascent.rho))),
    )
};

/// Perturbs by `eps = rho g / ||g||`, where g is the gradient that the step before took. The first step is a plain one.
struct S2Sam {
    rho: f64,
    previous: Vec<f32>,
    perturbed: Perturbed,
}

impl S2Sam {
    fn new(rho: f64) -> Self {
        Self { rho, previous: Vec::new(), perturbed: Perturbed::default() }
    }
}

impl Method for S2Sam {
    fn kept(&mut self) -> Kept<'_> {
        Kept { vectors: vec![("previous".into(), &mut self.previous)], ..Kept::default() }
    }

    fn direction(
        &mut self,
        Iterate { weights, .. }: Iterate<'_>,
        batch: &mut dyn Landscape,
        context: &mut Context<'_>,
        direction: &mut Vec<f32>,
    ) -> Result<f64> {
        self.previous.resize(weights.len(), 0.0);
        let step = AscentStep::dense(self.rho * context.rho_factor);
        step.perturb(weights, &self.previous, &mut self.perturbed);
        let loss = batch.gradient(self.perturbed.weights(), Ask::FIRST, direction)?.mean;
        self.previous.clone_from(direction);
        Ok(loss)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Quadratics, RHO, START, assert_close, from, length, moved, wide};
    use super::*;

    /// Oracle: the gradient of the quadratics at w, then at w + rho g / ||g|| with the gradient g before.
    #[test]
    fn the_gradient_is_taken_along_the_one_before() {
        let (mut batch, mut method, w) = (Quadratics::new(), S2Sam::new(RHO), wide(&START));
        let mut previous = [0.0; 5];
        for step in 0..3 {
            let mut direction = Vec::new();
            let context = &mut Context::new(step, 3);
            method.direction(from(&START), &mut batch, context, &mut direction).expect("a direction");
            let norm = length(&previous);
            let point = moved(&w, if norm > 0.0 { RHO / norm } else { 0.0 }, &previous);
            let expected = batch.all_slope(&point);
            assert_close(&wide(&direction), &expected);
            previous = expected;
        }
    }
}
