//! Runs the cells of a plan: in this process one after another, in several processes at once, or on
//! a cluster ([`slurm`]).

mod affinity;
mod jobs;
mod keep;
mod local;
pub mod slurm;
mod stop;

pub use affinity::{available, pin};
pub(crate) use jobs::READY;
pub use jobs::{Jobs, run_jobs};
pub use local::{Ended, LocalRun, Outcome, Watcher, Worker, run};
pub use stop::{Stop, survive_file_limit};

/// Exit code of a task with an environment error: no data, disk or GPU on its node. It may succeed
/// on another node (EX_TEMPFAIL of sysexits.h).
pub(crate) const BAD_PLACE: u8 = 75;
