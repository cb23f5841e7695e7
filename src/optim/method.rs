//! Interface of optimizers. A method requests gradients of one batch's loss near the weights, and
//! returns the direction that the base step uses instead of the gradient.

use std::sync::Arc;

use crate::error::Result;
use crate::mask::Mask;
use crate::nn::{BackwardPlan, ParamLayout};

/// Loss of one batch as a function of the weights. Gradients are flat, in name order.
pub trait Landscape {
    /// Names and shapes of the weights.
    fn layout(&self) -> &Arc<ParamLayout>;

    /// Number of samples in the batch.
    fn samples(&self) -> usize;

    /// Returns the loss at `weights` and writes its gradient to `gradient`.
    ///
    /// # Errors
    /// When a tensor operation fails.
    fn gradient(&mut self, weights: &[f32], ask: Ask<'_>, gradient: &mut Vec<f32>) -> Result<BatchLoss>;

    /// Per-sample losses at `weights`, without a gradient. Updates running statistics as a second gradient does.
    ///
    /// # Errors
    /// When a tensor operation fails.
    fn losses(&mut self, weights: &[f32]) -> Result<Vec<f64>>;
}

/// Request for a gradient.
#[derive(Clone, Copy, Default)]
pub struct Ask<'a> {
    /// Whether this is the second gradient of a step, for which BatchNorm may have another policy.
    pub second: bool,
    /// Samples of the batch to use, in ascending order; `None` for all.
    pub samples: Option<&'a [usize]>,
    /// Required part of the gradient; `None` for all.
    pub plan: Option<&'a BackwardPlan>,
    /// Weights through which convolutions and linear layers take their input gradients; `None` for
    /// the weights themselves.
    pub input_weights: Option<&'a [f32]>,
    /// Whether the first and the second pass of a step may share common layers. The first must have
    /// a plan, the second must require all gradients, and their weights may differ only in
    /// parameters that the plan requires.
    pub shared: bool,
}

impl Ask<'_> {
    /// First gradient of a step, in full.
    pub const FIRST: Self = Self { second: false, samples: None, plan: None, input_weights: None, shared: false };
    /// Second gradient of a step, in full.
    pub const SECOND: Self = Self { second: true, samples: None, plan: None, input_weights: None, shared: false };
}

/// The loss of a batch.
#[derive(Clone, Debug)]
pub struct BatchLoss {
    /// Mean over the samples.
    pub mean: f64,
    /// Loss of each sample.
    pub per_sample: Vec<f64>,
}

/// Callback that receives weights and their gradient.
pub type Between<'a> = &'a mut (dyn FnMut(&[f32], &[f32]) + Send);

/// Position of a step in the training, and inputs from outside the method.
pub struct Context<'a> {
    /// Steps taken before this one.
    pub step: usize,
    /// Steps of the whole training.
    pub steps: usize,
    /// The cell's seed, for methods that draw.
    pub seed: u64,
    /// Factor of rho at this step.
    pub rho_factor: f64,
    /// Current mask.
    pub mask: Option<ActiveMask<'a>>,
    /// Callback between the two passes, once the ascent step is fixed. It receives the weights and
    /// the first gradient.
    pub between: Option<Between<'a>>,
}

impl Context<'_> {
    /// Step `step` of `steps`, without outside inputs.
    pub fn new(step: usize, steps: usize) -> Self {
        Self { step, steps, seed: 0, rho_factor: 1.0, mask: None, between: None }
    }

    /// Completed fraction of the training, in [0, 1).
    pub fn progress(&self) -> f64 {
        self.step as f64 / self.steps.max(1) as f64
    }
}

/// A mask and its backward plan.
#[derive(Clone, Copy)]
pub struct ActiveMask<'a> {
    /// The live scalars.
    pub mask: &'a Mask,
    /// Gradients that the first backward pass must compute under the mask; `None` if the ascent
    /// step reads all of them.
    pub plan: Option<&'a BackwardPlan>,
}

/// State kept between steps, by name: everything a checkpoint needs.
#[derive(Default)]
pub struct Kept<'a> {
    /// Vectors with one value per weight; empty before the first use.
    pub vectors: Vec<(String, &'a mut Vec<f32>)>,
    /// Numbers.
    pub numbers: Vec<(String, &'a mut f64)>,
}

/// Starting point of a step.
#[derive(Clone, Copy)]
pub struct Iterate<'a> {
    /// The weights w.
    pub weights: &'a [f32],
    /// Momentum buffer v of the base step before this step; all 0 before the first.
    pub velocity: &'a [f32],
}

/// An optimizer without its base step.
pub trait Method: Send {
    /// State kept between steps. The default keeps nothing.
    fn kept(&mut self) -> Kept<'_> {
        Kept::default()
    }

    /// Writes to `direction` what the base step uses as the gradient, and returns the mean loss at
    /// its weights.
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
