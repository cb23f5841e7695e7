//! One process, one cell after another. Several processes may share a run folder: each takes the cells no other
//! holds.

use std::time::Duration;

use crate::data::DataSet;
use crate::error::Result;
use crate::record::{Provenance, Published, Record, RunFolder, RunManifest, SCHEMA};
use crate::suite::Cell;
use crate::train::{Observer, Trained, train};

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
    /// Revision of the program's sources.
    pub git_revision: Option<String>,
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
    /// Cells are held by other processes; waiting for them.
    fn wait(&mut self, cells: usize);
    /// Something a person should know.
    fn warn(&mut self, message: &str);
}

/// Trains every cell that has no record yet.
///
/// # Errors
/// When a record cannot be written or a tensor operation fails; records already written stay.
pub fn run(run: &Run<'_>, watcher: &mut dyn Watcher) -> Result<()> {
    for (path, reason) in run.folder.scan()?.damaged {
        let aside = run.folder.set_aside(&path)?;
        watcher.warn(&format!(
            "{} is damaged ({reason}); it is kept as {} and its cell is trained again",
            path.display(),
            aside.display()
        ));
    }
    let mut open: Vec<&Cell> = run.cells.iter().filter(|c| !run.folder.has(c)).collect();
    watcher.resumed(run.cells.len() - open.len(), &open);
    while !open.is_empty() {
        let before = open.len();
        let mut held = Vec::new();
        for cell in open {
            match run.folder.lock(cell)? {
                None => held.push(cell),
                // It may have been finished elsewhere since the last look.
                Some(_) if run.folder.has(cell) => {}
                Some(_lock) => train_and_publish(run, cell, watcher)?,
            }
        }
        open = held;
        open.retain(|cell| !run.folder.has(cell));
        if !open.is_empty() && open.len() == before {
            watcher.wait(open.len());
            std::thread::sleep(POLL);
        }
    }
    Ok(())
}

fn train_and_publish(run: &Run<'_>, cell: &Cell, watcher: &mut dyn Watcher) -> Result<()> {
    watcher.start(cell);
    let Trained { status, measures, safetensors } = train(cell, run.data, watcher)?;
    if run.save_weights {
        run.folder.write_weights(cell, &safetensors)?;
    }
    let record = Record {
        schema: SCHEMA,
        id: cell.id(),
        suite: run.manifest.suite.clone(),
        profile: run.manifest.profile.clone(),
        suite_hash: run.manifest.suite_hash.clone(),
        cell: cell.clone(),
        status,
        measures,
        data: run.data.provenance.clone(),
        provenance: Provenance::now(run.git_revision.clone()),
    };
    if run.folder.publish(&record)? == Published::AlreadyThere {
        watcher.warn(&format!("{} was finished by another process first; its record stands", cell.label()));
    }
    watcher.finish(&record);
    Ok(())
}
