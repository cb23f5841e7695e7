//! Late SAM (Zhou et al. 2024): SGD for most of the training, then SAM. SAM finds flatter minima within a few epochs, so its gain
//! costs little more than SGD.

use super::entry::{Key, KeyDefault, OptimizerEntry};
use super::method::{Context, Iterate, Landscape, Method};
use super::plain::Plain;
use super::sam::Sam;
use super::value::{Bounds, Kind};
use crate::error::Result;
use crate::flops::StepCost;

pub(super) const ENTRY: OptimizerEntry = OptimizerEntry {
    keys: &[Key {
        name: "from",
        about: "Fraction of the steps that are taken without an ascent step, before SAM's",
        kind: Kind::Number(Bounds::BelowOne),
        default: KeyDefault::Number(0.875),
    }],
    cost: |ascent, _| Ok(StepCost::gradients(2.0 - ascent.number("from")?)),
    ..OptimizerEntry::new(
        "late-sam",
        "SGD first, SAM in the last part of the training (Zhou et al. 2024)",
        |ascent, _| Ok(Box::new(LateSam { from: ascent.number("from")?, sam: Sam::new(ascent.rho) })),
    )
};

/// Takes plain steps until the fraction `from` of all steps, then SAM's.
struct LateSam {
    from: f64,
    sam: Sam,
}

impl Method for LateSam {
    fn direction(
        &mut self,
        at: Iterate<'_>,
        batch: &mut dyn Landscape,
        context: &mut Context<'_>,
        direction: &mut Vec<f32>,
    ) -> Result<f64> {
        if context.progress() < self.from {
            Plain.direction(at, batch, context, direction)
        } else {
            self.sam.direction(at, batch, context, direction)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Quadratics, RHO, START, from};
    use super::*;

    /// Oracle: SGD's direction before, SAM's from then on.
    #[test]
    fn the_ascent_step_begins_at_the_fraction_of_the_steps() {
        let taken = |method: &mut dyn Method, step| {
            let (mut batch, mut direction) = (Quadratics::new(), Vec::new());
            let context = &mut Context::new(step, 8);
            method.direction(from(&START), &mut batch, context, &mut direction).expect("a direction");
            direction
        };
        for step in 0..8 {
            let own = taken(&mut LateSam { from: 0.75, sam: Sam::new(RHO) }, step);
            let plain = taken(&mut Plain, step);
            let expected = if step < 6 { plain } else { taken(&mut Sam::new(RHO), step) };
            assert_eq!(own, expected, "step {step}");
        }
    }
}
