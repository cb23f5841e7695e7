//! The one training step: SGD, SAM and every sparse SAM are this step with another ascent.

use std::time::Instant;

use crate::data::loader::Batch;
use crate::error::Result;
use crate::mask::Mask;
use crate::model::Model;
use crate::nn::{BatchNormMode, Pass, RunningStats, Weights};
use crate::optim::{Ascent, Perturbed, SAM_EPSILON, SSAM_EPSILON, Sgd, SgdState};
use crate::suite::cell::{BatchNormPass2, OptimizerSpec};

/// Everything a training changes: weights, running statistics, momentum; and the step that changes it.
pub struct Trainer<'m> {
    model: &'m dyn Model,
    sgd: Sgd,
    second: Option<SecondPass>,
    weights: Vec<f32>,
    running: RunningStats,
    state: SgdState,
    gradient: Vec<f32>,
    perturbed: Perturbed,
    parts: StepParts,
}

/// Where the time of a step went, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepParts {
    /// The gradient at w.
    pub pass1: f64,
    /// The ascent step.
    pub perturb: f64,
    /// The gradient at w + eps.
    pub pass2: f64,
    /// The base step.
    pub update: f64,
}

/// What makes a step a SAM step: the radius, the constant in the denominator, BatchNorm's policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SecondPass {
    /// Radius rho of the ascent step.
    pub rho: f64,
    /// Constant added to the gradient norm.
    pub epsilon: f64,
    /// BatchNorm in the second pass.
    pub batch_norm: BatchNormMode,
}

/// The base step and the second pass of a cell's optimizer.
pub(super) fn step_settings(optimizer: &OptimizerSpec) -> (Sgd, Option<SecondPass>) {
    let sgd = Sgd {
        momentum: optimizer.momentum as f32,
        nesterov: optimizer.nesterov,
        weight_decay: optimizer.weight_decay as f32,
    };
    let second = optimizer.ascent.as_ref().map(|ascent| SecondPass {
        rho: ascent.rho,
        epsilon: if ascent.mask.is_some() { SSAM_EPSILON } else { SAM_EPSILON },
        batch_norm: match ascent.batch_norm {
            BatchNormPass2::Update => BatchNormMode::Update,
            BatchNormPass2::Freeze => BatchNormMode::Freeze,
        },
    });
    (sgd, second)
}

impl<'m> Trainer<'m> {
    /// A training that starts from `weights` (flat, in name order).
    pub fn new(
        model: &'m dyn Model,
        sgd: Sgd,
        second: Option<SecondPass>,
        weights: Vec<f32>,
        running: RunningStats,
    ) -> Self {
        Self {
            model,
            sgd,
            second,
            state: SgdState::new(weights.len()),
            weights,
            running,
            gradient: Vec::new(),
            perturbed: Perturbed::default(),
            parts: StepParts::default(),
        }
    }

    /// Where the time of the last step went.
    pub fn step_parts(&self) -> StepParts {
        self.parts
    }

    /// Gives up the weights (flat, in name order) and the running statistics.
    pub fn into_parts(self) -> (Vec<f32>, RunningStats) {
        (self.weights, self.running)
    }

    /// The weights, flat in name order.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The running statistics.
    pub fn running(&self) -> &RunningStats {
        &self.running
    }

    /// The model and what evaluation needs.
    pub fn parts(&mut self) -> (&'m dyn Model, &[f32], &mut RunningStats) {
        (self.model, &self.weights, &mut self.running)
    }

    /// One step on `batch`: the gradient g at w; for SAM the gradient g2 at w + eps on the same batch; then the
    /// base step with the last gradient taken. `after_ascent` sees w and g between the two passes, once eps is
    /// fixed. Returns the mean loss at w.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn step(
        &mut self,
        batch: &Batch,
        lr: f64,
        mask: Option<&Mask>,
        after_ascent: impl FnOnce(&[f32], &[f32]),
    ) -> Result<f64> {
        let mut clock = Clock::start();
        let Self { model, running, gradient, .. } = self;
        let loss = loss_gradient(*model, &self.weights, running, batch, BatchNormMode::Update, gradient)?;
        self.parts = StepParts { pass1: clock.lap(), ..StepParts::default() };
        if let Some(second) = self.second {
            Ascent { rho: second.rho, epsilon: second.epsilon, mask }.perturb(
                &self.weights,
                &self.gradient,
                &mut self.perturbed,
            );
            self.parts.perturb = clock.lap();
            after_ascent(&self.weights, &self.gradient);
            clock.lap();
            let weights = self.perturbed.weights();
            loss_gradient(self.model, weights, &mut self.running, batch, second.batch_norm, &mut self.gradient)?;
            self.parts.pass2 = clock.lap();
        }
        self.sgd.step(&mut self.state, &mut self.weights, &self.gradient, lr as f32);
        self.parts.update = clock.lap();
        Ok(loss)
    }
}

/// Seconds since the last look.
struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.0, now)).as_secs_f64()
    }
}

/// The mean loss of a batch and, in `gradient`, its gradient: flat, in name order.
///
/// # Errors
/// When a tensor operation fails.
pub(super) fn loss_gradient(
    model: &dyn Model,
    weights: &[f32],
    running: &mut RunningStats,
    batch: &Batch,
    batch_norm: BatchNormMode,
    gradient: &mut Vec<f32>,
) -> Result<f64> {
    let pass = Pass::training(Weights::new(model.layout(), weights), running, batch_norm);
    let mut pass = pass.with_dropout(batch.dropout.clone());
    let input = pass.input(batch.input.clone());
    let logits = model.forward(&input, &mut pass)?;
    let loss = pass.cross_entropy::<f32>(&logits, &batch.labels)?;
    pass.backward(&loss, gradient)?;
    Ok(loss.mean)
}
