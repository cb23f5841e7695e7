//! Reproducible benchmarks of SGD, SAM and sparse SAM on candle models: accuracy, wall-clock and FLOPs.
//!
//! Data flows one way. A suite file ([`suite`]) becomes a plan of cells, [`exec`] runs them,
//! [`train`] trains each one, and [`record`] stores the measurements. [`stats`] and [`report`] turn
//! records into tables, [`compare`] into verdicts.

pub mod bench;
mod bounded;
pub mod cli;
pub mod compare;
pub mod compute;
pub mod data;
mod digest;
mod error;
pub mod exec;
pub mod flops;
mod hub;
mod little_endian;
pub mod mask;
pub mod model;
pub mod nn;
pub mod optim;
pub mod parity;
pub mod random;
pub mod record;
mod registry;
pub mod report;
pub mod sharpness;
pub mod stats;
pub mod suite;
mod terminal;
pub mod train;
mod word;

pub use error::{Error, Result};
pub use registry::Registry;

use std::process::ExitCode;

/// Runs the program: parses the command line, runs the command and prints its error. Suites may
/// name the optimizers and models in `registry`.
///
/// A program with its own method or model is a `main` that calls this with
/// [`Registry::with_optimizer`] (`examples/own_optimizer.rs`) or [`Registry::with_model`]
/// (`examples/own_model.rs`).
pub fn run(registry: &Registry) -> ExitCode {
    match cli::run(registry) {
        Ok(code) => code,
        Err(error) => {
            cli::tell(&format!("error: {error}"));
            ExitCode::from(cli::EXIT_ERROR)
        }
    }
}
