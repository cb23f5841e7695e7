//! How every cell of a run stands, by its records, its notes of failure, and Slurm.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use super::squeue::TaskRow;
use super::state::Phase;
use super::submission::{Acceptance, Submission};
use crate::record::{Failure, RunFolder};
use crate::suite::Cell;

/// How a cell stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has its record.
    Finished,
    /// It has failed, and is not at work again.
    Failed(Failure),
    /// It waits in Slurm's queue, for this reason.
    Pending(String),
    /// It runs, on this node.
    Running(String),
    /// Its task has ended and left nothing: it was killed, say, or ran out of time or memory.
    Ended(Fate),
    /// It is with nobody.
    Open,
    /// It was submitted, and Slurm does not answer.
    Unknown,
}

/// What is known of a task that has ended without a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The array.
    pub job: u64,
    /// The task.
    pub task: usize,
    /// What Slurm says of it; nothing where it has forgotten the task.
    pub how: Option<String>,
    /// Its log.
    pub log: Option<PathBuf>,
}

impl Standing {
    /// Whether it may be in Slurm's hands.
    pub fn is_in_flight(&self) -> bool {
        matches!(self, Self::Pending(_) | Self::Running(_) | Self::Unknown)
    }

    /// Whether it is to be submitted; one that would fail again, only where `failed` ones are to be.
    pub fn is_missing(&self, failed: bool) -> bool {
        match self {
            Self::Open | Self::Ended(_) => true,
            Self::Failed(failure) => failed || failure.is_retried(),
            _ => false,
        }
    }
}

/// All cells with their standings.
pub struct Survey<'a> {
    /// In the order of the run.
    pub cells: Vec<(&'a Cell, Standing)>,
    /// Why Slurm did not answer, if it did not.
    pub silence: Option<String>,
}

impl<'a> Survey<'a> {
    /// Of these cells, by what was submitted with the rows of each.
    pub(super) fn new(
        folder: &RunFolder,
        cells: &'a [Cell],
        finished: &HashSet<String>,
        submissions: &[Submission],
        rows: std::result::Result<Vec<Vec<TaskRow>>, String>,
    ) -> Self {
        let mut tasks: HashMap<&str, (Standing, String)> = HashMap::new();
        for (place, submission) in submissions.iter().enumerate() {
            let rows = rows.as_ref().ok().map(|rows| rows[place].as_slice());
            stand(folder, submission, rows, &mut tasks);
        }
        let standing = |cell: &Cell| {
            let id = cell.id();
            if finished.contains(&id) {
                return Standing::Finished;
            }
            let (standing, task) = tasks.remove(id.as_str()).unwrap_or((Standing::Open, String::new()));
            match folder.failure(cell) {
                // A note of before counts no more while the cell is at work again.
                Some(failure) if !standing.is_in_flight() || failure.job.as_ref().is_some_and(|job| job.id == task) => {
                    Standing::Failed(failure)
                }
                _ => standing,
            }
        };
        let standings: Vec<Standing> = cells.iter().map(standing).collect();
        Self { cells: cells.iter().zip(standings).collect(), silence: rows.err() }
    }

    /// How many of the cells have their records.
    pub fn finished(&self) -> usize {
        self.cells.iter().filter(|(_, standing)| *standing == Standing::Finished).count()
    }

    /// How many may be in Slurm's hands.
    pub fn in_flight(&self) -> usize {
        self.cells.iter().filter(|(_, standing)| standing.is_in_flight()).count()
    }

    /// The notes of those that have failed.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.cells.iter().filter_map(|(_, standing)| match standing {
            Standing::Failed(failure) => Some(failure),
            _ => None,
        })
    }
}

/// Notes how the cells of a submission stand, each with its task's name: what is in flight hides what is not, later submissions hide earlier
/// ones.
fn stand<'s>(
    folder: &RunFolder,
    submission: &'s Submission,
    rows: Option<&[TaskRow]>,
    tasks: &mut HashMap<&'s str, (Standing, String)>,
) {
    let mut note = |id: &'s str, standing: Standing, name: String| {
        let hidden = tasks.get(id).is_some_and(|(known, _)| known.is_in_flight() && !standing.is_in_flight());
        if !hidden {
            tasks.insert(id, (standing, name));
        }
    };
    let job = match (submission.acceptance, &submission.job) {
        (Acceptance::Refused, _) => return,
        (_, Some(job)) => job.id,
        (_, None) => {
            submission.cells.iter().for_each(|id| note(id, Standing::Unknown, String::new()));
            return;
        }
    };
    let known: HashMap<usize, &TaskRow> = rows.unwrap_or_default().iter().map(|row| (row.index, row)).collect();
    for task in 0..submission.cells.len().div_ceil(submission.cells_per_task.max(1)) {
        let ended = |how| Standing::Ended(Fate { job, task, how, log: submission.log(folder, task) });
        let standing = match (rows, known.get(&task)) {
            (None, _) => Standing::Unknown,
            (_, None) if submission.acceptance == Acceptance::Cancelled => Standing::Open,
            (_, None) => ended(None),
            (_, Some(row)) => match row.phase() {
                Phase::Pending => Standing::Pending(row.reason.clone()),
                Phase::Running => Standing::Running(row.node.clone()),
                Phase::Unknown => Standing::Pending(row.state.clone()),
                Phase::Ended if submission.acceptance == Acceptance::Cancelled => Standing::Open,
                Phase::Ended if row.node.is_empty() => ended(Some(row.state.clone())),
                Phase::Ended => ended(Some(format!("{} on {}", row.state, row.node))),
            },
        };
        for id in submission.task(task) {
            note(id, standing.clone(), format!("{job}_{task}"));
        }
    }
}
