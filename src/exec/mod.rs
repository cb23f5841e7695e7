//! Runs the cells of a plan.

mod local;

pub use local::{Run, Watcher, run};
