//! What every optimizer here is: a rule that asks for gradients of one batch's loss, near the weights, and answers with the
//! direction that the base step takes in place of the gradient.

use std::sync::Arc;

use crate::error::Result;
use crate::mask::Mask;
use crate::nn::{BackwardPlan, ParamLayout};

/// The loss of one batch as a function of the weights. Gradients are flat, in name order.
pub trait Landscape {
    /// The weights' names and shapes.
    fn layout(&self) -> &Arc<ParamLayout>;

    /// Samples of the batch.
    fn samples(&self) -> usize;

    /// The loss at `weights` and, in `gradient`, its gradient.
    ///
    /// # Errors
    /// When a tensor operation fails.
    fn gradient(&mut self, weights: &[f32], ask: Ask<'_>, gradient: &mut Vec<f32>) -> Result<BatchLoss>;

    /// The loss of each sample at `weights`, no gradient taken and no statistics changed.
    ///
    /// # Errors
    /// When a tensor operation fails.
    fn losses(&mut self, weights: &[f32]) -> Result<Vec<f64>>;
}

/// Which gradient is wanted.
#[derive(Clone, Copy, Default)]
pub struct Ask<'a> {
    /// Whether this is the second gradient of a step, for which BatchNorm may have another policy.
    pub second: bool,
    /// These samples of the batch alone, in rising order; all of them where not given.
    pub samples: Option<&'a [usize]>,
    /// The part of the gradient that is owed; all of it where not given.
    pub plan: Option<&'a BackwardPlan>,
    /// Weights through which convolutions and linear layers take the gradient of their input; the weights themselves
    /// where not given.
    pub input_weights: Option<&'a [f32]>,
    /// Whether the first and the second gradient of a step may share what they have in common: the first one has a plan, the
    /// second owes everything, and their weights differ nowhere but in parameters of which that plan owes something.
    pub shared: bool,
}

impl Ask<'_> {
    /// The first gradient of a step, the whole of it.
    pub const FIRST: Self = Self { second: false, samples: None, plan: None, input_weights: None, shared: false };
    /// The second gradient of a step, the whole of it.
    pub const SECOND: Self = Self { second: true, samples: None, plan: None, input_weights: None, shared: false };
}

/// The loss of a batch.
#[derive(Clone, Debug)]
pub struct BatchLoss {
    /// Mean over the samples.
    pub mean: f64,
    /// Of each sample.
    pub per_sample: Vec<f64>,
}

/// Is told of weights and their gradient.
pub type Between<'a> = &'a mut dyn FnMut(&[f32], &[f32]);

/// Where in a training a step stands, and what comes from outside the method.
pub struct Context<'a> {
    /// Steps taken before this one.
    pub step: usize,
    /// Steps of the whole training.
    pub steps: usize,
    /// The cell's seed, for methods that draw.
    pub seed: u64,
    /// What rho is multiplied with at this step.
    pub rho_factor: f64,
    /// The mask in force.
    pub mask: Option<ActiveMask<'a>>,
    /// Told of the weights and the first gradient between the two passes, once the ascent step is fixed.
    pub between: Option<Between<'a>>,
}

impl Context<'_> {
    /// Step `step` of `steps`, nothing from outside.
    pub fn new(step: usize, steps: usize) -> Self {
        Self { step, steps, seed: 0, rho_factor: 1.0, mask: None, between: None }
    }

    /// The part of the training that is over, in [0, 1).
    pub fn progress(&self) -> f64 {
        self.step as f64 / self.steps.max(1) as f64
    }
}

/// A mask and what follows from it.
#[derive(Clone, Copy)]
pub struct ActiveMask<'a> {
    /// The live scalars.
    pub mask: &'a Mask,
    /// The gradients that the first backward pass must compute under it, where the ascent step reads no others.
    pub plan: Option<&'a BackwardPlan>,
}

/// What lasts from one step to the next, by name: all that a training is resumed from.
#[derive(Default)]
pub struct Kept<'a> {
    /// Vectors with a value for each weight; empty where nothing is known yet.
    pub vectors: Vec<(String, &'a mut Vec<f32>)>,
    /// Numbers.
    pub numbers: Vec<(String, &'a mut f64)>,
}

/// Where a step starts.
#[derive(Clone, Copy)]
pub struct Iterate<'a> {
    /// The weights w.
    pub weights: &'a [f32],
    /// The momentum buffer v of the base step, before this step; all 0 before the first.
    pub velocity: &'a [f32],
}

/// An optimizer without its base step.
pub trait Method {
    /// What the method keeps from one step to the next; a method that keeps nothing has no need of its own answer.
    fn kept(&mut self) -> Kept<'_> {
        Kept::default()
    }

    /// Writes to `direction` what the base step takes for the gradient; returns the mean loss at its weights.
    ///
    /// # Errors
    /// When a tensor operation fails.
    fn direction(
        &mut self,
        at: Iterate<'_>,
        batch: &mut dyn Landscape,
        context: &mut Context<'_>,
        direction: &mut Vec<f32>,
    ) -> Result<f64>;
}
