//! Runs the cells of a plan.

mod keep;
mod local;
mod stop;

pub use local::{Ended, Run, Watcher, run};
pub use stop::Stop;
