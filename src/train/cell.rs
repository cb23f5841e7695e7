//! One cell from its seed to its measures.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::evaluate::evaluate;
use super::fisher::fisher_scores;
use super::gradient_norm::squared_gradient_norm;
use super::landscape::Problem;
use super::masks::{MaskState, Observed};
use super::memory;
use super::sharpness::{EdgeProbe, StepSettings, sharpness};
use super::step::{Optimizer, Trainer};
use crate::data::DataSet;
use crate::data::loader::Batch;
use crate::error::{Error, Result};
use crate::flops;
use crate::model::{self, Model, Task};
use crate::nn::{ParamLayout, RunningStats, executed_flops, to_safetensors};
use crate::optim::{Context, Norm};
use crate::record::{EpochMeasures, GradientNorm, Measures, SharpnessCheck, Status, StepSeconds, fingerprint};
use crate::suite::{Cell, Refresh};

/// Samples of a pass over a full batch.
const FULL_BATCH_CHUNK: usize = 512;

/// Told of progress; drawn or printed by whoever listens.
pub trait Observer {
    /// A step was taken.
    fn step(&mut self, epoch: usize, step: usize, loss: f64);
    /// An epoch was finished and evaluated.
    fn epoch(&mut self, epoch: usize, measures: &EpochMeasures);
}

/// Everything an epoch of training adds to.
struct Session<'a> {
    cell: &'a Cell,
    data: &'a DataSet,
    trainer: Trainer<'a>,
    masks: Option<MaskState<'a>>,
    step_seconds: Vec<f64>,
    mask_seconds: f64,
    gradient_norms: Vec<GradientNorm>,
    edge: EdgeProbe,
    sharpness: Vec<SharpnessCheck>,
    /// Spent on those.
    measure_seconds: f64,
    flops_executed: u64,
    /// Whether the peak memory is this cell's, not the process's so far.
    peak_is_own: bool,
}

/// A finished training.
pub struct Trained {
    /// How it ended.
    pub status: Status,
    /// What was measured.
    pub measures: Measures,
    /// The model's parameters.
    pub layout: Arc<ParamLayout>,
    /// Final weights, flat in name order.
    pub weights: Vec<f32>,
    /// Final running statistics.
    pub running: RunningStats,
}

impl Trained {
    /// Weights and running statistics as a safetensors file with PyTorch's names.
    ///
    /// # Errors
    /// When serialisation fails.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        to_safetensors(&self.layout, &self.weights, &self.running)
    }
}

/// Trains a cell on its data set.
///
/// # Errors
/// When a tensor operation fails. Divergence is a result, not an error.
pub fn train(cell: &Cell, data: &DataSet, observer: &mut dyn Observer) -> Result<Trained> {
    let peak_is_own = memory::reset_peak();
    let model = model::build(&cell.model, Task { input: data.input, classes: data.classes }).map_err(Error::Usage)?;
    let layout = model.layout();
    let optimizer = Optimizer::new(&cell.optimizer, layout);
    let chunk = cell.full_batch_steps.map(|_| FULL_BATCH_CHUNK);
    let problem = Problem { model: model.as_ref(), objective: cell.objective, chunk };
    let trainer = Trainer::new(problem, optimizer, layout.init(cell.seed), RunningStats::new(layout));
    let mut session = Session {
        cell,
        data,
        trainer,
        masks: MaskState::new(cell, layout),
        step_seconds: Vec::new(),
        mask_seconds: 0.0,
        gradient_norms: Vec::new(),
        edge: EdgeProbe::new(cell, layout),
        sharpness: Vec::new(),
        measure_seconds: 0.0,
        flops_executed: 0,
        peak_is_own,
    };
    let mut epochs = Vec::new();
    let mut status = Status::Completed;
    for epoch in 0..cell.epochs {
        let (start, measuring) = (Instant::now(), session.measure_seconds);
        let trained = session.epoch(epoch, observer)?;
        let train_seconds = start.elapsed().as_secs_f64() - (session.measure_seconds - measuring);
        let (lr, train_loss) = match trained {
            ControlFlow::Break(step) => {
                status = Status::Diverged { epoch, step };
                break;
            }
            ControlFlow::Continue(summary) => summary,
        };
        let (test_loss, test_accuracy) = evaluate(session.trainer.network(), data)?;
        let test_loss = test_loss.is_finite().then_some(test_loss);
        let measures = EpochMeasures { lr, train_loss, test_loss, test_accuracy, train_seconds };
        observer.epoch(epoch, &measures);
        epochs.push(measures);
        if cell.measure.sharpness.is_some_and(|at| at.after(epoch, cell.epochs)) {
            session.sharpness.extend(sharpness(session.trainer.network(), data, cell, epoch)?);
        }
    }
    let measures = session.measures(model.as_ref(), status, epochs);
    let (weights, running) = session.trainer.into_parts();
    Ok(Trained { status, measures, layout: layout.clone(), weights, running })
}

impl Session<'_> {
    /// Trains one epoch: the learning rate of the last step and the mean loss, or the step that diverged.
    fn epoch(&mut self, epoch: usize, observer: &mut dyn Observer) -> Result<ControlFlow<usize, (f64, f64)>> {
        let (cell, data) = (self.cell, self.data);
        let mut outcome = ControlFlow::Continue((0.0, 0.0));
        let steps = |batches: &Receiver<Result<Batch>>| {
            outcome = self.steps(epoch, batches, observer)?;
            Ok(())
        };
        match cell.full_batch_steps {
            None => data.epoch(cell.seed, epoch, cell.batch_size, &cell.augment, steps)?,
            Some(n) => data.full_batches(cell.seed, epoch, n, steps)?,
        }
        Ok(outcome)
    }

    fn steps(
        &mut self,
        epoch: usize,
        batches: &Receiver<Result<Batch>>,
        observer: &mut dyn Observer,
    ) -> Result<ControlFlow<usize, (f64, f64)>> {
        let schedule = self.cell.schedule();
        let (mut losses, mut lr) = (0.0, 0.0);
        let mut step = 0;
        loop {
            let start = Instant::now();
            let Ok(batch) = batches.recv() else { break };
            let (batch, waited) = (batch?, start.elapsed());
            lr = schedule.lr(epoch, step);
            let start = Instant::now();
            self.measure_gradient_norm()?;
            self.check_edge(&batch, lr)?;
            self.measure_seconds += start.elapsed().as_secs_f64();
            let start = Instant::now();
            let (masking, executed) = (self.mask_seconds, executed_flops());
            let loss = self.step(epoch, step, &batch, lr)?;
            self.flops_executed += executed_flops() - executed;
            let seconds = (waited + start.elapsed()).as_secs_f64();
            self.step_seconds.push(seconds - (self.mask_seconds - masking));
            if !loss.is_finite() {
                return Ok(ControlFlow::Break(step));
            }
            losses += loss;
            observer.step(epoch, step, loss);
            step += 1;
        }
        if self.trainer.weights().iter().any(|w| !w.is_finite()) {
            return Ok(ControlFlow::Break(step.saturating_sub(1)));
        }
        Ok(ControlFlow::Continue((lr, losses / step.max(1) as f64)))
    }

    /// Measures the squared gradient norm before a step, where the suite asks for it. Neither its time nor its FLOPs count.
    fn measure_gradient_norm(&mut self) -> Result<()> {
        let step = self.step_seconds.len();
        if self.cell.measure.gradient_norm.is_some_and(|every| step.is_multiple_of(every)) {
            let squared = squared_gradient_norm(self.trainer.network(), self.data)?;
            // What diverges has none; the step itself says so.
            if squared.is_finite() {
                self.gradient_norms.push(GradientNorm { step: step as u64, squared });
            }
        }
        Ok(())
    }

    /// The same of the edge of stability.
    fn check_edge(&mut self, batch: &Batch, lr: f64) -> Result<()> {
        let step = self.step_seconds.len();
        if !self.cell.measure.edge.is_some_and(|every| step.is_multiple_of(every)) {
            return Ok(());
        }
        let ascent = self.cell.optimizer.ascent.as_ref();
        let settings = StepSettings {
            lr,
            rho: ascent.map(|ascent| ascent.rho * self.cell.rho_factor(step)),
            norm: ascent.map_or(Norm::Full, |ascent| ascent.norm),
            mask: self.masks.as_ref().map(MaskState::mask),
        };
        self.edge.check(self.trainer.network(), batch, step, &settings)
    }

    /// One step and the mask refresh that belongs to it.
    fn step(&mut self, epoch: usize, step: usize, batch: &Batch, lr: f64) -> Result<f64> {
        let due = if step == 0 { self.masks.as_ref().and_then(|m| m.due(epoch)) } else { None };
        let (mut next, mut seconds) = (None, 0.0);
        let taken = self.step_seconds.len();
        let masks = self.masks.as_ref();
        // By the batch's own scores: between perturbation and second pass, in force from the next batch.
        let mut between = |weights: &[f32], gradient: &[f32]| {
            if let (Some(masks), Some(refresh @ (Refresh::Interval { .. } | Refresh::Dynamic { .. }))) = (masks, due) {
                let start = Instant::now();
                next = Some(masks.next_by_batch(epoch, refresh, &Observed { weights, gradient }));
                seconds += start.elapsed().as_secs_f64();
            }
        };
        let mut context = Context {
            seed: self.cell.seed,
            rho_factor: self.cell.rho_factor(taken),
            mask: masks.map(|m| m.active(due)),
            between: Some(&mut between),
            ..Context::new(taken, self.cell.epochs * self.cell.steps_per_epoch())
        };
        let loss = self.trainer.step(batch, lr, &mut context)?;
        let start = Instant::now();
        // By Fisher scores: after the step of the epoch's first batch.
        let mut fisher = None;
        if let (Some(masks), Some(Refresh::Fisher { samples, mode, .. })) = (masks, due) {
            let (settings, place) = ((*samples, *mode), (self.cell.seed, epoch));
            let scores = fisher_scores(self.trainer.network(), self.data, &self.cell.augment, settings, place)?;
            next = Some(masks.next_by_fisher(epoch, &scores));
            fisher = Some(scores);
        }
        if let (Some(masks), Some(mask)) = (&mut self.masks, next) {
            masks.replace(epoch, mask, fisher.as_deref());
            seconds += start.elapsed().as_secs_f64();
        }
        self.mask_seconds += seconds;
        Ok(loss)
    }

    fn measures(&self, model: &dyn Model, status: Status, epochs: Vec<EpochMeasures>) -> Measures {
        let cell = self.cell;
        let steps = self.step_seconds.len() as u64;
        let flops = flops::training(model.forward_macs(), cell.batch_size, steps, cell.step_cost());
        let best = epochs.iter().enumerate().rev().max_by(|a, b| a.1.test_accuracy.total_cmp(&b.1.test_accuracy));
        let last = epochs.last().filter(|_| status == Status::Completed);
        Measures {
            test_accuracy_last: last.map(|e| e.test_accuracy),
            test_accuracy_best: best.map(|(_, e)| e.test_accuracy),
            best_epoch: best.map(|(i, _)| i),
            steps,
            parameters: model.layout().len(),
            train_seconds: self.step_seconds.iter().sum::<f64>() + self.mask_seconds,
            mask_seconds: self.mask_seconds,
            step_seconds: StepSeconds::of(&self.step_seconds),
            peak_memory_bytes: if self.peak_is_own { memory::peak_bytes() } else { None },
            flops_nominal: flops.nominal,
            flops_theoretical: flops.theoretical,
            flops_theoretical_formula: flops::THEORETICAL_FORMULA.into(),
            flops_executed: Some(self.flops_executed as f64),
            mask_refreshes: self.masks.as_ref().map(|m| m.refreshes.clone()).unwrap_or_default(),
            gradient_norms: self.gradient_norms.clone(),
            edge: self.edge.checks.clone(),
            sharpness: self.sharpness.clone(),
            fingerprint: fingerprint(self.trainer.weights()),
            epochs,
        }
    }
}
