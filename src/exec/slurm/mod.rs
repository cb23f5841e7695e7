//! Cells on a cluster: job arrays submitted with Slurm's own commands.
//!
//! Records in the run folder are authoritative. Slurm reports only what is in flight, and what
//! happened to cells without records. Errors (a job that runs twice, a submission that timed out
//! but was accepted, rows Slurm has forgotten) cost only time, since a cell with a record is not
//! trained again.
//!
//! ```text
//! slurm/<id>/plan.txt       ids of the cells, one per line: never changed, requeued jobs restart from it
//! slurm/<id>/task.sh        the script of a task
//! slurm/<id>/sharpbench     the program that runs it: later builds do not affect pending jobs
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
