//! One process, one cell after another. Several processes may share a run folder: each takes the cells no other
//! holds.

use std::time::Duration;

use crate::data::DataSet;
use crate::error::Result;
use crate::record::{CellState, Provenance, Published, Record, RunFolder, RunManifest, SCHEMA};
use crate::suite::Cell;
use crate::train::{Observer, ReferenceStep, train};

/// How often to look whether another process has finished a cell it holds.
const POLL: Duration = Duration::from_millis(500);

/// A run to work on.
pub struct Run<'a> {
    /// Where its records go.
    pub folder: &'a RunFolder,
    /// What it is.
    pub manifest: &'a RunManifest,
    /// Cells to train, in order.
    pub cells: &'a [Cell],
    /// The data they train on.
    pub data: &'a DataSet,
    /// Keep every trained cell's final weights.
    pub save_weights: bool,
}

/// Told which cell is at work and what became of it.
pub trait Watcher: Observer {
    /// Cells that need no training (they have records), and those that do.
    fn resumed(&mut self, finished: usize, open: &[&Cell]);
    /// A cell starts.
    fn start(&mut self, cell: &Cell);
    /// A cell's record was published.
    fn finish(&mut self, record: &Record);
    /// Another process finished a cell.
    fn finished_elsewhere(&mut self, cell: &Cell);
    /// Cells are held by other processes; waiting for them.
    fn wait(&mut self, cells: usize);
    /// Something a person should know.
    fn warn(&mut self, message: &str);
}

/// Trains every cell that has no record yet.
///
/// # Errors
/// When a record cannot be read or written or a tensor operation fails; records already written stay.
pub fn run(run: &Run<'_>, watcher: &mut dyn Watcher) -> Result<()> {
    let mut open = Vec::new();
    for cell in run.cells {
        if run.folder.state(cell, &run.manifest.data_sha256)? != CellState::Finished {
            open.push(cell);
        }
    }
    watcher.resumed(run.cells.len() - open.len(), &open);
    let mut reference = ReferenceStep::new()?;
    let mut waiting = false;
    while !open.is_empty() {
        let before = open.len();
        let mut held = Vec::new();
        for cell in open {
            let Some(_lock) = run.folder.lock(cell)? else {
                held.push(cell);
                continue;
            };
            match run.folder.state(cell, &run.manifest.data_sha256)? {
                // Since the last look, by another process.
                CellState::Finished => watcher.finished_elsewhere(cell),
                CellState::Open => train_and_publish(run, cell, &mut reference, watcher)?,
                CellState::Damaged(reason) => {
                    let aside = run.folder.set_aside(cell)?;
                    watcher.warn(&format!(
                        "the record of {} is damaged ({reason}); it is kept as {} and the cell is trained again",
                        cell.label(),
                        aside.display()
                    ));
                    train_and_publish(run, cell, &mut reference, watcher)?;
                }
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
    Ok(())
}

fn train_and_publish(
    run: &Run<'_>,
    cell: &Cell,
    reference: &mut ReferenceStep,
    watcher: &mut dyn Watcher,
) -> Result<()> {
    watcher.start(cell);
    let reference_step_seconds = reference.seconds()?;
    let trained = train(cell, run.data, watcher)?;
    if run.save_weights {
        run.folder.write_weights(cell, &trained.to_safetensors()?)?;
    }
    let record = Record {
        schema: SCHEMA,
        id: cell.id(),
        suite: run.manifest.suite.clone(),
        profile: run.manifest.profile.clone(),
        suite_hash: run.manifest.suite_hash.clone(),
        cell: cell.clone(),
        status: trained.status,
        measures: trained.measures,
        stand_in: run.manifest.stand_in,
        data: run.data.take_provenance(),
        provenance: Provenance::now(),
        reference_step_seconds,
    };
    if run.folder.publish(&record)? == Published::AlreadyThere {
        watcher.warn(&format!("{} was finished by another process first; its record stands", cell.label()));
    }
    watcher.finish(&record);
    if let [first, ..] = record.data.unreadable.as_slice() {
        let n = record.data.unreadable.len();
        watcher.warn(&format!("{n} files could not be read and were left out, such as {first}; the record names them"));
    }
    Ok(())
}
