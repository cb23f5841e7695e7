//! One training, from its seed or a checkpoint to its end: epochs, steps and measurements.

mod resume;

use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::checkpoint::Checkpoint;
use super::edge::EdgeProbe;
use super::evaluate::{MOST_LEFT_OUT, evaluate, too_many};
use super::fisher::fisher_scores;
use super::gradient_norm::squared_gradient_norm;
use super::keeper::{KeepNothing, Keeper};
use super::landscape::Problem;
use super::masks::{MaskState, Observed};
use super::memory;
use super::observer::Observer;
use super::setup::Setup;
use super::sharpness::sharpness;
use super::state::{Position, TrainingState};
use super::step::{Optimizer, Trainer};
use super::step_costs::step_costs;
use super::trained::Trained;
use crate::compute::Compute;
use crate::data::DataSet;
use crate::data::loader::Batch;
use crate::error::{Error, Result};
use crate::flops;
use crate::mask::{Amount, Mask, Refresh, Score};
use crate::model::{Model, Task};
use crate::nn::RunningStats;
use crate::optim::{Context, OptimizerSpec};
use crate::record::{EpochMeasures, GradientNorm, Status, WARMUP_STEPS};
use crate::registry::Registry;
use crate::suite::Cell;

/// Samples per pass over a full batch.
const FULL_BATCH_CHUNK: usize = 512;

/// A training in progress.
struct Session<'a> {
    cell: &'a Cell,
    data: &'a DataSet,
    compute: &'a Compute,
    /// Whether the measured peak memory belongs to this cell alone rather than to the process so
    /// far.
    peak_is_own: bool,
    trainer: Trainer<'a>,
    masks: Option<MaskState<'a>>,
    edge: EdgeProbe,
    state: TrainingState,
}

/// Outcome of an epoch.
enum Epoch {
    /// All steps were taken.
    Done,
    /// The loss or a weight was no longer finite at this step.
    Diverged(usize),
    /// The training was stopped.
    Stopped,
}

/// Trains a cell on its data set, on the CPU, without interruption.
///
/// # Errors
/// When a tensor operation fails. Divergence is a result, not an error.
pub fn train(cell: &Cell, data: &DataSet, observer: &mut dyn Observer) -> Result<Trained> {
    let setup = Setup { compute: Compute::CPU, registry: &Registry::standard() };
    let trained = train_from(cell, data, &setup, None, observer, &mut KeepNothing)?;
    trained.ok_or_else(|| Error::Usage("the training stopped without a stop request".into()))
}

/// Trains a cell on its data set, from the start or from a checkpoint. Returns `None` if `keeper`
/// stopped it; `keeper` then has its checkpoint.
///
/// # Errors
/// When a tensor operation fails, the checkpoint belongs to another cell, or `keeper` cannot store
/// one.
pub fn train_from(
    cell: &Cell,
    data: &DataSet,
    setup: &Setup<'_>,
    from: Option<Checkpoint>,
    observer: &mut dyn Observer,
    keeper: &mut dyn Keeper,
) -> Result<Option<Trained>> {
    let noisy = cell.data.label_noise.map(|noise| data.with_label_noise(noise, cell.seed)).transpose()?;
    let labels_changed = noisy.as_ref().map(|(_, changed)| *changed);
    let data = noisy.as_ref().map_or(data, |(noisy, _)| noisy);
    let model =
        setup.registry.model(&cell.model, Task { input: data.input, classes: data.classes }).map_err(Error::Usage)?;
    let mut session = Session::new(cell, data, setup, model.as_ref())?;
    if let Some(checkpoint) = from {
        session.restore(checkpoint).map_err(|e| Error::Usage(format!("the checkpoint of {}: {e}", cell.label())))?;
    }
    let Some(status) = session.run(observer, keeper)? else { return Ok(None) };
    session.note_process();
    let cost = setup.registry.step_cost(&session.optimizer_seen(), model.layout()).map_err(Error::Usage)?;
    let Session { state, trainer, .. } = session;
    let flops = flops::training(model.forward_macs(), cell.samples(state.steps()), cost);
    let mut trained = Trained::new(model.as_ref(), status, state, flops, trainer.into_parts());
    trained.measures.labels_changed = labels_changed;
    Ok(Some(trained))
}

impl<'a> Session<'a> {
    fn new(cell: &'a Cell, data: &'a DataSet, setup: &Setup<'a>, model: &'a dyn Model) -> Result<Self> {
        let Setup { compute, registry } = *setup;
        let peak_is_own = memory::reset_peak();
        let layout = model.layout();
        let optimizer = Optimizer::new(&cell.optimizer, layout, registry).map_err(Error::Usage)?;
        let chunk = cell.full_batch_steps.map(|_| FULL_BATCH_CHUNK);
        let problem = Problem { model, objective: cell.objective, chunk, device: compute.device() };
        let trainer = Trainer::new(problem, optimizer, layout.init(cell.seed), RunningStats::new(layout));
        Ok(Self {
            cell,
            data,
            compute,
            peak_is_own,
            trainer,
            masks: MaskState::new(cell, layout, || step_costs(problem, data.input))?,
            edge: EdgeProbe::new(cell, layout),
            state: TrainingState::default(),
        })
    }

    /// Trains to the end; returns `None` if `keeper` stopped it, which then has its checkpoint.
    fn run(&mut self, observer: &mut dyn Observer, keeper: &mut dyn Keeper) -> Result<Option<Status>> {
        let epochs = self.cell.epochs;
        while self.state.position.epoch < epochs {
            let epoch = self.state.position.epoch;
            match self.epoch(observer, keeper)? {
                Epoch::Done => self.end_epoch(observer)?,
                Epoch::Diverged(step) => return Ok(Some(Status::Diverged { epoch, step })),
                Epoch::Stopped => {
                    keeper.keep(&self.checkpoint())?;
                    return Ok(None);
                }
            }
            // A finished training needs no checkpoint: its record follows.
            if self.state.position.epoch < epochs {
                let stops = keeper.stops();
                if keeper.is_due(epoch) || stops {
                    keeper.keep(&self.checkpoint())?;
                }
                if stops {
                    return Ok(None);
                }
            }
        }
        Ok(Some(Status::Completed))
    }

    /// Evaluates a finished epoch and moves on to the next.
    fn end_epoch(&mut self, observer: &mut dyn Observer) -> Result<()> {
        self.check_left_out()?;
        let Position { epoch, step, losses, lr, seconds: train_seconds, .. } = self.state.position;
        let tested = self.cell.tests_after(epoch).then(|| evaluate(self.trainer.network(), self.data)).transpose()?;
        let test_loss = tested.as_ref().map(|tested| tested.loss).filter(|loss| loss.is_finite());
        let test_accuracy = tested.as_ref().map(|tested| tested.accuracy);
        self.state.test_samples = tested.map(|tested| tested.samples).filter(|_| epoch + 1 == self.cell.epochs);
        let train_loss = losses / step.max(1) as f64;
        let measures = EpochMeasures { lr, train_loss, test_loss, test_accuracy, train_seconds };
        observer.epoch(epoch, &measures);
        self.state.epochs.push(measures);
        if self.cell.measure.sharpness.is_some_and(|at| at.after(epoch, self.cell.epochs)) {
            self.state.sharpness.extend(sharpness(self.trainer.network(), self.data, self.cell, epoch)?);
        }
        self.state.position = Position { epoch: epoch + 1, ..Position::default() };
        Ok(())
    }

    /// Trains the rest of an epoch.
    fn epoch(&mut self, observer: &mut dyn Observer, keeper: &dyn Keeper) -> Result<Epoch> {
        let (cell, data) = (self.cell, self.data);
        let Position { epoch, drawn, .. } = self.state.position;
        let mut outcome = Epoch::Done;
        let steps = |batches: &Receiver<Result<Batch>>| {
            outcome = self.steps(batches, observer, keeper)?;
            Ok(())
        };
        match cell.full_batch_steps {
            None => data.epoch(cell.seed, (epoch, drawn), (cell.batch_size, cell.keep_last), &cell.augment, steps)?,
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
            self.note_left_out(&batch);
            self.state.position.drawn += 1;
            if batch.labels.is_empty() {
                continue;
            }
            let Position { epoch, step, .. } = self.state.position;
            let lr = schedule.lr(epoch, step);
            self.measure_gradient_norm()?;
            self.check_edge(&batch, lr)?;
            let start = Instant::now();
            let (masking, executed) = (self.state.mask_seconds, self.trainer.flops_executed());
            let loss = self.step(epoch, step, &batch, lr)?;
            self.state.flops_executed += self.trainer.flops_executed() - executed;
            let seconds = (waited + start.elapsed()).as_secs_f64();
            self.state.step_seconds.push(seconds - (self.state.mask_seconds - masking));
            self.work_in_turn();
            if !loss.is_finite() {
                return Ok(Epoch::Diverged(step));
            }
            observer.step(epoch, step, loss);
            let position = &mut self.state.position;
            position.step += 1;
            position.losses += loss;
            position.lr = lr;
            position.seconds += seconds;
            if keeper.stops() {
                return Ok(Epoch::Stopped);
            }
        }
        if self.trainer.weights().iter().any(|w| !w.is_finite()) {
            return Ok(Epoch::Diverged(self.state.position.step.saturating_sub(1)));
        }
        Ok(Epoch::Done)
    }

    /// Times the fixed work after a step, if the suite requests it. Its time is not counted.
    fn work_in_turn(&mut self) {
        let step = self.state.steps();
        if step <= WARMUP_STEPS || !self.cell.measure.in_turn.is_some_and(|every| step.is_multiple_of(every)) {
            return;
        }
        let work = sharpbench_kernels::reference_work().as_secs_f64();
        let ratio = self.state.step_seconds.last().map(|seconds| seconds / work);
        self.state.steps_over_work.extend(ratio);
    }

    /// Counts the samples of a batch that could not be read.
    fn note_left_out(&mut self, batch: &Batch) {
        if self.data.train.label(0).is_some() {
            let before = self.state.position.drawn;
            let wanted = self.cell.samples(before + 1) - self.cell.samples(before);
            self.state.position.left_out += wanted.saturating_sub(batch.labels.len());
        }
    }

    /// Refuses an epoch without a step, or one that left out too many samples: it would be another training.
    fn check_left_out(&self) -> Result<()> {
        let Position { epoch, drawn, step, left_out, .. } = self.state.position;
        let wanted = self.cell.samples(drawn);
        if step == 0 || left_out as f64 > MOST_LEFT_OUT * wanted as f64 {
            return Err(Error::Data(too_many(left_out, wanted, &format!("the training samples of epoch {epoch}"))));
        }
        Ok(())
    }

    /// Records peak memory and the files newly left out.
    fn note_process(&mut self) {
        let peak = if self.peak_is_own { memory::peak_bytes() } else { None };
        let TrainingState { peak_memory_bytes, unreadable, .. } = &mut self.state;
        *peak_memory_bytes = peak.max(*peak_memory_bytes);
        unreadable.extend(self.data.take_unreadable());
        unreadable.sort();
        unreadable.dedup();
    }

    /// Measures the squared gradient norm before a step, if the suite requests it. Its time and
    /// FLOPs are not counted.
    fn measure_gradient_norm(&mut self) -> Result<()> {
        let step = self.state.steps();
        if self.cell.measure.gradient_norm.is_some_and(|every| step.is_multiple_of(every)) {
            let squared = squared_gradient_norm(self.trainer.network(), self.data)?;
            // A diverged training has no norm; the step reports the divergence.
            if squared.is_finite() {
                self.state.gradient_norms.push(GradientNorm { step: step as u64, squared });
            }
        }
        Ok(())
    }

    /// Measures the edge of stability before a step, if the suite requests it. Its time and FLOPs
    /// are not counted.
    fn check_edge(&mut self, batch: &Batch, lr: f64) -> Result<()> {
        let step = self.state.steps();
        if !self.cell.measure.edge.is_some_and(|every| step.is_multiple_of(every)) {
            return Ok(());
        }
        let ascent = self.cell.optimizer.ascent.as_ref();
        let (rho_factor, mask) = (self.cell.rho_factor(step, lr), self.masks.as_ref().map(MaskState::mask));
        let ascent = ascent.map(|ascent| ascent.step(rho_factor, mask));
        self.state.edge.extend(self.edge.check(self.trainer.network(), batch, (step, lr), ascent)?);
        Ok(())
    }

    /// Takes a step and refreshes the mask if due.
    fn step(&mut self, epoch: usize, step: usize, batch: &Batch, lr: f64) -> Result<f64> {
        let due = if step == 0 { self.masks.as_ref().and_then(|m| m.due(epoch)) } else { None };
        let first = self.masks.as_ref().is_some_and(MaskState::refreshes_first);
        if let Some(refresh) = due.filter(|_| first) {
            self.refresh(epoch, refresh, None)?;
        }
        let due = due.filter(|_| !first);
        let mut next = None;
        let taken = self.state.steps();
        let masks = self.masks.as_ref();
        if let Some(masks) = masks {
            self.state.live.0 += masks.live();
            self.state.live.1 += 1;
        }
        let mut seconds = 0.0;
        // Refresh by the batch's own scores, between perturbation and second pass. The new mask
        // applies from the next batch.
        let mut between = |weights: &[f32], gradient: &[f32]| {
            if let (Some(masks), Some(refresh)) = (masks, due.filter(|refresh| !refresh.is_by_fisher())) {
                let start = Instant::now();
                next = Some(masks.next_by_batch(epoch, refresh, &Observed { weights, gradient }));
                seconds += start.elapsed().as_secs_f64();
            }
        };
        let mut context = Context {
            seed: self.cell.seed,
            rho_factor: self.cell.rho_factor(taken, lr),
            mask: masks.map(|m| m.active(due)),
            between: Some(&mut between),
            ..Context::new(taken, self.cell.epochs * self.cell.steps_per_epoch())
        };
        let loss = self.trainer.step(batch, lr, &mut context)?;
        self.state.mask_seconds += seconds;
        // Refresh by Fisher scores, after the step of the epoch's first batch.
        if let Some(refresh) = due.filter(|refresh| next.is_some() || refresh.is_by_fisher()) {
            self.refresh(epoch, refresh, next)?;
        }
        Ok(loss)
    }

    /// Replaces the mask: by `next`, or by one that is chosen now, whose scores need no gradient of a batch.
    fn refresh(&mut self, epoch: usize, refresh: &Refresh, next: Option<Mask>) -> Result<()> {
        let Some(masks) = &self.masks else { return Ok(()) };
        let start = Instant::now();
        let mut fisher = None;
        let next = match (next, &refresh.score) {
            (Some(next), _) => next,
            (None, Score::Fisher { samples, mode }) => {
                let (settings, place) = ((*samples, *mode), (self.cell.seed, epoch));
                let network = self.trainer.counted_network();
                let scores = fisher_scores(network, self.data, &self.cell.augment, settings, place)?;
                let next = masks.next_by_fisher(epoch, &scores);
                fisher = Some(scores);
                next
            }
            (None, _) => {
                masks.next_by_batch(epoch, refresh, &Observed { weights: self.trainer.weights(), gradient: &[] })
            }
        };
        if let Some(masks) = &mut self.masks {
            self.state.mask_refreshes.push(masks.replace(epoch, next, fisher.as_deref()));
        }
        self.state.mask_seconds += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// The optimizer with the sparsity that its masks had on average, which patterns and whole tensors only approach.
    fn optimizer_seen(&self) -> OptimizerSpec {
        let mut seen = self.cell.optimizer.clone();
        let (live, steps) = self.state.live;
        if let Some(mask) = seen.ascent.as_mut().and_then(|ascent| ascent.mask.as_mut())
            && steps > 0
        {
            mask.amount = Amount::Sparsity(1.0 - live / steps as f64);
        }
        seen
    }
}
