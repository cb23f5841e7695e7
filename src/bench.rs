//! Times of a training step, its parts and its executed FLOPs, beside the machine's matrix-product peak.

use std::time::Instant;

use serde::Serialize;

use crate::data::augment::Augment;
use crate::data::{DataSet, Images, Input, Normalise, Provenance};
use crate::error::{Error, Result};
use crate::mask::{Mask, fisher_keep};
use crate::model::{self, ModelSpec, Task};
use crate::nn::{BatchNormMode, RunningStats, executed_flops, gemm_peak};
use crate::optim::{SAM_EPSILON, SSAM_EPSILON, Sgd};
use crate::random::{Stream, below, stream};
use crate::stats::{Median, median};
use crate::suite::OptimizerName;
use crate::suite::cell::FisherMode;
use crate::train::{SecondPass, StepParts, Trainer, fisher_scores, peak_memory_bytes};

/// Classes of the synthetic samples.
const CLASSES: usize = 10;
/// Seed of images, weights and masks: the work must be the same in every run.
const SEED: u64 = 1;
/// Radius of the ascent step; its value does not matter to the time.
const RHO: f64 = 0.05;
/// Small enough that no training on random labels diverges.
const LR: f64 = 1e-3;
/// Samples of the measured Fisher refresh, the default of a suite.
const FISHER_SAMPLES: usize = 128;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The model.
    pub model: ModelSpec,
    /// What a sample is.
    pub input: Input,
    /// Images of a step.
    pub batch_size: usize,
    /// The optimizer.
    pub optimizer: OptimizerName,
    /// Fraction of weights that a sparse ascent step leaves alone.
    pub sparsity: f64,
    /// Steps measured.
    pub steps: usize,
    /// Steps before them, not measured.
    pub warmup: usize,
}

/// What was measured. Times are seconds per step, FLOPs per step.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// Model name.
    pub model: String,
    /// Its width, where it has one.
    pub width: Option<usize>,
    /// Its depth, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Heads of its attention, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// Its hidden layers, where it has them.
    pub hidden: Option<Vec<usize>>,
    /// Channels x height x width, or characters.
    pub input: String,
    /// Images of a step.
    pub batch_size: usize,
    /// The optimizer.
    pub optimizer: OptimizerName,
    /// Fraction of weights left alone by the ascent step, where it is sparse.
    pub sparsity: Option<f64>,
    /// Threads that computed.
    pub threads: usize,
    /// Steps measured.
    pub steps: usize,
    /// Whole steps, waiting for the batch included, mask refresh excluded.
    pub step_seconds: Option<Median>,
    /// Where they went.
    pub parts: Parts,
    /// One Fisher refresh of 128 samples, for ssam-f.
    pub mask_refresh_seconds: Option<f64>,
    /// FLOPs the kernels executed in a step.
    pub flops_executed: f64,
    /// The same per second.
    pub gflops_per_second: Option<f64>,
    /// The best rate of a large matrix product on as many threads.
    pub gemm_peak_gflops_per_second: f64,
    /// The ratio of the two.
    pub fraction_of_peak: Option<f64>,
    /// Peak resident memory, in bytes.
    pub peak_memory_bytes: Option<u64>,
}

/// Parts of a step. There is no restore: perturbed weights are a copy.
#[derive(Clone, Debug, Serialize)]
pub struct Parts {
    /// Waiting for the batch.
    pub data: Option<Median>,
    /// The gradient at w.
    pub pass1: Option<Median>,
    /// The ascent step.
    pub perturb: Option<Median>,
    /// The gradient at w + eps.
    pub pass2: Option<Median>,
    /// The base step.
    pub update: Option<Median>,
}

impl Bench {
    /// Trains a few steps on synthetic images and measures them.
    ///
    /// # Errors
    /// When the model cannot be built or a tensor operation fails.
    pub fn run(&self) -> Result<BenchReport> {
        let classes = match self.input {
            Input::Image(_) => CLASSES,
            Input::Tokens { vocabulary, .. } => vocabulary,
        };
        let task = Task { input: self.input, classes };
        let model = model::build(&self.model, task).map_err(Error::Usage)?;
        let layout = model.layout();
        let data = synthetic(self.input, self.batch_size * (self.warmup + self.steps))?;
        let second = match self.optimizer {
            OptimizerName::Sgd => None,
            OptimizerName::Sam => Some(SAM_EPSILON),
            OptimizerName::SsamF | OptimizerName::SsamD => Some(SSAM_EPSILON),
        };
        let second = second.map(|epsilon| SecondPass { rho: RHO, epsilon, batch_norm: BatchNormMode::Update });
        let sparse = matches!(self.optimizer, OptimizerName::SsamF | OptimizerName::SsamD);
        let keep = fisher_keep(layout.len(), self.sparsity);
        let mask = sparse.then(|| Mask::random(layout.len(), keep, &mut stream(SEED, Stream::InitialMask)));
        let sgd = Sgd { momentum: 0.9, nesterov: false, weight_decay: 5e-4 };
        let mut trainer = Trainer::new(&*model, sgd, second, layout.init(SEED), RunningStats::new(layout));

        let crop = match self.input {
            Input::Image([_, height, _]) => height / 8,
            Input::Tokens { .. } => 0,
        };
        let augment = Augment { crop, flip: true, ..Augment::default() };
        let (mut whole, mut waits, mut parts) = (Vec::new(), Vec::new(), Vec::<StepParts>::new());
        let mut executed = 0;
        data.epoch(SEED, 0, self.batch_size, &augment, |batches| {
            for step in 0..self.warmup + self.steps {
                let (start, before) = (Instant::now(), executed_flops());
                let Ok(batch) = batches.recv() else { break };
                let wait = start.elapsed().as_secs_f64();
                trainer.step(&batch?, LR, mask.as_ref(), |_, _| {})?;
                if step >= self.warmup {
                    whole.push(start.elapsed().as_secs_f64());
                    waits.push(wait);
                    parts.push(trainer.step_parts());
                    executed = executed_flops() - before;
                }
            }
            Ok(())
        })?;
        let peak_memory_bytes = peak_memory_bytes();
        let mask_refresh_seconds = match self.optimizer {
            OptimizerName::SsamF => Some(fisher_refresh(&mut trainer, &data, &augment)?),
            OptimizerName::Sgd | OptimizerName::Sam | OptimizerName::SsamD => None,
        };
        let step_seconds = median(&whole);
        let rate = step_seconds.map(|s| executed as f64 / s.median / 1e9);
        let peak = gemm_peak() / 1e9;
        let part = |value: fn(&StepParts) -> f64| median(&parts.iter().map(value).collect::<Vec<f64>>());
        let two = second.is_some();
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
            optimizer: self.optimizer,
            sparsity: sparse.then_some(self.sparsity),
            threads: rayon::current_num_threads(),
            steps: whole.len(),
            step_seconds,
            parts: Parts {
                data: median(&waits),
                pass1: part(|p| p.pass1),
                perturb: part(|p| p.perturb).filter(|_| two),
                pass2: part(|p| p.pass2).filter(|_| two),
                update: part(|p| p.update),
            },
            mask_refresh_seconds,
            flops_executed: executed as f64,
            gflops_per_second: rate,
            gemm_peak_gflops_per_second: peak,
            fraction_of_peak: rate.map(|rate| rate / peak),
            peak_memory_bytes,
        })
    }
}

/// Seconds of one Fisher refresh, selection included.
fn fisher_refresh(trainer: &mut Trainer<'_>, data: &DataSet, augment: &Augment) -> Result<f64> {
    let start = Instant::now();
    let scores = fisher_scores(trainer.parts(), data, augment, (FISHER_SAMPLES, FisherMode::Clean), (SEED, 0))?;
    std::hint::black_box(Mask::top(&scores, fisher_keep(scores.len(), 0.9)));
    Ok(start.elapsed().as_secs_f64())
}

/// `n` images of random pixels with random labels, or random characters.
fn synthetic(input: Input, n: usize) -> Result<DataSet> {
    let rng = &mut stream(SEED, Stream::Init("synthetic images"));
    let n = n.max(FISHER_SAMPLES);
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
