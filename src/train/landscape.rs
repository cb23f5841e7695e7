//! One batch's loss as methods see it: forward and backward passes of a model.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{Device, Tensor};

use crate::data::loader::Batch;
use crate::error::Result;
use crate::model::Model;
use crate::nn::{BatchNormMode, Loss, ParamLayout, Pass, RunningStats, Weights};
use crate::optim::{Ask, BatchLoss, Landscape};

/// The loss of a batch under a model.
pub(super) struct BatchLandscape<'a> {
    pub(super) model: &'a dyn Model,
    /// Running statistics, which the passes change by their policies.
    pub(super) running: &'a mut RunningStats,
    pub(super) batch: &'a Batch,
    /// BatchNorm in second gradients.
    pub(super) second: BatchNormMode,
    /// Seconds in first passes, and in all others.
    pub(super) seconds: [f64; 2],
}

impl Landscape for BatchLandscape<'_> {
    fn layout(&self) -> &Arc<ParamLayout> {
        self.model.layout()
    }

    fn samples(&self) -> usize {
        samples(self.batch)
    }

    fn gradient(&mut self, weights: &[f32], ask: Ask<'_>, gradient: &mut Vec<f32>) -> Result<BatchLoss> {
        let start = Instant::now();
        let part = ask.samples.map(|samples| part(self.batch, samples)).transpose()?;
        let batch = part.as_ref().unwrap_or(self.batch);
        let mode = if ask.second { self.second } else { BatchNormMode::Update };
        let layout = self.model.layout();
        let pass = Pass::training(Weights::new(layout, weights), self.running, mode)
            .with_plan(ask.plan)
            .with_samples(ask.samples, samples(self.batch))
            .with_input_weights(ask.input_weights.map(|weights| Weights::new(layout, weights)));
        let (pass, loss) = forward(self.model, pass, batch)?;
        pass.backward(&loss, gradient)?;
        self.seconds[usize::from(ask.second)] += start.elapsed().as_secs_f64();
        Ok(BatchLoss { mean: loss.mean, per_sample: per_sample(&loss, batch) })
    }

    fn losses(&mut self, weights: &[f32]) -> Result<Vec<f64>> {
        let start = Instant::now();
        let weights = Weights::new(self.model.layout(), weights);
        let pass = Pass::training(weights, self.running, BatchNormMode::Freeze).without_tape();
        let (_, loss) = forward(self.model, pass, self.batch)?;
        self.seconds[1] += start.elapsed().as_secs_f64();
        Ok(per_sample(&loss, self.batch))
    }
}

/// The mean loss of a batch and, in `gradient`, its gradient: flat, in name order.
///
/// # Errors
/// When a tensor operation fails.
pub(super) fn loss_gradient(
    (model, weights, running): (&dyn Model, &[f32], &mut RunningStats),
    batch: &Batch,
    batch_norm: BatchNormMode,
    gradient: &mut Vec<f32>,
) -> Result<f64> {
    let pass = Pass::training(Weights::new(model.layout(), weights), running, batch_norm);
    let (pass, loss) = forward(model, pass, batch)?;
    pass.backward(&loss, gradient)?;
    Ok(loss.mean)
}

/// Adds to `squares` the squared gradients of the losses of a batch's samples, in evaluation mode.
///
/// # Errors
/// When a tensor operation fails.
pub(super) fn add_squared_gradients(
    (model, weights, running): (&dyn Model, &[f32], &mut RunningStats),
    batch: &Batch,
    squares: &mut [f32],
) -> Result<()> {
    if batch.labels.is_empty() {
        return Ok(());
    }
    let pass = Pass::training(Weights::new(model.layout(), weights), running, BatchNormMode::Eval);
    let (pass, loss) = forward(model, pass, batch)?;
    pass.backward_by_sample(&loss, samples(batch), squares)
}

fn forward<'a>(model: &dyn Model, pass: Pass<'a>, batch: &Batch) -> Result<(Pass<'a>, Loss)> {
    let mut pass = pass.with_dropout(batch.dropout.clone());
    let input = pass.input(batch.input.clone());
    let logits = model.forward(&input, &mut pass)?;
    let loss = pass.cross_entropy::<f32>(&logits, &batch.labels)?;
    Ok((pass, loss))
}

fn samples(batch: &Batch) -> usize {
    batch.input.dims().first().copied().unwrap_or(0)
}

/// Losses of samples; of a text, the mean over its tokens.
fn per_sample(loss: &Loss, batch: &Batch) -> Vec<f64> {
    let labels = loss.per_sample.len() / samples(batch).max(1);
    loss.per_sample.chunks(labels.max(1)).map(|losses| losses.iter().sum::<f64>() / losses.len() as f64).collect()
}

/// Some samples of a batch.
fn part(batch: &Batch, chosen: &[usize]) -> Result<Batch> {
    let labels = batch.labels.len() / samples(batch).max(1);
    let index: Vec<u32> = chosen.iter().map(|i| *i as u32).collect();
    let index = Tensor::from_vec(index, chosen.len(), &Device::Cpu)?;
    Ok(Batch {
        input: batch.input.index_select(&index, 0)?,
        labels: chosen.iter().flat_map(|i| &batch.labels[i * labels..(i + 1) * labels]).copied().collect(),
        dropout: batch.dropout.clone(),
    })
}
