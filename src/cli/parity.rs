//! `sharpbench parity CASE.safetensors`.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::compute::{Compute, DeviceChoice};
use crate::error::Result;
use crate::parity::{ParityComparison, replay};
use crate::registry::Registry;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Parity cases (docs/parity.md).
    #[arg(required = true)]
    cases: Vec<PathBuf>,
    /// Device to replay them on: auto, cpu, cuda:N or metal.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

pub(super) fn run(args: &Args, registry: &Registry) -> Result<ExitCode> {
    let compute = Compute::open(args.device)?;
    let mut agreeing = 0;
    for case in &args.cases {
        let comparison = replay(case, &compute, registry)?;
        agreeing += usize::from(comparison.passes());
        super::print(super::printable(&format!("{}\n{}", case.display(), text(&comparison))))?;
    }
    let all = args.cases.len();
    if all > 1 {
        super::print(format!("{agreeing} of {all} cases agree\n"))?;
    }
    Ok(if agreeing == all { ExitCode::SUCCESS } else { ExitCode::from(super::EXIT_REGRESSION) })
}

fn text(comparison: &ParityComparison) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for (name, error) in &comparison.errors {
        let mark = if *error <= comparison.tolerance { "" } else { "  ABOVE TOLERANCE" };
        writeln!(text, "  {name:<32}{error:.2e}{mark}").ok();
    }
    let verdict = if comparison.passes() { "agrees" } else { "DISAGREES" };
    let (name, error) = comparison.worst().unwrap_or(("nothing", 0.0));
    writeln!(
        text,
        "{verdict} with {} after {} steps: worst relative error {error:.2e} ({name}), tolerance {:.0e}",
        comparison.generator, comparison.steps, comparison.tolerance
    )
    .ok();
    text
}
