//! Status of every cell of a run, from its records, its failure notes, and Slurm.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use super::squeue::TaskRow;
use super::state::Phase;
use super::submission::{Acceptance, Submission};
use crate::record::{Failure, RunFolder};
use crate::suite::Cell;

/// Status of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has a record.
    Finished,
    /// It has failed and is not running again.
    Failed(Failure),
    /// It is pending in Slurm's queue, for this reason.
    Pending(String),
    /// It is running on this node.
    Running(String),
    /// Its task ended without a record or note, because it was killed or ran out of time or memory,
    /// for example.
    Ended(Fate),
    /// It is not submitted.
    Open,
    /// It was submitted, but Slurm does not respond.
    Unknown,
}

/// A task that ended without a record or note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Job id of the array.
    pub job: u64,
    /// Index of the task.
    pub task: usize,
    /// State reported by Slurm; `None` if Slurm has forgotten the task.
    pub how: Option<String>,
    /// Log of the task.
    pub log: Option<PathBuf>,
}

impl Standing {
    /// Whether Slurm may still run it.
    pub fn is_in_flight(&self) -> bool {
        matches!(self, Self::Pending(_) | Self::Running(_) | Self::Unknown)
    }

    /// Whether to submit it. Cells that would fail again count only if `failed` is set.
    pub fn is_missing(&self, failed: bool) -> bool {
        match self {
            Self::Open | Self::Ended(_) => true,
            Self::Failed(failure) => failed || failure.is_retried(),
            _ => false,
        }
    }
}

/// All cells with their status.
pub struct Survey<'a> {
    /// Cells and their status, in the order of the run.
    pub cells: Vec<(&'a Cell, Standing)>,
    /// Reason why Slurm did not respond, if so.
    pub silence: Option<String>,
}

impl<'a> Survey<'a> {
    /// Surveys these cells from the submissions, with squeue's rows for each.
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
                // An earlier note no longer counts while the cell is running again.
                Some(failure) if !standing.is_in_flight() || failure.job.as_ref().is_some_and(|job| job.id == task) => {
                    Standing::Failed(failure)
                }
                _ => standing,
            }
        };
        let standings: Vec<Standing> = cells.iter().map(standing).collect();
        Self { cells: cells.iter().zip(standings).collect(), silence: rows.err() }
    }

    /// Number of cells with records.
    pub fn finished(&self) -> usize {
        self.cells.iter().filter(|(_, standing)| *standing == Standing::Finished).count()
    }

    /// Number of cells that may be in flight.
    pub fn in_flight(&self) -> usize {
        self.cells.iter().filter(|(_, standing)| standing.is_in_flight()).count()
    }

    /// Failure notes of the failed cells.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.cells.iter().filter_map(|(_, standing)| match standing {
            Standing::Failed(failure) => Some(failure),
            _ => None,
        })
    }
}

/// Records the status of a submission's cells, each with the name of its task. Tasks in flight take
/// precedence over others, and later submissions over earlier ones.
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
