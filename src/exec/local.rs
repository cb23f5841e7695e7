//! One process, one cell after another. Several processes may share a run folder: each takes the cells no other
//! holds.

use std::time::Duration;

use super::Stop;
use super::keep::CellKeeper;
use crate::data::{self, DataSet};
use crate::error::Result;
use crate::record::{CellState, Published, Record, SCHEMA, Selection, TrainingProvenance};
use crate::suite::Cell;
use crate::train::{Checkpoint, Observer, ReferenceStep, Setup, identity, train_from};

/// How often to look whether another process has finished a cell it holds.
const POLL: Duration = Duration::from_millis(500);

/// Cells of a run that this process trains.
pub struct LocalRun<'a> {
    /// Cells to train, in order.
    pub selection: Selection<'a>,
    /// The data they train on.
    pub data: &'a DataSet,
    /// Where they train, by which optimizers.
    pub setup: Setup<'a>,
    /// Keep every trained cell's final weights.
    pub save_weights: bool,
    /// Epochs after which a cell at work is kept, 0 for never; where not given, about once a minute.
    pub checkpoint: Option<usize>,
    /// Cells that are trained at once on this machine.
    pub jobs: usize,
    /// Whether to stop.
    pub stop: Stop,
}

/// How the work on a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every cell has a record.
    Finished,
    /// By this signal; the cell at work was kept.
    Stopped(u8),
}

/// Told which cell is at work and what became of it.
pub trait Watcher: Observer {
    /// Cells that need no training (they have records), and those that do.
    fn resumed(&mut self, finished: usize, open: &[&Cell]);
    /// A cell starts, or goes on after so many of its steps.
    fn start(&mut self, cell: &Cell, steps: usize);
    /// A cell's record was published.
    fn finish(&mut self, record: &Record);
    /// Another process finished a cell.
    fn finished_elsewhere(&mut self, cell: &Cell);
    /// Cells are held by other processes; waiting for them.
    fn wait(&mut self, cells: usize);
    /// Something a person should know.
    fn warn(&mut self, message: &str);
}

/// What became of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was trained and has its record.
    Trained,
    /// It had one already.
    AlreadyFinished,
    /// Another process is training it.
    Held,
    /// It was stopped, and kept.
    Stopped,
}

/// Trains cells, one after another.
pub struct Worker<'a> {
    run: &'a LocalRun<'a>,
    reference: ReferenceStep,
}

impl<'a> Worker<'a> {
    /// Of a run.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn new(run: &'a LocalRun<'a>) -> Result<Self> {
        Ok(Self { run, reference: ReferenceStep::new(run.setup.compute)? })
    }

    /// Sees to it that a cell has a record, unless another process does or it is to stop.
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
                    "the record of {} is damaged ({reason}); it is kept as {} and the cell is trained again",
                    cell.label(),
                    aside.display()
                ));
            }
        }
        let trained = train_and_publish(self.run, cell, &mut self.reference, watcher)?;
        Ok(if trained { Outcome::Trained } else { Outcome::Stopped })
    }
}

/// The cells of a run that have no record. Of the others, what a process left behind that was killed right after it had published one is
/// removed.
///
/// # Errors
/// When a record is there but cannot be read, or what was left behind cannot be removed.
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

/// Trains every cell that has no record yet, those at work when a process was stopped or killed from where they were kept.
///
/// # Errors
/// When a record cannot be read or written or a tensor operation fails; records already written stay.
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

/// Whether the cell has its record now; if not, it was stopped and kept.
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
        resumed: trained.resumed,
    };
    if folder.publish(&record)? == Published::AlreadyThere {
        watcher.warn(&format!("{} was finished by another process first; its record stands", cell.label()));
    }
    folder.remove_checkpoint(cell)?;
    folder.remove_failure(cell)?;
    watcher.finish(&record);
    if let [first, ..] = record.data.unreadable.as_slice() {
        let n = record.data.unreadable.len();
        watcher.warn(&format!("{n} files could not be read and were left out, such as {first}; the record names them"));
    }
    Ok(true)
}

/// Where a cell was kept, if it can be gone on with.
fn kept(run: &LocalRun<'_>, cell: &Cell, watcher: &mut dyn Watcher) -> Result<Option<Checkpoint>> {
    let limit = || Checkpoint::most_bytes(cell, run.data);
    let Some(bytes) = run.selection.folder.read_checkpoint(cell, limit)? else { return Ok(None) };
    let expected = identity(cell, run.data, run.setup.compute);
    let reason = match bytes.and_then(|bytes| Checkpoint::from_bytes(&bytes)) {
        Ok(checkpoint) if checkpoint.identity() == expected => return Ok(Some(checkpoint)),
        Ok(checkpoint) => format!("it is of {}, not of {expected}", checkpoint.identity()),
        Err(reason) => reason,
    };
    watcher.warn(&format!("{} cannot go on where it was kept and starts anew: {reason}", cell.label()));
    run.selection.folder.remove_checkpoint(cell)?;
    Ok(None)
}
