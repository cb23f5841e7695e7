//! One cell from its seed to its measures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::checkpoint::{Checkpoint, KeepNothing, Keeper, Position, State, Vector, identity};
use super::evaluate::evaluate;
use super::fisher::fisher_scores;
use super::gradient_norm::squared_gradient_norm;
use super::landscape::Problem;
use super::masks::{MaskState, Observed};
use super::memory;
use super::sharpness::{EdgeProbe, sharpness};
use super::step::{Optimizer, Trainer};
use crate::compute::Compute;
use crate::data::DataSet;
use crate::data::loader::Batch;
use crate::error::{Error, Result};
use crate::flops::{self, StepCost};
use crate::mask::Mask;
use crate::mask::{Refresh, Score};
use crate::model::{self, Model, Task};
use crate::nn::{ParamLayout, RunningStats, executed_flops, to_safetensors};
use crate::optim::{AscentStep, Context, Kept, Registry};
use crate::record::{EpochMeasures, GradientNorm, Measures, SharpnessCheck, Status, StepSeconds, fingerprint};
use crate::suite::Cell;

/// Samples of a pass over a full batch.
const FULL_BATCH_CHUNK: usize = 512;

/// Told of progress; drawn or printed by whoever listens.
pub trait Observer {
    /// A step was taken.
    fn step(&mut self, epoch: usize, step: usize, loss: f64);
    /// An epoch was finished and evaluated.
    fn epoch(&mut self, epoch: usize, measures: &EpochMeasures);
}

/// What trains: where it computes, and the optimizers it knows.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// Where it computes.
    pub compute: &'a Compute,
    /// The optimizers that a cell may name.
    pub registry: &'a Registry,
}

/// Everything an epoch of training adds to.
struct Session<'a> {
    cell: &'a Cell,
    data: &'a DataSet,
    compute: &'a Compute,
    step_cost: StepCost,
    trainer: Trainer<'a>,
    masks: Option<MaskState<'a>>,
    at: Position,
    epochs: Vec<EpochMeasures>,
    step_seconds: Vec<f64>,
    mask_seconds: f64,
    gradient_norms: Vec<GradientNorm>,
    edge: EdgeProbe,
    sharpness: Vec<SharpnessCheck>,
    flops_executed: u64,
    /// Whether the peak memory is this cell's, not the process's so far.
    peak_is_own: bool,
    /// The peak of the processes that trained it before.
    earlier_peak: Option<u64>,
    /// Files that could not be read and were left out.
    unreadable: Vec<String>,
    resumed: usize,
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
    /// Files that could not be read and were left out.
    pub unreadable: Vec<String>,
    /// How often it was interrupted and gone on with.
    pub resumed: usize,
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

/// How an epoch went.
enum Epoch {
    /// All its steps were taken.
    Done,
    /// The step at which the loss or a weight was no longer finite.
    Diverged(usize),
    /// The training is to stop.
    Stopped,
}

/// Trains a cell on its data set, on the CPU, without interruption.
///
/// # Errors
/// When a tensor operation fails. Divergence is a result, not an error.
pub fn train(cell: &Cell, data: &DataSet, observer: &mut dyn Observer) -> Result<Trained> {
    let setup = Setup { compute: Compute::CPU, registry: &Registry::standard() };
    let trained = train_from(cell, data, &setup, None, observer, &mut KeepNothing)?;
    trained.ok_or_else(|| Error::Usage("a training that nobody stops has stopped".into()))
}

/// Trains a cell on its data set, from the start or from a checkpoint of it on; nothing where `keeper` stopped it, which then has
/// the checkpoint.
///
/// # Errors
/// When a tensor operation fails, the checkpoint is of another cell, or `keeper` cannot keep one.
pub fn train_from(
    cell: &Cell,
    data: &DataSet,
    setup: &Setup<'_>,
    from: Option<Checkpoint>,
    observer: &mut dyn Observer,
    keeper: &mut dyn Keeper,
) -> Result<Option<Trained>> {
    let peak_is_own = memory::reset_peak();
    let model = model::build(&cell.model, Task { input: data.input, classes: data.classes }).map_err(Error::Usage)?;
    let layout = model.layout();
    let Setup { compute, registry } = *setup;
    let optimizer = Optimizer::new(&cell.optimizer, layout, registry).map_err(Error::Usage)?;
    let step_cost = registry.step_cost(&cell.optimizer).map_err(Error::Usage)?;
    let chunk = cell.full_batch_steps.map(|_| FULL_BATCH_CHUNK);
    let problem = Problem { model: model.as_ref(), objective: cell.objective, chunk, device: compute.device() };
    let trainer = Trainer::new(problem, optimizer, layout.init(cell.seed), RunningStats::new(layout));
    let mut session = Session {
        cell,
        data,
        compute,
        step_cost,
        trainer,
        masks: MaskState::new(cell, layout),
        at: Position::default(),
        epochs: Vec::new(),
        step_seconds: Vec::new(),
        mask_seconds: 0.0,
        gradient_norms: Vec::new(),
        edge: EdgeProbe::new(cell, layout),
        sharpness: Vec::new(),
        flops_executed: 0,
        peak_is_own,
        earlier_peak: None,
        unreadable: Vec::new(),
        resumed: 0,
    };
    if let Some(checkpoint) = from {
        session.restore(checkpoint).map_err(|e| Error::Usage(format!("the checkpoint of {}: {e}", cell.label())))?;
    }
    let mut status = Status::Completed;
    while session.at.epoch < cell.epochs {
        let epoch = session.at.epoch;
        match session.epoch(observer, keeper)? {
            Epoch::Done => {}
            Epoch::Diverged(step) => {
                status = Status::Diverged { epoch, step };
                break;
            }
            Epoch::Stopped => {
                keeper.keep(&session.checkpoint())?;
                return Ok(None);
            }
        }
        let Position { step, losses, lr, seconds: train_seconds, .. } = session.at;
        let (test_loss, test_accuracy) = evaluate(session.trainer.network(), data)?;
        let test_loss = test_loss.is_finite().then_some(test_loss);
        let train_loss = losses / step.max(1) as f64;
        let measures = EpochMeasures { lr, train_loss, test_loss, test_accuracy, train_seconds };
        observer.epoch(epoch, &measures);
        session.epochs.push(measures);
        if cell.measure.sharpness.is_some_and(|at| at.after(epoch, cell.epochs)) {
            session.sharpness.extend(sharpness(session.trainer.network(), data, cell, epoch)?);
        }
        session.at = Position { epoch: epoch + 1, ..Position::default() };
        // A training at its end is as good as kept: its record follows.
        if session.at.epoch < cell.epochs {
            let stops = keeper.stops();
            if keeper.is_due(epoch) || stops {
                keeper.keep(&session.checkpoint())?;
            }
            if stops {
                return Ok(None);
            }
        }
    }
    let measures = session.measures(model.as_ref(), status);
    session.note_unreadable();
    let Session { trainer, unreadable, resumed, .. } = session;
    let (weights, running) = trainer.into_parts();
    Ok(Some(Trained { status, measures, layout: layout.clone(), weights, running, unreadable, resumed }))
}

impl Session<'_> {
    /// Trains the rest of an epoch.
    fn epoch(&mut self, observer: &mut dyn Observer, keeper: &dyn Keeper) -> Result<Epoch> {
        let (cell, data) = (self.cell, self.data);
        let Position { epoch, drawn, .. } = self.at;
        let mut outcome = Epoch::Done;
        let steps = |batches: &Receiver<Result<Batch>>| {
            outcome = self.steps(batches, observer, keeper)?;
            Ok(())
        };
        match cell.full_batch_steps {
            None => data.epoch(cell.seed, (epoch, drawn), cell.batch_size, &cell.augment, steps)?,
            Some(n) => data.full_batches(cell.seed, epoch, drawn..n, steps)?,
        }
        Ok(outcome)
    }

    fn steps(
        &mut self,
        batches: &Receiver<Result<Batch>>,
        observer: &mut dyn Observer,
        keeper: &dyn Keeper,
    ) -> Result<Epoch> {
        let schedule = self.cell.schedule();
        loop {
            let start = Instant::now();
            let Ok(batch) = batches.recv() else { break };
            let (batch, waited) = (batch?, start.elapsed());
            self.at.drawn += 1;
            if batch.labels.is_empty() {
                continue;
            }
            let Position { epoch, step, .. } = self.at;
            let lr = schedule.lr(epoch, step);
            self.measure_gradient_norm()?;
            self.check_edge(&batch, lr)?;
            let start = Instant::now();
            let (masking, executed) = (self.mask_seconds, executed_flops());
            let loss = self.step(epoch, step, &batch, lr)?;
            self.flops_executed += executed_flops() - executed;
            let seconds = (waited + start.elapsed()).as_secs_f64();
            self.step_seconds.push(seconds - (self.mask_seconds - masking));
            if !loss.is_finite() {
                return Ok(Epoch::Diverged(step));
            }
            observer.step(epoch, step, loss);
            let Position { losses, seconds: before, .. } = self.at;
            self.at = Position { step: step + 1, losses: losses + loss, lr, seconds: before + seconds, ..self.at };
            if keeper.stops() {
                return Ok(Epoch::Stopped);
            }
        }
        if self.trainer.weights().iter().any(|w| !w.is_finite()) {
            return Ok(Epoch::Diverged(self.at.step.saturating_sub(1)));
        }
        Ok(Epoch::Done)
    }

    /// The training as it stands, between two steps.
    fn checkpoint(&mut self) -> Checkpoint {
        self.note_unreadable();
        let state = State {
            schema: State::SCHEMA,
            identity: identity(self.cell, self.data, self.compute),
            position: self.at,
            epochs: self.epochs.clone(),
            mask_seconds: self.mask_seconds,
            flops_executed: self.flops_executed,
            gradient_norms: self.gradient_norms.clone(),
            edge: self.edge.checks.clone(),
            sharpness: self.sharpness.clone(),
            mask_refreshes: self.masks.as_ref().map(|m| m.refreshes.clone()).unwrap_or_default(),
            peak_memory_bytes: self.peak(),
            unreadable: self.unreadable.clone(),
            resumed: self.resumed,
        };
        let Kept { vectors, numbers } = self.trainer.kept();
        let vectors = vectors.into_iter().map(|(name, values)| (name, Vector::F32(values.clone())));
        let mut vectors: BTreeMap<String, Vector> =
            vectors.chain(numbers.into_iter().map(|(name, number)| (name, Vector::F64(vec![*number])))).collect();
        vectors.insert("step_seconds".into(), Vector::F64(self.step_seconds.clone()));
        if let Some(masks) = &self.masks {
            vectors.insert("mask".into(), Vector::Flags(masks.mask().flags().to_vec()));
        }
        if let Some(eigenvector) = self.edge.eigenvector() {
            vectors.insert("eigenvector".into(), Vector::F64(eigenvector.to_vec()));
        }
        Checkpoint { state, vectors }
    }

    /// Goes on where `checkpoint` stands.
    fn restore(&mut self, checkpoint: Checkpoint) -> std::result::Result<(), String> {
        let Checkpoint { state, mut vectors } = checkpoint;
        if state.identity != identity(self.cell, self.data, self.compute) {
            return Err(format!("it is of {}", state.identity));
        }
        let n = self.trainer.weights().len();
        let Kept { vectors: kept, numbers } = self.trainer.kept();
        for (name, values) in kept {
            match vectors.remove(&name) {
                // What a method has not made yet may have been made before the training was kept.
                Some(Vector::F32(found)) if found.len() == values.len() || (values.is_empty() && found.len() == n) => {
                    *values = found;
                }
                _ => return Err(format!("it has no {name} of the model's length")),
            }
        }
        for (name, number) in numbers {
            match vectors.remove(&name) {
                Some(Vector::F64(found)) if found.len() == 1 => *number = found[0],
                _ => return Err(format!("it has no number {name}")),
            }
        }
        match vectors.remove("step_seconds") {
            Some(Vector::F64(found)) => self.step_seconds = found,
            _ => return Err("it has no times of steps".into()),
        }
        match (&mut self.masks, vectors.remove("mask")) {
            (None, None) => {}
            (Some(masks), Some(Vector::Flags(flags))) if flags.len() == n => {
                masks.restore(Mask::from_flags(flags), state.mask_refreshes);
            }
            _ => return Err("its mask is not of the model's length".into()),
        }
        match vectors.remove("eigenvector") {
            None => self.edge.restore(None, state.edge),
            Some(Vector::F64(found)) if found.len() == n => self.edge.restore(Some(found), state.edge),
            Some(_) => return Err("its eigenvector is not of the model's length".into()),
        }
        self.at = state.position;
        self.epochs = state.epochs;
        self.mask_seconds = state.mask_seconds;
        self.flops_executed = state.flops_executed;
        self.gradient_norms = state.gradient_norms;
        self.sharpness = state.sharpness;
        self.earlier_peak = state.peak_memory_bytes;
        self.unreadable = state.unreadable;
        self.resumed = state.resumed + 1;
        Ok(())
    }

    /// Notes the files that were left out since the last time, each once.
    fn note_unreadable(&mut self) {
        self.unreadable.extend(self.data.take_unreadable());
        self.unreadable.sort();
        self.unreadable.dedup();
    }

    /// Peak memory of the process while this cell ran, of the earlier ones too.
    fn peak(&self) -> Option<u64> {
        let own = if self.peak_is_own { memory::peak_bytes() } else { None };
        own.max(self.earlier_peak)
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
        let mask = self.masks.as_ref().map(MaskState::mask);
        let ascent: Option<AscentStep<'_>> = ascent.map(|ascent| ascent.step(step, mask));
        self.edge.check(self.trainer.network(), batch, (step, lr), ascent)
    }

    /// One step and the mask refresh that belongs to it.
    fn step(&mut self, epoch: usize, step: usize, batch: &Batch, lr: f64) -> Result<f64> {
        let due = if step == 0 { self.masks.as_ref().and_then(|m| m.due(epoch)) } else { None };
        let (mut next, mut seconds) = (None, 0.0);
        let taken = self.step_seconds.len();
        let masks = self.masks.as_ref();
        // By the batch's own scores: between perturbation and second pass, in force from the next batch.
        let mut between = |weights: &[f32], gradient: &[f32]| {
            if let (Some(masks), Some(refresh)) = (masks, due.filter(|refresh| !refresh.is_by_fisher())) {
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
        if let (Some(masks), Some(Refresh { score: Score::Fisher { samples, mode }, .. })) = (masks, due) {
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

    fn measures(&self, model: &dyn Model, status: Status) -> Measures {
        let (cell, epochs) = (self.cell, self.epochs.clone());
        let steps = self.step_seconds.len() as u64;
        let flops = flops::training(model.forward_macs(), cell.batch_size, steps, self.step_cost);
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
            peak_memory_bytes: self.peak(),
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
