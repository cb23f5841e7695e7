//! A batch's loss as methods see it: forward and backward passes of a model.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use sharpbench_kernels as kernels;

use crate::compute::on_pool;
use crate::data::loader::Batch;
use crate::error::Result;
use crate::model::Model;
use crate::nn::{BatchNormMode, FlopCount, Loss, Objective, ParamLayout, Pass, Prefix, RunningStats, Scalar, Weights};
use crate::optim::{Ask, BatchLoss, Landscape};
use crate::sharpness::GradientAt;

/// A model and its training objective.
#[derive(Clone, Copy)]
pub struct Problem<'m> {
    /// The model.
    pub model: &'m dyn Model,
    /// Function of the logits and the labels.
    pub objective: Objective,
    /// Maximum samples per pass. Larger batches are processed in parts, one after the other, to
    /// limit the memory of activations. Only for models whose samples do not interact.
    pub chunk: Option<usize>,
    /// Device for candle operations; `None` for the CPU kernels.
    pub device: Option<&'m Device>,
}

impl<'m> From<&'m dyn Model> for Problem<'m> {
    /// Cross-entropy, whole batches, on the CPU.
    fn from(model: &'m dyn Model) -> Self {
        Self { model, objective: Objective::default(), chunk: None, device: None }
    }
}

/// A problem's loss of one batch, in the precision of the given weights. Uses batch statistics as
/// in training and leaves the running ones unchanged.
pub struct BatchProblem<'a> {
    /// The problem.
    pub problem: Problem<'a>,
    /// The batch.
    pub batch: &'a Batch,
}

impl<T: Scalar> GradientAt<T> for BatchProblem<'_> {
    fn gradient(&mut self, weights: &[T], gradient: &mut Vec<T>) -> Result<f64> {
        on_pool(self.problem.device, || {
            let layout = self.problem.model.layout();
            let mut running = RunningStats::new(layout);
            let pass = Pass::training(Weights::new(layout, weights), &mut running, BatchNormMode::Freeze);
            let (pass, loss) = forward::<T>(self.problem, pass, self.batch)?;
            pass.backward(&loss, gradient)?;
            Ok(loss.mean)
        })
    }
}

/// A problem at given weights.
pub struct Network<'a> {
    /// The problem.
    pub problem: Problem<'a>,
    /// Weights, flat in name order.
    pub weights: &'a [f32],
    /// Running statistics, which passes in some modes update.
    pub running: &'a mut RunningStats,
    /// FLOP counter of its passes.
    pub flops: FlopCount,
}

/// Loss of a batch under a model.
pub(super) struct BatchLandscape<'a> {
    pub(super) problem: Problem<'a>,
    /// Running statistics, which passes update according to their mode.
    pub(super) running: &'a mut RunningStats,
    pub(super) batch: &'a Batch,
    /// BatchNorm mode in second gradients.
    pub(super) second: BatchNormMode,
    /// Layers the first gradient kept for the second.
    pub(super) prefix: Option<Prefix>,
    /// Seconds spent in first passes and in all others.
    pub(super) seconds: [f64; 2],
    /// FLOP counter of all passes.
    pub(super) flops: FlopCount,
}

impl BatchLandscape<'_> {
    /// Calls `f` on the requested samples, split into parts that fit a pass. Passes the part's
    /// sample indices unless it is the whole batch.
    fn parts(
        &mut self,
        asked: Option<&[usize]>,
        mut f: impl FnMut(&mut Self, &Batch, Option<&[usize]>) -> Result<()>,
    ) -> Result<()> {
        let batch = self.batch;
        let n = samples(batch);
        let most = self.problem.chunk.unwrap_or(usize::MAX);
        match asked {
            None if n <= most => f(self, batch, None),
            Some(asked) if asked.len() <= most => f(self, &part(batch, asked)?, Some(asked)),
            _ => {
                let all: Vec<usize> = asked.map_or_else(|| (0..n).collect(), <[usize]>::to_vec);
                all.chunks(most).try_for_each(|chosen| f(self, &part(batch, chosen)?, Some(chosen)))
            }
        }
    }

    fn whole_gradient(&mut self, weights: &[f32], ask: Ask<'_>, gradient: &mut Vec<f32>) -> Result<BatchLoss> {
        let n = ask.samples.map_or(samples(self.batch), <[usize]>::len);
        let mode = if ask.second { self.second } else { BatchNormMode::Update };
        let layout = self.problem.model.layout();
        let (mut mean, mut all, mut more) = (0.0, Vec::new(), Vec::new());
        self.parts(ask.samples, |this, batch, chosen| {
            let pass = Pass::training(Weights::new(layout, weights), this.running, mode)
                .counting(&this.flops)
                .with_plan(ask.plan)
                .with_samples(chosen, samples(this.batch))
                .with_input_weights(ask.input_weights.map(|weights| Weights::new(layout, weights)));
            // Layers are shared only for whole batches, since only the last part's would remain,
            // and only if the second pass requires all gradients, which kept layers compute.
            let pass = match (ask.shared && chosen.is_none(), ask.second) {
                (true, false) => pass.keeping_prefix(),
                (true, true) if ask.plan.is_none() => pass.with_prefix(this.prefix.take()),
                _ => pass,
            };
            let (mut pass, loss) = forward::<f32>(this.problem, pass, batch)?;
            this.prefix = pass.take_prefix()?;
            let share = samples(batch) as f64 / n as f64;
            let first = all.is_empty();
            pass.backward(&loss, if first { &mut *gradient } else { &mut more })?;
            if first && share < 1.0 {
                kernels::scale(gradient, share as f32);
            } else if !first {
                kernels::accumulate_scaled(gradient, &more, share as f32);
            }
            mean += share * loss.mean;
            all.extend(per_sample(&loss, batch));
            Ok(())
        })?;
        Ok(BatchLoss { mean, per_sample: all })
    }
}

impl Landscape for BatchLandscape<'_> {
    fn layout(&self) -> &Arc<ParamLayout> {
        self.problem.model.layout()
    }

    fn samples(&self) -> usize {
        samples(self.batch)
    }

    fn gradient(&mut self, weights: &[f32], ask: Ask<'_>, gradient: &mut Vec<f32>) -> Result<BatchLoss> {
        let start = Instant::now();
        let loss = self.whole_gradient(weights, ask, gradient)?;
        self.seconds[usize::from(ask.second)] += start.elapsed().as_secs_f64();
        Ok(loss)
    }

    fn losses(&mut self, weights: &[f32]) -> Result<Vec<f64>> {
        let start = Instant::now();
        let layout = self.problem.model.layout();
        let mut losses = Vec::new();
        self.parts(None, |this, batch, chosen| {
            let pass = Pass::training(Weights::new(layout, weights), this.running, this.second)
                .counting(&this.flops)
                .with_samples(chosen, samples(this.batch))
                .without_tape();
            let (_, loss) = forward::<f32>(this.problem, pass, batch)?;
            losses.extend(per_sample(&loss, batch));
            Ok(())
        })?;
        self.seconds[1] += start.elapsed().as_secs_f64();
        Ok(losses)
    }
}

impl Network<'_> {
    /// Returns the mean loss of a batch and writes its gradient to `gradient`, flat in name order.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub(super) fn loss_gradient(
        &mut self,
        batch: &Batch,
        batch_norm: BatchNormMode,
        gradient: &mut Vec<f32>,
    ) -> Result<f64> {
        on_pool(self.problem.device, || {
            let weights = Weights::new(self.problem.model.layout(), self.weights);
            let pass = Pass::training(weights, self.running, batch_norm).counting(&self.flops);
            let (pass, loss) = forward::<f32>(self.problem, pass, batch)?;
            pass.backward(&loss, gradient)?;
            Ok(loss.mean)
        })
    }

    /// Adds the squared per-sample gradients of a batch to `squares`, in evaluation mode.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub(super) fn add_squared_gradients(&mut self, batch: &Batch, squares: &mut [f32]) -> Result<()> {
        if batch.labels.is_empty() {
            return Ok(());
        }
        if self.problem.device.is_some() {
            let mut gradient = Vec::new();
            for i in 0..samples(batch) {
                self.loss_gradient(&part(batch, &[i])?, BatchNormMode::Eval, &mut gradient)?;
                kernels::accumulate_squares(squares, &gradient);
            }
            return Ok(());
        }
        on_pool(self.problem.device, || {
            let weights = Weights::new(self.problem.model.layout(), self.weights);
            let pass = Pass::training(weights, self.running, BatchNormMode::Eval).counting(&self.flops);
            let (pass, loss) = forward::<f32>(self.problem, pass, batch)?;
            pass.backward_by_sample(&loss, samples(batch), squares)
        })
    }
}

fn forward<'a, T: Scalar>(problem: Problem<'a>, pass: Pass<'a>, batch: &Batch) -> Result<(Pass<'a>, Loss)> {
    // Apple's GPUs have no f64, so f64 measurements run on the CPU there.
    let device = problem.device.filter(|device| T::DTYPE != DType::F64 || !device.is_metal());
    let mut pass = pass.with_dropout(batch.dropout.clone()).on(device);
    // Tokens are not converted.
    let dtype = if batch.input.dtype().is_float() { T::DTYPE } else { batch.input.dtype() };
    let input = pass.input(batch.input.to_dtype(dtype)?)?;
    let logits = problem.model.forward(&input, &mut pass)?;
    let loss = pass.loss::<T>(problem.objective, &logits, &batch.labels)?;
    Ok((pass, loss))
}

fn samples(batch: &Batch) -> usize {
    batch.input.dims().first().copied().unwrap_or(0)
}

/// Per-sample losses; for a text, the mean over its tokens.
fn per_sample(loss: &Loss, batch: &Batch) -> Vec<f64> {
    let labels = loss.per_sample.len() / samples(batch).max(1);
    loss.per_sample.chunks(labels.max(1)).map(|losses| losses.iter().sum::<f64>() / losses.len() as f64).collect()
}

/// Selects samples of a batch.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::Mask;
    use crate::model::{ModelSpec, Task, build};
    use crate::nn::BackwardPlan;
    use crate::random::{Stream, stream, unit};

    /// A batch processed in parts must equal the whole batch: loss, per-sample losses in order, and
    /// gradient, for all or some samples, under a plan and with dropout.
    #[test]
    fn parts_make_the_whole() {
        let json = serde_json::json!({"name": "vgg11-bn", "width": 2, "hidden": [8], "dropout": 0.3});
        let spec: ModelSpec = serde_json::from_value(json).expect("a specification");
        let task = Task { input: crate::data::Input::Image([3, 32, 32]), classes: 10 };
        let model = build(&spec, task).expect("a model");
        let layout = model.layout();
        let weights = layout.init(3);
        let mut rng = stream(4, Stream::Synthetic("pixels"));
        let pixels: Vec<f32> = (0..8 * 3 * 1024).map(|_| unit(&mut rng)).collect();
        let input = Tensor::from_vec(pixels, (8, 3, 32, 32), &Device::Cpu).expect("images");
        let dropout = Some(stream(5, Stream::Dropout(0, 0)));
        let batch = Batch { input, labels: (0..8).collect(), dropout };
        let mut mask = Mask::empty(layout.len());
        layout
            .specs()
            .iter()
            .filter(|spec| spec.name.ends_with("weight"))
            .for_each(|spec| mask.set(spec.range(), true));
        let plan = BackwardPlan::of_scalars(layout, mask.flags());
        let mut running = RunningStats::new(layout);
        let mut run = |chunk, samples: Option<&[usize]>| {
            let problem = Problem { chunk, ..model.as_ref().into() };
            // BatchNorm's batch statistics would be those of a part.
            let second = BatchNormMode::Freeze;
            let mut landscape = BatchLandscape {
                problem,
                running: &mut running,
                batch: &batch,
                second,
                prefix: None,
                seconds: [0.0; 2],
                flops: FlopCount::default(),
            };
            let mut gradient = Vec::new();
            let ask = Ask { samples, plan: Some(&plan), ..Ask::SECOND };
            let loss = landscape.gradient(&weights, ask, &mut gradient).expect("a gradient");
            (loss, gradient)
        };
        // One sample at a time, so that batch statistics are the sample's own in both cases.
        let singles: Vec<(BatchLoss, Vec<f32>)> = (0..8).map(|i| run(None, Some(&[i]))).collect();
        for samples in [None, Some([1, 4, 5].as_slice())] {
            let (loss, gradient) = run(Some(1), samples);
            let chosen: Vec<usize> = samples.map_or_else(|| (0..8).collect(), <[usize]>::to_vec);
            let n = chosen.len() as f64;
            let losses: Vec<f64> = chosen.iter().map(|i| singles[*i].0.mean).collect();
            assert_eq!(loss.per_sample, losses);
            assert!((loss.mean - losses.iter().sum::<f64>() / n).abs() < 1e-12);
            for (j, found) in gradient.iter().enumerate() {
                let expected: f64 = chosen.iter().map(|i| f64::from(singles[*i].1[j]) / n).sum();
                assert!((f64::from(*found) - expected).abs() < 1e-6, "{j}: {found} {expected}");
            }
            assert!(gradient.iter().any(|g| *g != 0.0));
        }
    }
}
