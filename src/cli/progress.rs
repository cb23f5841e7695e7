//! Progress on stderr: bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::exec::Watcher;
use crate::record::{EpochMeasures, Record, Status};
use crate::suite::{Cell, Plan};
use crate::train::Observer;

/// Draws or prints what happens.
pub(super) struct Progress {
    quiet: bool,
    bars: Option<Bars>,
    total: usize,
    finished: usize,
    /// Steps weighted by their gradient evaluations: done in this process, and left.
    work_done: u64,
    work_left: u64,
    started: Instant,
}

struct Bars {
    all: MultiProgress,
    cells: ProgressBar,
    epochs: ProgressBar,
    steps: ProgressBar,
}

/// Gradient evaluations of a cell: a measure of its length.
fn work(cell: &Cell) -> u64 {
    let per_step = if cell.rho().is_some() { 2 } else { 1 };
    (cell.epochs * cell.steps_per_epoch() * per_step) as u64
}

impl Progress {
    pub(super) fn new(plan: &Plan, quiet: bool) -> Self {
        let bars = (!quiet && std::io::stderr().is_terminal()).then(Bars::new);
        Self { quiet, bars, total: plan.cells.len(), finished: 0, work_done: 0, work_left: 0, started: Instant::now() }
    }

    /// A line for a person, unless quiet.
    pub(super) fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => bars.all.println(line).unwrap_or_default(),
            None if !self.quiet => eprintln!("{line}"),
            None => {}
        }
    }

    /// Removes the bars.
    pub(super) fn done(&self) {
        if let Some(bars) = &self.bars {
            bars.all.clear().unwrap_or_default();
        }
    }

    /// Time left, from the work done so far in this process.
    fn left(&self) -> Option<Duration> {
        let rate = self.started.elapsed().as_secs_f64() / self.work_done as f64;
        rate.is_finite().then(|| Duration::from_secs_f64(rate * self.work_left as f64))
    }
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let bar = |template: &str| {
            let bar = all.add(ProgressBar::new(0));
            ProgressStyle::with_template(template).map_or(bar.clone(), |style| bar.with_style(style))
        };
        Self {
            cells: bar("cells  {bar:30} {pos}/{len} {msg}"),
            epochs: bar("epochs {bar:30} {pos}/{len} {msg}"),
            steps: bar("steps  {bar:30} {pos}/{len} {msg}"),
            all,
        }
    }
}

impl Observer for Progress {
    fn step(&mut self, _epoch: usize, step: usize, loss: f64) {
        if let Some(bars) = &self.bars {
            bars.steps.set_position(step as u64 + 1);
            bars.steps.set_message(format!("loss {loss:.3}"));
        }
    }

    fn epoch(&mut self, epoch: usize, measures: &EpochMeasures) {
        if let Some(bars) = &self.bars {
            bars.epochs.set_position(epoch as u64 + 1);
            bars.epochs.set_message(format!("test accuracy {:.2}%", 100.0 * measures.test_accuracy));
        }
    }
}

impl Watcher for Progress {
    fn resumed(&mut self, finished: usize, open: &[&Cell]) {
        self.finished = finished;
        self.work_left = open.iter().copied().map(work).sum();
        if finished > 0 {
            self.say(&format!("{finished} of {} cells already have records", self.total));
        }
        if let Some(bars) = &self.bars {
            bars.cells.set_length(self.total as u64);
            bars.cells.set_position(finished as u64);
        }
    }

    fn start(&mut self, cell: &Cell) {
        let Some(bars) = &self.bars else { return };
        bars.cells.set_message(cell.label());
        bars.epochs.set_length(cell.epochs as u64);
        bars.epochs.set_position(0);
        bars.steps.set_length(cell.steps_per_epoch() as u64);
        bars.steps.set_position(0);
    }

    fn finish(&mut self, record: &Record) {
        self.finished += 1;
        self.work_done += work(&record.cell);
        self.work_left = self.work_left.saturating_sub(work(&record.cell));
        let outcome = match (record.status, record.measures.test_accuracy_last) {
            (Status::Diverged { epoch, step }, _) => format!("DIVERGED in epoch {epoch}, step {step}"),
            (Status::Completed, Some(accuracy)) => format!("{:.2}%", 100.0 * accuracy),
            (Status::Completed, None) => "finished".into(),
        };
        let left = self.left().filter(|_| self.finished < self.total);
        let left = left.map(|d| format!(", about {} left", indicatif::HumanDuration(d))).unwrap_or_default();
        self.say(&format!(
            "[{}/{}] {}: {outcome} in {:.1} s{left}",
            self.finished,
            self.total,
            record.cell.label(),
            record.measures.train_seconds
        ));
        if let Some(bars) = &self.bars {
            bars.cells.set_position(self.finished as u64);
        }
    }

    fn wait(&mut self, cells: usize) {
        if let Some(bars) = &self.bars {
            bars.cells.set_message(format!("waiting for {cells} cells that another process trains"));
        }
    }

    fn warn(&mut self, message: &str) {
        let line = format!("warning: {message}");
        match &self.bars {
            Some(bars) => bars.all.println(line).unwrap_or_default(),
            None => eprintln!("{line}"),
        }
    }
}
