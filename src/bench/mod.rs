//! Benchmark of a training step: times of the step and its parts, executed FLOPs, and the machine's
//! matrix product peak.

mod scaling;

use std::time::Instant;

use serde::Serialize;

use crate::compute::Compute;
use crate::data::augment::Augment;
use crate::data::loader::Batch;
use crate::data::{DataSet, Images, Input, Normalise, Provenance};
use crate::error::{Error, Result};
use crate::mask::{FisherMode, Mask, Score, StepCosts};
use crate::model::{Model, ModelSpec, Task};
use crate::nn::{BackwardPlan, RunningStats, gemm_peak};
use crate::optim::{ActiveMask, Context, OptimizerSpec};
use crate::random::{Stream, below, stream};
use crate::registry::Registry;
use crate::stats::{Median, median};
use crate::train::{Optimizer, Problem, StepParts, Trainer, fisher_scores, peak_memory_bytes, step_costs};

pub use scaling::{Sweep, SweepPoint, Varied};

/// Classes of the synthetic samples.
const CLASSES: usize = 10;
/// Small enough that training on random labels does not diverge.
const LR: f64 = 1e-3;
/// Samples for Fisher scores, the default of a suite.
pub const FISHER_SAMPLES: usize = 128;

/// Maximum batches in the samples of a benchmark, which are shuffled in each pass.
const BATCHES: usize = 8;
/// Maximum bytes of those samples.
const MOST_BYTES: usize = 4_000_000_000;

/// Settings of a benchmark.
#[derive(Clone, Debug)]
pub struct Bench {
    /// Model to train.
    pub model: ModelSpec,
    /// Type and shape of a sample.
    pub input: Input,
    /// Samples per step.
    pub batch_size: usize,
    /// Optimizer to measure.
    pub optimizer: OptimizerSpec,
    /// Second optimizer for comparison. Its steps alternate with the first one's, on the same
    /// batches.
    pub against: Option<OptimizerSpec>,
    /// Seed of samples, weights and masks: with one seed the work is identical in every run.
    pub seed: u64,
    /// Compute device.
    pub compute: Compute,
    /// Number of steps to measure.
    pub steps: usize,
    /// Number of warm-up steps.
    pub warmup: usize,
}

/// Result of a benchmark. Times are seconds per step, FLOPs are per step.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// Model name.
    pub model: String,
    /// Width of the model, if any.
    pub width: Option<usize>,
    /// Depth of the model, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Attention heads of the model, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// Hidden layers of the model, if any.
    pub hidden: Option<Vec<usize>>,
    /// Channels x height x width, or number of characters.
    pub input: String,
    /// Samples per step.
    pub batch_size: usize,
    /// GPU used; `None` for the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// Number of compute threads.
    pub threads: usize,
    /// Steps to measure.
    pub steps: usize,
    /// Measurements of the optimizer.
    #[serde(flatten)]
    pub own: Measured,
    /// Measurements of the second optimizer.
    pub against: Option<Measured>,
    /// Ratio of step times to the second optimizer's, step by step.
    pub step_ratio: Option<Median>,
    /// Ratio of total times to the second optimizer's, for optimizers whose steps differ.
    pub time_ratio: Option<f64>,
    /// Ratio of executed FLOPs to the second optimizer's.
    pub flops_ratio: Option<f64>,
    /// Best rate of a large matrix product on the same device, on the CPU with as many threads.
    pub gemm_peak_gflops_per_second: f64,
    /// Rate of executed FLOPs as a fraction of the peak.
    pub fraction_of_peak: Option<f64>,
    /// Peak resident memory in bytes, for both optimizers and the selection of their masks.
    pub peak_memory_bytes: Option<u64>,
}

/// Measurements of an optimizer.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Name of the optimizer.
    pub optimizer: String,
    /// Settings of the optimizer, in the form of a cell.
    pub settings: OptimizerSpec,
    /// Fraction of weights live, if there is a mask.
    pub live_fraction: Option<f64>,
    /// Time of whole steps, mask refreshes excluded.
    pub step_seconds: Option<Median>,
    /// Breakdown of the step time.
    pub parts: Parts,
    /// Time of a mask refresh with Fisher scores.
    pub mask_refresh_seconds: Option<f64>,
    /// FLOPs executed by the kernels, averaged over the steps.
    pub flops_executed: f64,
    /// Executed FLOPs per second, in billions.
    pub gflops_per_second: Option<f64>,
}

/// Parts of a step. Nothing needs to be restored, since perturbed weights are a copy.
#[derive(Clone, Debug, Serialize)]
pub struct Parts {
    /// First gradients, at w.
    pub pass1: Option<Median>,
    /// Ascent step and all other computations of the method besides gradients.
    pub perturb: Option<Median>,
    /// Second gradients, at w + eps.
    pub pass2: Option<Median>,
    /// The base step.
    pub update: Option<Median>,
}

/// State of an optimizer during the benchmark.
struct Subject<'m> {
    spec: OptimizerSpec,
    seed: u64,
    trainer: Trainer<'m>,
    mask: Option<(Mask, Option<BackwardPlan>)>,
    seconds: Vec<f64>,
    parts: Vec<StepParts>,
    /// FLOPs of all measured steps.
    flops: u64,
    /// FLOPs of steps by the tensors they perturb, for a mask with a budget.
    costs: Option<StepCosts>,
}

impl<'m> Subject<'m> {
    fn new(
        spec: &OptimizerSpec,
        (problem, seed): (Problem<'m>, u64),
        registry: &Registry,
        data: &DataSet,
    ) -> Result<Self> {
        let layout = problem.model.layout();
        let optimizer = Optimizer::new(spec, layout, registry).map_err(Error::Usage)?;
        let mut trainer = Trainer::new(problem, optimizer, layout.init(seed), RunningStats::new(layout));
        let mask = spec.ascent.as_ref().and_then(|ascent| ascent.mask.as_ref());
        let costs = mask.and_then(|mask| mask.amount.budget()).map(|_| step_costs(problem, data.input)).transpose()?;
        let mask = match spec.ascent.as_ref().and_then(|a| Some((a, a.mask.as_ref()?))) {
            None => None,
            Some((ascent, mask)) => {
                let scores = match mask.refresh.score {
                    Score::Random => None,
                    Score::Fisher { .. } => Some(fisher(&mut trainer, data, FISHER_SAMPLES, seed)?),
                    Score::Gradient | Score::Weight => {
                        return Err(Error::Usage(format!(
                            "a bench chooses masks by Fisher scores or at random; mask={} makes no other times",
                            mask.refresh.score.name()
                        )));
                    }
                };
                let rng = &mut stream(seed, Stream::InitialMask);
                let mask = mask.choose(layout, costs.as_ref(), scores.as_deref(), rng);
                let plan = ascent.norm.plan(layout, &mask);
                Some((mask, plan))
            }
        };
        let (seconds, parts) = (Vec::new(), Vec::new());
        Ok(Self { spec: spec.clone(), seed, trainer, mask, seconds, parts, flops: 0, costs })
    }

    fn step(&mut self, batch: &Batch, (step, steps): (usize, usize), measured: bool) -> Result<()> {
        let (start, before) = (Instant::now(), self.trainer.flops_executed());
        let mask = self.mask.as_ref().map(|(mask, plan)| ActiveMask { mask, plan: plan.as_ref() });
        self.trainer.step(batch, LR, &mut Context { mask, ..Context::new(step, steps) })?;
        if measured {
            self.seconds.push(start.elapsed().as_secs_f64());
            self.parts.push(self.trainer.step_parts());
            self.flops += self.trainer.flops_executed() - before;
        }
        Ok(())
    }

    fn measured(mut self, data: &DataSet) -> Result<Measured> {
        let step_seconds = median(&self.seconds);
        let part = |value: fn(&StepParts) -> f64| median(&self.parts.iter().map(value).collect::<Vec<f64>>());
        let two = self.spec.ascent.is_some();
        let parts = Parts {
            pass1: part(|p| p.pass1),
            perturb: part(|p| p.perturb).filter(|_| two),
            pass2: part(|p| p.pass2).filter(|_| two),
            update: part(|p| p.update),
        };
        let spec = self.spec.ascent.as_ref().and_then(|a| a.mask.as_ref());
        let mask_refresh_seconds = match spec.map(|mask| (mask, &mask.refresh.score)) {
            Some((mask, Score::Fisher { samples, .. })) => {
                let (start, layout) = (Instant::now(), self.trainer.network().problem.model.layout().clone());
                let scores = fisher(&mut self.trainer, data, *samples, self.seed)?;
                let rng = &mut stream(self.seed, Stream::InitialMask);
                let chosen = mask.choose(&layout, self.costs.as_ref(), Some(&scores), rng);
                std::hint::black_box(BackwardPlan::of_scalars(&layout, chosen.flags()));
                Some(start.elapsed().as_secs_f64())
            }
            _ => None,
        };
        let flops_executed = self.flops as f64 / self.seconds.len().max(1) as f64;
        Ok(Measured {
            live_fraction: self.mask.as_ref().map(|(mask, _)| mask.live_fraction()),
            optimizer: self.spec.name.clone(),
            settings: self.spec,
            step_seconds,
            parts,
            mask_refresh_seconds,
            flops_executed,
            gflops_per_second: step_seconds.map(|s| flops_executed / s.median / 1e9),
        })
    }
}

impl Bench {
    /// Trains some steps on synthetic samples and measures them.
    ///
    /// # Errors
    /// When the model cannot be built or a tensor operation fails.
    pub fn run(&self, registry: &Registry) -> Result<BenchReport> {
        let model = build(&self.model, self.input, registry)?;
        let steps = self.warmup + self.steps;
        let data = synthetic(self.input, self.samples(steps)?, self.seed)?;
        let problem = Problem { device: self.compute.device(), ..(&*model).into() };
        let mut own = Subject::new(&self.optimizer, (problem, self.seed), registry, &data)?;
        let mut against =
            self.against.as_ref().map(|spec| Subject::new(spec, (problem, self.seed), registry, &data)).transpose()?;
        let crop = match self.input {
            Input::Image([_, height, _]) => height / 8,
            Input::Tokens { .. } => 0,
        };
        let augment = Augment { crop, flip: true, ..Augment::default() };
        let (mut step, mut epoch) = (0, 0);
        while step < steps {
            data.epoch(self.seed, (epoch, 0), (self.batch_size, false), &augment, |batches| {
                for batch in batches.iter().take(steps - step) {
                    let (batch, measured) = (batch?, step >= self.warmup);
                    own.step(&batch, (step, steps), measured)?;
                    if let Some(against) = &mut against {
                        against.step(&batch, (step, steps), measured)?;
                    }
                    step += 1;
                }
                Ok(())
            })?;
            epoch += 1;
        }
        let peak_memory_bytes = peak_memory_bytes();
        let step_ratio = against.as_ref().and_then(|against| {
            let pairs = own.seconds.iter().zip(&against.seconds);
            median(&pairs.map(|(own, against)| own / against).collect::<Vec<f64>>())
        });
        let total = |subject: &Subject<'_>| subject.seconds.iter().sum::<f64>();
        let time_ratio = against.as_ref().map(|against| total(&own) / total(against));
        let measured_steps = own.seconds.len();
        let own = own.measured(&data)?;
        let against = against.map(|against| against.measured(&data)).transpose()?;
        let peak = gemm_peak(self.compute.device())? / 1e9;
        let spec = model.spec();
        Ok(BenchReport {
            model: spec.name,
            width: spec.width,
            depth: spec.depth,
            heads: spec.heads,
            hidden: spec.hidden,
            input: match self.input {
                Input::Image(shape) => shape.map(|n| n.to_string()).join("x"),
                Input::Tokens { length, .. } => length.to_string(),
            },
            batch_size: self.batch_size,
            gpu: self.compute.gpu().map(str::to_string),
            threads: rayon::current_num_threads(),
            steps: measured_steps,
            step_ratio,
            time_ratio,
            flops_ratio: against.as_ref().map(|against| own.flops_executed / against.flops_executed),
            gemm_peak_gflops_per_second: peak,
            fraction_of_peak: own.gflops_per_second.map(|rate| rate / peak),
            peak_memory_bytes,
            own,
            against,
        })
    }

    /// Samples for so many steps, and for Fisher scores.
    ///
    /// # Errors
    /// When a single batch is too large.
    fn samples(&self, steps: usize) -> Result<usize> {
        let each = match self.input {
            Input::Tokens { length, .. } => length,
            Input::Image(shape) => shape.iter().product(),
        };
        let fitting = MOST_BYTES / each.max(1);
        let least = self.batch_size.max(FISHER_SAMPLES);
        if fitting < least {
            return Err(Error::Usage(format!(
                "{least} samples of {each} bytes exceed {MOST_BYTES} bytes; make the input or the batch smaller"
            )));
        }
        let batches = steps.min(BATCHES).min(fitting / self.batch_size);
        Ok(least.max(batches * self.batch_size))
    }
}

/// Fisher scores from the first samples.
fn fisher(trainer: &mut Trainer<'_>, data: &DataSet, samples: usize, seed: u64) -> Result<Vec<f32>> {
    fisher_scores(trainer.network(), data, &Augment::default(), (samples, FisherMode::Clean), (seed, 0))
}

/// `n` images of random pixels with random labels, or random characters.
fn synthetic(input: Input, n: usize, seed: u64) -> Result<DataSet> {
    let rng = &mut stream(seed, Stream::Init("synthetic images"));
    let provenance = Provenance::made("synthetic", "synthetic", Vec::new());
    match input {
        Input::Tokens { length, vocabulary } => {
            let characters = (0..n * length + 1).map(|_| below(rng, vocabulary) as u8).collect();
            DataSet::of_text([characters, vec![0; length + 1]], provenance)
        }
        Input::Image(shape) => {
            let pixels = (0..n * shape.iter().product::<usize>()).map(|_| below(rng, 256) as u8).collect();
            let labels = (0..n).map(|_| below(rng, CLASSES) as u8).collect();
            let train = Images { pixels, labels, shape };
            let normalise = Normalise { mean: [0.5; 3], std: [0.29; 3] };
            Ok(DataSet::of_images([train, Images::empty(shape)], CLASSES, normalise, provenance))
        }
    }
}

/// The model for an input, with as many classes as a run with such inputs usually has.
///
/// # Errors
/// When it cannot be built.
pub fn build(model: &ModelSpec, input: Input, registry: &Registry) -> Result<Box<dyn Model>> {
    let classes = match input {
        Input::Image(_) => CLASSES,
        Input::Tokens { vocabulary, .. } => vocabulary,
    };
    registry.model(model, Task { input, classes }).map_err(Error::Usage)
}
