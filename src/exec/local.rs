//! Trains one cell after another in this process. Several processes may share a run folder: each
//! takes cells that no other process holds.

use std::time::Duration;

use super::Stop;
use super::keep::CellKeeper;
use crate::data::{self, DataSet};
use crate::error::Result;
use crate::record::{CellState, Published, Record, SCHEMA, Selection, TrainingProvenance};
use crate::suite::Cell;
use crate::train::{Checkpoint, Observer, ReferenceStep, Setup, identity, train_from};

/// Interval for checking whether another process has finished a cell it holds.
const POLL: Duration = Duration::from_millis(500);

/// Cells of a run that this process trains.
pub struct LocalRun<'a> {
    /// Cells to train, in order.
    pub selection: Selection<'a>,
    /// Training data.
    pub data: &'a DataSet,
    /// Compute device and optimizers.
    pub setup: Setup<'a>,
    /// Whether to save every cell's final weights.
    pub save_weights: bool,
    /// Epochs between checkpoints of a running cell, 0 for never; `None` for about once a minute.
    pub checkpoint: Option<usize>,
    /// Number of cells trained at once on this machine.
    pub jobs: usize,
    /// Stop request.
    pub stop: Stop,
}

/// How the work on a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every cell has a record.
    Finished,
    /// Stopped by this signal; the running cell was checkpointed.
    Stopped(u8),
}

/// Receives the progress of a run: the running cell and the outcome of each.
pub trait Watcher: Observer {
    /// Called with the number of cells that have records, and the cells that need training.
    fn resumed(&mut self, finished: usize, open: &[&Cell]);
    /// A cell starts, or resumes after `steps` steps.
    fn start(&mut self, cell: &Cell, steps: usize);
    /// A cell's record was published.
    fn finish(&mut self, record: &Record);
    /// Another process finished this cell.
    fn finished_elsewhere(&mut self, cell: &Cell);
    /// Waiting for this many cells that other processes hold.
    fn wait(&mut self, cells: usize);
    /// A warning for the user.
    fn warn(&mut self, message: &str);
}

/// Outcome of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Trained; its record is published.
    Trained,
    /// The cell already had a record.
    AlreadyFinished,
    /// Another process is training it.
    Held,
    /// Stopped and checkpointed.
    Stopped,
}

/// Trains cells one after another.
pub struct Worker<'a> {
    run: &'a LocalRun<'a>,
    reference: ReferenceStep,
}

impl<'a> Worker<'a> {
    /// Creates a worker for a run.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn new(run: &'a LocalRun<'a>) -> Result<Self> {
        Ok(Self { run, reference: ReferenceStep::new(run.setup.compute)? })
    }

    /// Trains a cell to its record, unless it has one, another process holds it, or a stop is
    /// requested.
    ///
    /// # Errors
    /// When a record cannot be read or written or a tensor operation fails.
    pub fn train(&mut self, cell: &Cell, watcher: &mut dyn Watcher) -> Result<Outcome> {
        let folder = self.run.selection.folder;
        let Some(_lock) = folder.lock(cell)? else { return Ok(Outcome::Held) };
        match folder.state(cell, &self.run.selection.manifest.data_sha256)? {
            CellState::Finished => return Ok(Outcome::AlreadyFinished),
            CellState::Open => {}
            CellState::Damaged(reason) => {
                let aside = folder.set_aside(cell)?;
                watcher.warn(&format!(
                    "the record of {} is damaged ({reason}); it is renamed to {} and the cell is trained again",
                    cell.label(),
                    aside.display()
                ));
            }
        }
        let trained = train_and_publish(self.run, cell, &mut self.reference, watcher)?;
        Ok(if trained { Outcome::Trained } else { Outcome::Stopped })
    }
}

/// Returns the cells of a run that have no record. For the others, removes files left by a process
/// that was killed right after publishing a record.
///
/// # Errors
/// When a record exists but cannot be read, or leftover files cannot be removed.
pub(super) fn open_cells(selection: Selection<'_>) -> Result<Vec<&Cell>> {
    let mut open = Vec::new();
    for cell in selection.cells {
        if selection.is_finished(cell)? {
            selection.folder.remove_checkpoint(cell)?;
            selection.folder.remove_failure(cell)?;
        } else {
            open.push(cell);
        }
    }
    Ok(open)
}

/// Trains every cell without a record. Cells that were running when a process was stopped or killed
/// resume from their checkpoints.
///
/// # Errors
/// When a record cannot be read or written or a tensor operation fails. Records already written
/// remain.
pub fn run(run: &LocalRun<'_>, watcher: &mut dyn Watcher) -> Result<Ended> {
    let mut open = open_cells(run.selection)?;
    watcher.resumed(run.selection.cells.len() - open.len(), &open);
    let mut worker = Worker::new(run)?;
    let mut waiting = false;
    while !open.is_empty() {
        let before = open.len();
        let mut held = Vec::new();
        for cell in open {
            if let Some(signal) = run.stop.signal() {
                return Ok(Ended::Stopped(signal));
            }
            match (worker.train(cell, watcher)?, run.stop.signal()) {
                (Outcome::Trained, _) => {}
                (Outcome::AlreadyFinished, _) => watcher.finished_elsewhere(cell),
                (Outcome::Stopped, Some(signal)) => return Ok(Ended::Stopped(signal)),
                (Outcome::Held | Outcome::Stopped, _) => held.push(cell),
            }
        }
        open = held;
        if open.len() == before {
            if !waiting {
                watcher.wait(open.len());
            }
            waiting = true;
            std::thread::sleep(POLL);
        }
    }
    Ok(Ended::Finished)
}

/// Returns true if the cell has its record now, or false if it was stopped and checkpointed.
fn train_and_publish(
    run: &LocalRun<'_>,
    cell: &Cell,
    reference: &mut ReferenceStep,
    watcher: &mut dyn Watcher,
) -> Result<bool> {
    let Selection { folder, manifest, .. } = run.selection;
    let from = kept(run, cell, watcher)?;
    watcher.start(
        cell,
        from.as_ref().map_or(0, |checkpoint| {
            let (epoch, step) = checkpoint.position();
            epoch * cell.steps_per_epoch() + step
        }),
    );
    let reference_step_seconds = reference.seconds()?;
    let mut keeper = CellKeeper::new(folder, cell, run.checkpoint, &run.stop);
    let Some(trained) = train_from(cell, run.data, &run.setup, from, watcher, &mut keeper)? else { return Ok(false) };
    if run.save_weights {
        folder.write_weights(cell, &trained.to_safetensors()?)?;
    }
    let record = Record {
        schema: SCHEMA,
        id: cell.id(),
        suite: manifest.suite.clone(),
        profile: manifest.profile.clone(),
        suite_hash: manifest.suite_hash.clone(),
        cell: cell.clone(),
        status: trained.status,
        measures: trained.measures,
        stand_in: manifest.stand_in,
        data: data::Provenance { unreadable: trained.unreadable, ..run.data.provenance.clone() },
        provenance: TrainingProvenance {
            jobs: run.jobs,
            gpu: run.setup.compute.gpu().map(str::to_string),
            ..TrainingProvenance::now()
        },
        reference_step_seconds,
        look: manifest.look_of(cell),
        resumed: trained.resumed,
        digest: None,
    }
    .sealed();
    if folder.publish(&record)? == Published::AlreadyThere {
        watcher.warn(&format!("another process finished {} first; its record is kept", cell.label()));
    }
    folder.remove_checkpoint(cell)?;
    folder.remove_failure(cell)?;
    watcher.finish(&record);
    if let [first, ..] = record.data.unreadable.as_slice() {
        let n = record.data.unreadable.len();
        watcher.warn(&format!("{n} unreadable files were left out, such as {first}; the record lists them"));
    }
    Ok(true)
}

/// Checkpoint of a cell, if it can be resumed.
fn kept(run: &LocalRun<'_>, cell: &Cell, watcher: &mut dyn Watcher) -> Result<Option<Checkpoint>> {
    let limit = || Checkpoint::most_bytes(cell, run.data, run.setup.registry);
    let Some(bytes) = run.selection.folder.read_checkpoint(cell, limit)? else { return Ok(None) };
    let expected = identity(cell, run.data, run.setup.compute);
    let reason = match bytes.and_then(|bytes| Checkpoint::from_bytes(&bytes)) {
        Ok(checkpoint) if checkpoint.identity() == expected => return Ok(Some(checkpoint)),
        Ok(checkpoint) => format!("it belongs to {}, not to {expected}", checkpoint.identity()),
        Err(reason) => reason,
    };
    watcher.warn(&format!("{} cannot be resumed from its checkpoint and restarts: {reason}", cell.label()));
    run.selection.folder.remove_checkpoint(cell)?;
    Ok(None)
}
