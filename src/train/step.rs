//! The training step: a method chooses a direction, and the base step follows it.

use std::time::Instant;

use super::landscape::{BatchLandscape, Network, Problem};
use crate::compute::on_pool;
use crate::data::loader::Batch;
use crate::error::Result;
use crate::nn::{BatchNormMode, FlopCount, ParamLayout, RunningStats};
use crate::optim::{
    AdamW, BaseSpec, BaseState, BaseStep, BatchNormPass2, Context, Form, Iterate, Kept, Method, OptimizerSpec, Plain,
    Sgd,
};
use crate::registry::Registry;

/// State that training changes (weights, running statistics, momentum, method state) and the step
/// that changes it.
pub struct Trainer<'m> {
    problem: Problem<'m>,
    optimizer: Optimizer,
    weights: Vec<f32>,
    running: RunningStats,
    state: BaseState,
    direction: Vec<f32>,
    parts: StepParts,
    flops: FlopCount,
}

/// A method, its base step, and the BatchNorm mode of second gradients.
pub struct Optimizer {
    /// Chooses the direction.
    pub method: Box<dyn Method>,
    /// Base step along the direction.
    pub base: BaseStep,
    /// BatchNorm mode in second gradients.
    pub second: BatchNormMode,
}

/// Breakdown of a step's time, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepParts {
    /// First gradients, at w.
    pub pass1: f64,
    /// Ascent step and all other computations of the method besides gradients.
    pub perturb: f64,
    /// Second gradients, at w + eps.
    pub pass2: f64,
    /// The base step.
    pub update: f64,
}

impl Optimizer {
    /// The base step alone, along the gradient.
    pub fn plain(base: BaseStep) -> Self {
        Self { method: Box::new(Plain), base, second: BatchNormMode::Update }
    }

    /// Builds a cell's optimizer for a model with these parameters.
    ///
    /// # Errors
    /// When `registry` has no optimizer of that name, or a setting is missing.
    pub fn new(spec: &OptimizerSpec, layout: &ParamLayout, registry: &Registry) -> std::result::Result<Self, String> {
        let (momentum, weight_decay) = (spec.momentum as f32, spec.weight_decay as f32);
        let base = match spec.base {
            BaseSpec::Sgd => BaseStep::Sgd(Sgd { momentum, nesterov: spec.nesterov, weight_decay }),
            BaseSpec::Adamw { beta2 } => BaseStep::AdamW(AdamW { betas: [momentum, beta2 as f32], weight_decay }),
        };
        let entry = registry.optimizer(&spec.name)?;
        let mask = spec.ascent.as_ref().is_some_and(|ascent| ascent.mask.is_some());
        let is_own = match entry.form {
            Form::BaseStep(base) => spec.ascent.is_none() && spec.base.name() == base,
            Form::Ascent | Form::Variant => spec.ascent.is_some(),
        };
        if !is_own || mask != entry.masks.is_some() {
            return Err(format!("optimizer {} has the settings of another", spec.name));
        }
        let Some(ascent) = &spec.ascent else { return Ok(Self::plain(base)) };
        let method = (entry.build)(ascent, layout).map_err(|e| format!("optimizer {}: {e}", spec.name))?;
        let second = match ascent.batch_norm {
            BatchNormPass2::Update => BatchNormMode::Update,
            BatchNormPass2::Freeze => BatchNormMode::Freeze,
        };
        Ok(Self { method, base, second })
    }
}

impl<'m> Trainer<'m> {
    /// Starts a training from `weights` (flat, in name order).
    pub fn new(
        problem: impl Into<Problem<'m>>,
        optimizer: Optimizer,
        weights: Vec<f32>,
        running: RunningStats,
    ) -> Self {
        let (problem, state) = (problem.into(), optimizer.base.state(weights.len()));
        Self {
            problem,
            optimizer,
            state,
            weights,
            running,
            direction: Vec::new(),
            parts: StepParts::default(),
            flops: FlopCount::default(),
        }
    }

    /// Time breakdown of the last step.
    pub fn step_parts(&self) -> StepParts {
        self.parts
    }

    /// Returns the weights (flat, in name order) and the running statistics.
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

    /// The network in its current state. Its passes are measurements and not counted.
    pub fn network(&mut self) -> Network<'_> {
        let flops = FlopCount::default();
        Network { problem: self.problem, weights: &self.weights, running: &mut self.running, flops }
    }

    /// Like [`Trainer::network`], for passes that are part of the training: they count in
    /// [`Trainer::flops_executed`].
    pub fn counted_network(&mut self) -> Network<'_> {
        let flops = self.flops.clone();
        Network { flops, ..self.network() }
    }

    /// FLOPs of the convolutions and matrix products executed so far, in steps and by [`Trainer::counted_network`].
    pub fn flops_executed(&self) -> u64 {
        self.flops.total()
    }

    /// State kept between steps.
    pub(super) fn kept(&mut self) -> Kept<'_> {
        let Kept { vectors, numbers } = self.optimizer.method.kept();
        let of_method = |name: String| format!("method.{name}");
        let RunningStats { mean, variance, .. } = &mut self.running;
        let layers = |name: &'static str, values| {
            let named = move |(layer, values): (usize, _)| (format!("running.{name}.{layer}"), values);
            <&mut Vec<Vec<f32>> as IntoIterator>::into_iter(values).enumerate().map(named)
        };
        let own = std::iter::once(("weights".to_string(), &mut self.weights)).chain(self.state.kept());
        let vectors = vectors.into_iter().map(|(name, vector)| (of_method(name), vector));
        Kept {
            vectors: own
                .into_iter()
                .chain(layers("mean", mean))
                .chain(layers("variance", variance))
                .chain(vectors)
                .collect(),
            numbers: numbers.into_iter().map(|(name, number)| (of_method(name), number)).collect(),
        }
    }

    /// Takes a step on `batch`: the method's direction, then the base step along it. Returns the
    /// mean loss at w.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn step(&mut self, batch: &Batch, lr: f64, context: &mut Context<'_>) -> Result<f64> {
        on_pool(self.problem.device, || self.take_step(batch, lr, context))
    }

    fn take_step(&mut self, batch: &Batch, lr: f64, context: &mut Context<'_>) -> Result<f64> {
        let start = Instant::now();
        let Self { problem, optimizer: Optimizer { method, base, second }, weights, running, direction, flops, .. } =
            self;
        let mut landscape = BatchLandscape {
            problem: *problem,
            running,
            batch,
            second: *second,
            prefix: None,
            seconds: [0.0; 2],
            flops: flops.clone(),
        };
        let at = Iterate { weights, velocity: self.state.velocity() };
        let loss = method.direction(at, &mut landscape, context, direction)?;
        let [pass1, pass2] = landscape.seconds;
        let perturb = start.elapsed().as_secs_f64() - pass1 - pass2;
        let start = Instant::now();
        base.follow(&mut self.state, weights, direction, (lr as f32, context.step));
        self.parts = StepParts { pass1, perturb, pass2, update: start.elapsed().as_secs_f64() };
        Ok(loss)
    }
}
