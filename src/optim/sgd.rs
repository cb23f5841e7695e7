//! SGD with momentum and coupled weight decay, with PyTorch's semantics (torch.optim.SGD, dampening
//! 0).

use sharpbench_kernels::{SgdStep, sgd_step};

use super::entry::{Form, OptimizerEntry};
use super::method::{Ask, Context, Iterate, Landscape, Method};
use crate::error::Result;
use crate::flops::StepCost;

pub(super) const ENTRY: OptimizerEntry = OptimizerEntry {
    reads: &[],
    form: Form::BaseStep,
    cost: |_| Ok(StepCost::ONE),
    ..OptimizerEntry::new("sgd", "stochastic gradient descent, momentum, coupled weight decay", |_, _| {
        Ok(Box::new(Plain))
    })
};

/// Settings of the base step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Momentum mu; 0 for none.
    pub momentum: f32,
    /// Step with g + mu v in place of v.
    pub nesterov: bool,
    /// Weight decay on every parameter, added to the gradient as a multiple of the weight.
    pub weight_decay: f32,
}

/// Momentum buffer v.
#[derive(Clone, Debug, PartialEq)]
pub struct SgdState {
    velocity: Vec<f32>,
}

impl SgdState {
    /// Zero momentum for `n` scalars.
    pub fn new(n: usize) -> Self {
        Self { velocity: vec![0.0; n] }
    }

    /// The buffer, for checkpoints.
    pub fn velocity(&mut self) -> &mut Vec<f32> {
        &mut self.velocity
    }
}

impl Sgd {
    /// Updates v <- mu v + (g + wd w) and w <- w - lr v, or with Nesterov
    /// w <- w - lr (g + wd w + mu v).
    pub fn step(&self, state: &mut SgdState, weights: &mut [f32], gradient: &[f32], lr: f32) {
        let &Self { momentum, nesterov, weight_decay } = self;
        sgd_step(SgdStep { lr, momentum, nesterov, weight_decay }, weights, gradient, &mut state.velocity);
    }
}

/// SGD: the direction is the gradient itself.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Method for Plain {
    fn direction(
        &mut self,
        Iterate { weights, .. }: Iterate<'_>,
        batch: &mut dyn Landscape,
        _context: &mut Context<'_>,
        direction: &mut Vec<f32>,
    ) -> Result<f64> {
        Ok(batch.gradient(weights, Ask::FIRST, direction)?.mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Oracle: torch.optim.SGD([w], lr=.1, momentum=.9, weight_decay=.01, nesterov=N) in float64, w = [1, -2], two
    /// steps with gradients [.5, 1] and [-1, .25].
    fn two_steps(nesterov: bool) -> Vec<f32> {
        let sgd = Sgd { momentum: 0.9, nesterov, weight_decay: 0.01 };
        let (mut state, mut w) = (SgdState::new(2), vec![1.0, -2.0]);
        sgd.step(&mut state, &mut w, &[0.5, 1.0], 0.1);
        sgd.step(&mut state, &mut w, &[-1.0, 0.25], 0.1);
        w
    }

    fn assert_close(found: &[f32], expected: [f64; 2]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} against {expected}");
        }
    }

    #[test]
    fn follows_the_definition() {
        assert_close(&two_steps(false), [1.002151, -2.209102]);
    }

    #[test]
    fn nesterov_looks_ahead() {
        assert_close(&two_steps(true), [1.05007411, -2.30892622]);
    }
}
