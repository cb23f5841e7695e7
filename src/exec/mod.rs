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
pub use local::{Ended, Outcome, Run, Watcher, Worker, run};
pub use stop::Stop;
