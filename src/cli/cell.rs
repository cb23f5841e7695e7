//! `sharpbench cell --run RUN --plan FILE --index I`: a task of whatever runs tasks by their index. Its exit codes say what to do.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::device;
use super::opened::{self, Opening};
use super::task_log::TaskLog;
use crate::error::{Error, Result};
use crate::exec::{BAD_PLACE, LocalRun, Outcome, Stop, Worker};
use crate::record::{Failure, FailureClass, RunFolder, RunManifest, Selection};
use crate::registry::Registry;
use crate::suite::Cell;
use crate::suite::cell::numerics;
use crate::train::Setup;

/// A cell failed by its own doing.
const FAILED: u8 = 1;
/// Run, plan, index and program do not belong together (EX_USAGE of sysexits.h).
const MISMATCH: u8 = 64;
/// How often to look at a cell that another process trains.
const POLL: Duration = Duration::from_millis(500);

/// Exit codes: 0 the record exists, 1 the cell failed and would fail anywhere, 64 run, plan, index
/// and program do not match, 75 environment error: the cell may succeed elsewhere (no data, disk or
/// GPU), 128 + N stopped by signal N and checkpointed (130 Ctrl-C, 143 SIGTERM).
#[derive(clap::Args)]
pub(super) struct Args {
    /// The run folder that `suite` made.
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
    /// File with the ids of cells, one per line, as printed by `suite --executor plan`.
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// Index of the cell in the plan, from 0.
    #[arg(long, value_name = "I")]
    index: usize,
    /// Number of cells to train one after another, starting at index I times N.
    #[arg(long, value_name = "N", default_value = "1")]
    cells_per_task: std::num::NonZeroUsize,
    /// Exit with code 75 if the batch system assigned no GPU (CUDA_VISIBLE_DEVICES), or if this
    /// program was built with CUDA and cannot use it.
    #[arg(long)]
    needs_gpu: bool,
    /// Compute threads [default: all CPUs, or RAYON_NUM_THREADS].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    opening: Opening,
}

/// Why the process ends, and with which code.
struct End(u8, String);

impl End {
    fn because(code: u8) -> impl Fn(Error) -> Self {
        move |error| Self(code, error.to_string())
    }
}

pub(super) fn run(args: &Args, registry: &Registry) -> Result<ExitCode> {
    super::set_threads(args.threads)?;
    Ok(work(args, registry).unwrap_or_else(|End(code, message)| {
        super::tell(&format!("error: {message}"));
        ExitCode::from(code)
    }))
}

fn work(args: &Args, registry: &Registry) -> std::result::Result<ExitCode, End> {
    let folder = RunFolder::at(&args.run);
    if !args.run.is_dir() {
        return Err(End(
            BAD_PLACE,
            format!(
                "{} does not exist on this machine; put the run on storage that all nodes share",
                args.run.display()
            ),
        ));
    }
    let manifest = opened::manifest(&folder).map_err(|e| End(code_of(&e, MISMATCH), e.to_string()))?;
    let cells = wanted(args, &manifest)?;
    let _working = folder.claim(false).map_err(End::because(BAD_PLACE))?;
    let selection = Selection::all(&folder, &manifest);
    let mut open = Vec::new();
    for cell in cells {
        if selection.is_finished(cell).map_err(End::because(BAD_PLACE))? {
            super::tell(&format!("{}: already has a record", cell.label()));
        } else {
            open.push(cell);
        }
    }
    if open.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut task = CellTask { folder: &folder, log: TaskLog::default() };
    let bad_place = |reason| task.bad_place(&open, reason);
    let compute = device::of_task(args.opening.device, args.needs_gpu).map_err(bad_place)?;
    let data = args.opening.load(&folder, &manifest).map_err(|e| bad_place(e.to_string()))?;
    let stop = Stop::patiently().map_err(End::because(BAD_PLACE))?;
    let run = LocalRun {
        selection,
        data: &data,
        setup: Setup { compute: &compute, registry },
        save_weights: args.opening.save_weights,
        checkpoint: args.opening.checkpoint,
        jobs: 1,
        stop: stop.clone(),
    };
    let mut worker = Worker::new(&run).map_err(End::because(FAILED))?;
    let mut code = ExitCode::SUCCESS;
    for (done, cell) in open.iter().enumerate() {
        match train(&mut worker, cell, &stop, &mut task.log) {
            Ok(None) => {}
            Ok(Some(signal)) => return Ok(ExitCode::from(super::EXIT_SIGNAL + signal)),
            Err((BAD_PLACE, reason)) => return Err(task.bad_place(&open[done..], reason)),
            Err((failed, reason)) => {
                task.note(cell, FailureClass::Cell, failed, &reason);
                code = ExitCode::from(failed);
            }
        }
    }
    Ok(code)
}

/// The cells of the index.
fn wanted<'m>(args: &Args, manifest: &'m RunManifest) -> std::result::Result<Vec<&'m Cell>, End> {
    let mismatch = |message: String| End(MISMATCH, message);
    let plan = std::fs::read_to_string(&args.plan).map_err(Error::io("read", &args.plan));
    let plan = plan.map_err(|e| mismatch(e.to_string()))?;
    let all: HashMap<String, &Cell> = manifest.cells.iter().map(|cell| (cell.id(), cell)).collect();
    let each = args.cells_per_task.get();
    let lines: Vec<&str> = plan.lines().skip(args.index.saturating_mul(each)).take(each).collect();
    if lines.is_empty() {
        let all = plan.lines().count();
        return Err(mismatch(format!("{} has {all} lines, none for index {}", args.plan.display(), args.index)));
    }
    let cell = |id: &str| {
        let cell = all.get(id.trim()).ok_or_else(|| mismatch(format!("the run has no cell {id:?}")))?;
        let own = numerics(&cell.optimizer, &cell.model);
        if cell.numerics != own {
            return Err(mismatch(format!(
                "the run was planned for numerics {}, but this program has {own}; use the program that planned it",
                cell.numerics
            )));
        }
        Ok(*cell)
    };
    lines.into_iter().map(cell).collect()
}

/// Trains a cell, or waits for who does; the signal that stopped it, or the exit code and the reason of its failure.
fn train(
    worker: &mut Worker<'_>,
    cell: &Cell,
    stop: &Stop,
    log: &mut TaskLog,
) -> std::result::Result<Option<u8>, (u8, String)> {
    let mut told = false;
    loop {
        let outcome = catch_unwind(AssertUnwindSafe(|| worker.train(cell, log)));
        // What it panicked about is on stderr.
        let outcome = outcome.map_err(|_| (FAILED, "the program panicked".to_string()))?;
        match outcome.map_err(|e| (code_of(&e, FAILED), e.to_string()))? {
            Outcome::Trained | Outcome::AlreadyFinished => return Ok(None),
            Outcome::Held | Outcome::Stopped => {}
        }
        if let Some(signal) = stop.signal() {
            return Ok(Some(signal));
        }
        if !told {
            told = true;
            log.line(format!("{}: another process is training it; waiting", cell.label()));
        }
        std::thread::sleep(POLL);
    }
}

/// The exit code of an error: files, data and networks are the place's, anything else has a code of its own.
fn code_of(error: &Error, other: u8) -> u8 {
    match error {
        Error::Io { .. } | Error::Data(_) | Error::Device(_) | Error::Hub(_) => BAD_PLACE,
        _ => other,
    }
}

/// Cells of one task, and what to note where they fail.
struct CellTask<'a> {
    folder: &'a RunFolder,
    log: TaskLog,
}

impl CellTask<'_> {
    /// Notes that these cells met a bad place.
    fn bad_place(&self, cells: &[&Cell], reason: String) -> End {
        cells.iter().for_each(|cell| self.note(cell, FailureClass::Place, BAD_PLACE, &reason));
        End(BAD_PLACE, reason)
    }

    fn note(&self, cell: &Cell, class: FailureClass, code: u8, reason: &str) {
        super::tell(&format!("error: {}: {reason}", cell.label()));
        let failure = Failure {
            exit_code: Some(code),
            log: self.log.last.iter().cloned().collect(),
            ..Failure::new(cell, class, reason, self.folder.failure(cell))
        };
        if let Err(e) = self.folder.write_failure(cell, &failure) {
            super::tell(&format!("warning: {e}"));
        }
    }
}
