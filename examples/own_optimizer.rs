//! A method of your own, compared by name like any other:
//!
//!     cargo run --example own_optimizer -- suite examples/own_optimizer.toml

use std::process::ExitCode;

use sharpbench::Registry;
use sharpbench::flops::StepCost;
use sharpbench::optim::{AscentStep, Ask, Context, Iterate, Kept, Landscape, Method, OptimizerEntry, Perturbed};

/// SAM along the moving average of the gradients, which costs no second gradient: `eps = rho m / ||m||`.
struct AverageGradient {
    rho: f64,
    average: Vec<f32>,
    perturbed: Perturbed,
}

impl Method for AverageGradient {
    fn kept(&mut self) -> Kept<'_> {
        Kept { vectors: vec![("average".into(), &mut self.average)], ..Kept::default() }
    }

    fn direction(
        &mut self,
        Iterate { weights, .. }: Iterate<'_>,
        batch: &mut dyn Landscape,
        context: &mut Context<'_>,
        direction: &mut Vec<f32>,
    ) -> sharpbench::Result<f64> {
        self.average.resize(weights.len(), 0.0);
        let step = AscentStep::dense(self.rho * context.rho_factor);
        step.perturb(weights, &self.average, &mut self.perturbed);
        let loss = batch.gradient(self.perturbed.weights(), Ask::FIRST, direction)?.mean;
        self.average.iter_mut().zip(&*direction).for_each(|(m, g)| *m += 0.1 * (g - *m));
        Ok(loss)
    }
}

const ENTRY: OptimizerEntry = OptimizerEntry {
    reads: &["rho", "rho_decay"],
    cost: |_, _| Ok(StepCost::ONE),
    ..OptimizerEntry::new("average-gradient", "SAM along the moving average of the gradients", |ascent, _| {
        let (average, perturbed) = (Vec::new(), Perturbed::default());
        Ok(Box::new(AverageGradient { rho: ascent.rho, average, perturbed }))
    })
};

fn main() -> ExitCode {
    sharpbench::run(&Registry::standard().with_optimizer(ENTRY))
}
