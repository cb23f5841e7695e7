//! Runs the cells of a plan: here, one after another, or in other processes, several at once; or on a cluster ([`slurm`]).

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
pub use stop::Stop;

/// Exit code of a task that its node failed: without data, disk or GPU. It may succeed elsewhere (EX_TEMPFAIL of sysexits.h).
pub(crate) const BAD_PLACE: u8 = 75;
