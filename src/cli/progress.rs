//! Progress on stderr: bars on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

use super::live::Live;
use crate::exec::Watcher;
use crate::record::{EpochMeasures, Record, Status};
use crate::suite::Cell;
use crate::terminal;
use crate::train::Observer;

/// Shortest time between two lines on epochs, where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// Shortest time between two lines of standings, where there is no terminal.
const STANDINGS_INTERVAL: Duration = Duration::from_secs(60);
/// Lines of standings on a terminal.
const STANDINGS_LINES: usize = 4;

/// Draws or prints what happens, and keeps the page up to date.
pub(super) struct Progress<'r> {
    quiet: bool,
    bars: Option<Bars>,
    live: Live<'r>,
    /// Short names of the cells by id.
    names: HashMap<String, String>,
    total: usize,
    finished: usize,
    /// Work in gradient evaluations: done in this process, left over all, and of one step of the running cell.
    work_done: u64,
    work_left: u64,
    step_work: u64,
    /// The running cell, and what of it is done.
    label: String,
    epochs: usize,
    cell_done: u64,
    /// What of it an earlier process had done.
    cell_kept: u64,
    started: Instant,
    told: Instant,
    standings_shown: Instant,
}

struct Bars {
    all: MultiProgress,
    cells: ProgressBar,
    epochs: ProgressBar,
    steps: ProgressBar,
    /// Text alone: how the settings stand.
    standings: ProgressBar,
}

/// Gradient evaluations of a step.
fn step_work(cell: &Cell) -> u64 {
    if cell.rho().is_some() { 2 } else { 1 }
}

/// Gradient evaluations of a cell: a measure of its length.
fn work(cell: &Cell) -> u64 {
    (cell.epochs * cell.steps_per_epoch()) as u64 * step_work(cell)
}

impl<'r> Progress<'r> {
    pub(super) fn new(cells: &[Cell], quiet: bool, live: Live<'r>) -> Self {
        Self {
            quiet,
            names: live.names(),
            live,
            bars: (!quiet && std::io::stderr().is_terminal()).then(Bars::new),
            total: cells.len(),
            finished: 0,
            work_done: 0,
            work_left: 0,
            step_work: 0,
            label: String::new(),
            epochs: 0,
            cell_done: 0,
            cell_kept: 0,
            started: Instant::now(),
            told: Instant::now(),
            standings_shown: Instant::now(),
        }
    }

    fn name(&self, cell: &Cell) -> String {
        self.names.get(&cell.id()).cloned().unwrap_or_else(|| cell.label())
    }

    /// A line for a person, unless quiet.
    pub(super) fn say(&self, line: &str) {
        if !self.quiet {
            self.line(line);
        }
    }

    fn line(&self, line: &str) {
        match &self.bars {
            Some(bars) => bars.all.println(super::printable(line)).unwrap_or_default(),
            None => super::tell(line),
        }
    }

    /// Removes the bars.
    pub(super) fn done(&self) {
        if let Some(bars) = &self.bars {
            bars.all.clear().unwrap_or_default();
        }
    }

    /// "about 5 minutes left", from the work done so far in this process; empty while that says nothing.
    fn left(&self) -> String {
        let done = self.work_done + self.cell_done;
        let left = self.work_left.saturating_sub(self.cell_done);
        if done == 0 || left == 0 {
            return String::new();
        }
        let seconds = self.started.elapsed().as_secs_f64() / done as f64 * left as f64;
        let left = Duration::try_from_secs_f64(seconds).ok();
        left.map_or_else(String::new, |left| format!(", about {} left", HumanDuration(left)))
    }

    /// Writes the page and shows how the settings stand. A page that cannot be written stops no training.
    fn publish(&mut self) {
        match self.live.update() {
            Ok(true) => self.show_standings(),
            Ok(false) => {}
            Err(e) => self.line(&format!("warning: the page is not up to date: {e}")),
        }
    }

    fn show_standings(&mut self) {
        let rows = self.live.standings();
        if rows.is_empty() {
            return;
        }
        let standings = format!("so far, best first: {rows}");
        if let Some(bars) = &self.bars {
            let lines = terminal::wrapped(&super::printable(&standings), terminal::stderr_width(), 2);
            let shown: Vec<&str> = lines.lines().take(STANDINGS_LINES).collect();
            bars.standings.set_message(shown.join("\n"));
        } else if !self.quiet && self.standings_shown.elapsed() > STANDINGS_INTERVAL {
            self.standings_shown = Instant::now();
            self.line(&standings);
        }
    }

    fn cell_is_done(&mut self, cell: &Cell) {
        self.finished += 1;
        self.work_left = self.work_left.saturating_sub(work(cell).saturating_sub(self.cell_kept));
        (self.cell_done, self.cell_kept) = (0, 0);
        if let Some(bars) = &self.bars {
            bars.cells.set_position(self.finished as u64);
        }
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
            standings: bar("{msg}"),
            all,
        }
    }
}

impl Observer for Progress<'_> {
    fn step(&mut self, _epoch: usize, step: usize, loss: f64) {
        self.cell_done += self.step_work;
        if let Some(bars) = &self.bars {
            bars.steps.set_position(step as u64 + 1);
            bars.steps.set_message(format!("loss {loss:.3}"));
            bars.cells.set_message(format!("{}{}", self.label, self.left()));
        }
    }

    fn epoch(&mut self, epoch: usize, measures: &EpochMeasures) {
        let accuracy = match measures.test_accuracy {
            Some(accuracy) => format!("test accuracy {:.2}%", 100.0 * accuracy),
            None => format!("loss {:.3}", measures.train_loss),
        };
        if let Some(bars) = &self.bars {
            bars.epochs.set_position(epoch as u64 + 1);
            bars.epochs.set_message(accuracy);
        } else if self.told.elapsed() > LINE_INTERVAL {
            self.told = Instant::now();
            self.say(&format!("  {} epoch {}/{}: {accuracy}{}", self.label, epoch + 1, self.epochs, self.left()));
        }
    }
}

impl Watcher for Progress<'_> {
    fn resumed(&mut self, finished: usize, open: &[&Cell]) {
        self.finished = finished;
        self.work_left = open.iter().copied().map(work).sum();
        self.started = Instant::now();
        if finished > 0 {
            self.say(&format!("{finished} of {} cells already have records", self.total));
        }
        if !open.is_empty() {
            match self.live.write() {
                Ok(()) => {
                    self.say(&format!("page, which you can reload while it trains: {}", self.live.path().display()))
                }
                Err(e) => self.line(&format!("warning: the page cannot be written: {e}")),
            }
        }
        if let Some(bars) = &self.bars {
            bars.cells.set_length(self.total as u64);
            bars.cells.set_position(finished as u64);
        }
        self.show_standings();
    }

    fn start(&mut self, cell: &Cell, steps: usize) {
        self.told = Instant::now();
        self.label = self.name(cell);
        self.epochs = cell.epochs;
        self.step_work = step_work(cell);
        self.cell_kept = steps as u64 * self.step_work;
        self.work_left = self.work_left.saturating_sub(self.cell_kept);
        if steps > 0 {
            let all = cell.epochs * cell.steps_per_epoch();
            self.say(&format!("{} resumes after {steps} of its {all} steps", self.label));
        }
        let Some(bars) = &self.bars else { return };
        bars.cells.set_message(self.label.clone());
        bars.epochs.set_length(cell.epochs as u64);
        bars.epochs.set_position((steps / cell.steps_per_epoch().max(1)) as u64);
        bars.steps.set_length(cell.steps_per_epoch() as u64);
        bars.steps.set_position(0);
    }

    fn finish(&mut self, record: &Record) {
        self.work_done += work(&record.cell).saturating_sub(self.cell_kept);
        self.cell_is_done(&record.cell);
        let outcome = match (record.status, record.measures.test_accuracy_last) {
            (Status::Diverged { epoch, step }, _) => format!("DIVERGED in epoch {epoch}, step {step}"),
            (Status::Completed, Some(accuracy)) => format!("{:.2}%", 100.0 * accuracy),
            (Status::Completed, None) => "finished".into(),
        };
        self.say(&format!(
            "[{}/{}] {}: {outcome} in {:.1} s{}",
            self.finished,
            self.total,
            self.name(&record.cell),
            record.measures.train_seconds,
            self.left()
        ));
        self.publish();
    }

    fn finished_elsewhere(&mut self, cell: &Cell) {
        self.cell_is_done(cell);
        self.publish();
    }

    fn wait(&mut self, cells: usize) {
        self.say(&format!("waiting for {cells} cells that another process is training"));
    }

    fn warn(&mut self, message: &str) {
        self.line(&format!("warning: {message}"));
    }
}
