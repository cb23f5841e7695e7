//! The optimizers that follow the gradient itself: SGD and AdamW.

use super::base_step::BaseName;
use super::entry::{Form, OptimizerEntry};
use super::method::{Ask, Context, Iterate, Landscape, Method};
use crate::error::Result;
use crate::flops::StepCost;

pub(super) const SGD: OptimizerEntry =
    plain("sgd", "stochastic gradient descent, momentum, coupled weight decay", BaseName::Sgd);

pub(super) const ADAMW: OptimizerEntry =
    plain("adamw", "Adam with decoupled weight decay (Loshchilov and Hutter 2019)", BaseName::Adamw);

const fn plain(name: &'static str, about: &'static str, base: BaseName) -> OptimizerEntry {
    OptimizerEntry {
        reads: &[],
        form: Form::BaseStep(base),
        cost: |_, _| Ok(StepCost::ONE),
        ..OptimizerEntry::new(name, about, |_, _| Ok(Box::new(Plain)))
    }
}

/// The direction is the gradient itself.
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
