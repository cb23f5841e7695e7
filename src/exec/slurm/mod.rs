//! Cells on a cluster: arrays of jobs through Slurm's own commands, submitted and left alone.
//!
//! Records in the run folder are the truth; Slurm is asked only what is in flight, and what became of cells that have none. Whatever goes
//! wrong (a job twice, a submission that timed out and was accepted, rows that Slurm has forgotten) costs time at most, since a cell does
//! nothing where its record is there.
//!
//! ```text
//! slurm/<id>/plan.txt       ids of the cells, one a line: never changed, jobs are begun anew from it
//! slurm/<id>/task.sh        the script of a task
//! slurm/<id>/sharpbench     the program that runs it: a later build changes nothing for jobs that wait
//! slurm/<id>/submit.json    what was submitted, and whether it was accepted
//! slurm/<id>/logs/          <job>_<task>.log
//! ```

mod accounting;
mod client;
mod resources;
mod sbatch;
mod script;
mod squeue;
#[cfg(all(test, unix))]
mod stand_ins;
mod state;
mod storage;
mod submission;
mod survey;
#[cfg(all(test, unix))]
mod tests;
mod tracker;

pub use client::{Slurm, absolute};
pub use resources::Resources;
pub use sbatch::{SubmissionRequest, chunk, end, is_busy, submit, submitting};
pub use script::script;
pub use squeue::{TaskRow, parse_squeue};
pub use state::{Phase, phase, stuck};
pub use storage::{check_path, unshared};
pub use submission::{Acceptance, JobId, Submission, read_submissions};
pub use survey::{Fate, Standing, Survey};
pub use tracker::Tracker;
