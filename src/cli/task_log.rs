//! What a task says of its cells.

use std::collections::VecDeque;

use crate::exec::Watcher;
use crate::record::{EpochMeasures, Record};
use crate::suite::Cell;
use crate::train::Observer;

/// Lines that a note of failure keeps.
const LINES: usize = 20;

/// Lines on stderr, the last of which are kept.
#[derive(Default)]
pub(super) struct TaskLog {
    label: String,
    pub(super) last: VecDeque<String>,
}

impl TaskLog {
    pub(super) fn line(&mut self, line: String) {
        super::tell(&line);
        self.last.push_back(line);
        if self.last.len() > LINES {
            self.last.pop_front();
        }
    }
}

impl Observer for TaskLog {
    fn step(&mut self, _: usize, _: usize, _: f64) {}

    fn epoch(&mut self, epoch: usize, measures: &EpochMeasures) {
        let accuracy = measures.test_accuracy.map(|accuracy| format!(", accuracy {:.2}%", 100.0 * accuracy));
        let (epoch, accuracy) = (epoch + 1, accuracy.unwrap_or_default());
        self.line(format!("{}: epoch {epoch}, loss {:.4}{accuracy}", self.label, measures.train_loss));
    }
}

impl Watcher for TaskLog {
    fn resumed(&mut self, _: usize, _: &[&Cell]) {}

    fn start(&mut self, cell: &Cell, steps: usize) {
        self.label = cell.label();
        self.line(if steps == 0 {
            format!("{}: starts", self.label)
        } else {
            format!("{}: resumes after {steps} steps", self.label)
        });
    }

    fn finish(&mut self, record: &Record) {
        self.line(format!("{}: finished", record.cell.label()));
    }

    fn finished_elsewhere(&mut self, _: &Cell) {}
    fn wait(&mut self, _: usize) {}

    fn warn(&mut self, message: &str) {
        self.line(format!("warning: {message}"));
    }
}
