//! A method of your own, compared by name like any other:
//!
//!     cargo run --example own_optimizer -- suite examples/own_optimizer.toml

use std::process::ExitCode;

use sharpbench::flops::StepCost;
use sharpbench::optim::{
    AscentStep, Ask, Context, Iterate, Kept, Landscape, Method, OptimizerEntry, Perturbed, Registry,
};

/// SAM along the gradient of the step before, which costs no second gradient: `eps = rho g_prev / ||g_prev||`.
struct PreviousGradient {
    rho: f64,
    previous: Vec<f32>,
    perturbed: Perturbed,
}

impl Method for PreviousGradient {
    fn kept(&mut self) -> Kept<'_> {
        Kept { vectors: vec![("previous".into(), &mut self.previous)], ..Kept::default() }
    }

    fn direction(
        &mut self,
        Iterate { weights, .. }: Iterate<'_>,
        batch: &mut dyn Landscape,
        context: &mut Context<'_>,
        direction: &mut Vec<f32>,
    ) -> sharpbench::Result<f64> {
        self.previous.resize(weights.len(), 0.0);
        let step = AscentStep::dense(self.rho * context.rho_factor);
        step.perturb(weights, &self.previous, &mut self.perturbed);
        let loss = batch.gradient(self.perturbed.weights(), Ask::FIRST, direction)?.mean;
        self.previous.clone_from(direction);
        Ok(loss)
    }
}

const ENTRY: OptimizerEntry = OptimizerEntry {
    reads: &["rho", "rho_decay"],
    cost: |_| Ok(StepCost::ONE),
    ..OptimizerEntry::new("previous-gradient", "SAM along the gradient of the step before", |ascent, _| {
        let (previous, perturbed) = (Vec::new(), Perturbed::default());
        Ok(Box::new(PreviousGradient { rho: ascent.rho, previous, perturbed }))
    })
};

fn main() -> ExitCode {
    sharpbench::run(&Registry::standard().with(ENTRY))
}
