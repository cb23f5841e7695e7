//! `sharpbench work RUN`: a child of `suite --jobs`.

use std::collections::HashMap;
use std::io::BufRead;
use std::path::PathBuf;
use std::process::ExitCode;

use super::opened::{self, Opening};
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::exec::{LocalRun, Outcome, READY, Stop, Watcher, Worker, pin};
use crate::record::{EpochMeasures, Record, RunFolder, Selection};
use crate::registry::Registry;
use crate::suite::Cell;
use crate::train::{Observer, Setup};

#[derive(clap::Args)]
pub(super) struct Args {
    /// A run folder.
    run: PathBuf,
    #[command(flatten)]
    opening: Opening,
    /// Compute threads.
    #[arg(long, value_name = "N")]
    threads: usize,
    /// CPUs to pin this process to.
    #[arg(long, value_delimiter = ',', value_name = "CPU,...")]
    cpus: Vec<usize>,
    /// Cells trained at once on this machine.
    #[arg(long, value_name = "N")]
    jobs: usize,
}

/// Tells of what goes wrong, and of nothing else.
struct Quiet;

impl Observer for Quiet {
    fn step(&mut self, _: usize, _: usize, _: f64) {}
    fn epoch(&mut self, _: usize, _: &EpochMeasures) {}
}

impl Watcher for Quiet {
    fn resumed(&mut self, _: usize, _: &[&Cell]) {}
    fn start(&mut self, _: &Cell, _: usize) {}
    fn finish(&mut self, _: &Record) {}
    fn finished_elsewhere(&mut self, _: &Cell) {}
    fn wait(&mut self, _: usize) {}

    fn warn(&mut self, message: &str) {
        super::tell(&format!("warning: {message}"));
    }
}

pub(super) fn run(args: &Args, registry: &Registry) -> Result<ExitCode> {
    if !args.cpus.is_empty() && !pin(&args.cpus) {
        super::tell("warning: this process cannot be pinned to its CPUs");
    }
    // The parent has seen to it that they are not too many.
    super::start_threads(args.threads)?;
    let folder = RunFolder::at(&args.run);
    // Held by a child too: when its parent was killed, the run must not be cleared under it.
    let _working = folder.claim(false)?;
    let manifest = opened::manifest(&folder)?;
    let cells: HashMap<String, &Cell> = manifest.cells.iter().map(|cell| (cell.id(), cell)).collect();
    let data = args.opening.load(&folder, &manifest)?;
    let stop = Stop::patiently()?;
    let work = LocalRun {
        selection: Selection::all(&folder, &manifest),
        data: &data,
        setup: Setup { compute: &Compute::open(args.opening.device)?, registry },
        save_weights: args.opening.save_weights,
        checkpoint: args.opening.checkpoint,
        jobs: args.jobs,
        stop: stop.clone(),
    };
    let mut worker = Worker::new(&work)?;
    super::print(format!("{READY}\n"))?;
    for line in std::io::stdin().lock().lines() {
        let id = line.map_err(Error::io("read", "stdin"))?;
        let wrong = || Error::Run { path: args.run.clone(), message: format!("its plan has no cell {id}") };
        let cell = cells.get(id.trim()).ok_or_else(wrong)?;
        let outcome = match worker.train(cell, &mut Quiet)? {
            Outcome::Trained => "trained",
            Outcome::AlreadyFinished => "finished",
            Outcome::Held => "held",
            Outcome::Stopped => "stopped",
        };
        super::print(format!("{id} {outcome}\n"))?;
        if let Some(signal) = stop.signal() {
            return Ok(ExitCode::from(super::EXIT_SIGNAL + signal));
        }
    }
    Ok(ExitCode::SUCCESS)
}
