//! `sharpbench compare BASELINE RUN`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use super::report::read_run;
use crate::compare::{Allowed, ComparisonFormat, Gate, Side, Verdict, compare};
use crate::error::{Error, Result};
use crate::record::RunFolder;
use crate::report::Report;

/// Maximum bytes of a gate file.
const LONGEST_GATE: u64 = 1 << 20;

/// Shown below the options.
pub(super) const EXAMPLES: &str = "\
Examples:
  # exit code 1 if something got worse
  sharpbench compare BASELINE RUN
  # for a pull request
  sharpbench compare BASELINE RUN --format markdown
  # with your own rules (docs/gate.md)
  sharpbench compare BASELINE RUN --gate gate.toml";

#[derive(clap::Args)]
pub(super) struct Args {
    /// Run folder of the baseline.
    baseline: PathBuf,
    /// Run folder to judge.
    run: PathBuf,
    /// File of rules, such as ci/gate.toml (docs/gate.md) [default: built-in rules].
    #[arg(long, value_name = "FILE")]
    gate: Option<PathBuf>,
    /// Differences between the runs to accept; all others are refused.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
    allow: Vec<Allow>,
    /// Format of the comparison.
    #[arg(long, value_enum, default_value = "table")]
    format: ComparisonFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Allow {
    /// Another version of the images: weights are not compared.
    Data,
    /// Another plan.
    Suite,
    /// Another type of machine, or another number of threads: bits and times are not compared.
    Machine,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let gate = match &args.gate {
        None => Gate::default(),
        Some(path) => {
            let text = crate::bounded::read_to_string(path, LONGEST_GATE).map_err(Error::io("read", path))?;
            Gate::parse(&text, &path.display().to_string())?
        }
    };
    if !RunFolder::at(&args.baseline).holds_run() {
        super::tell(&format!(
            "there is no baseline at {}; make one: sharpbench suite NAME --out {0}",
            args.baseline.display()
        ));
        return Ok(ExitCode::from(super::EXIT_INCOMPLETE));
    }
    let [baseline, run] = [read_run(&args.baseline)?, read_run(&args.run)?];
    let allow = |what| args.allow.contains(&what);
    let allowed = Allowed { data: allow(Allow::Data), suite: allow(Allow::Suite), machine: allow(Allow::Machine) };
    let records = [&baseline, &run].map(|(manifest, records)| Report::of_plan(manifest, records));
    let [old, new] =
        [(&baseline, &records[0]), (&run, &records[1])].map(|((manifest, _), records)| Side { manifest, records });
    let comparison = compare(old, new, &gate, allowed)?;
    super::print(comparison.render(args.format)?)?;
    comparison.warnings.iter().for_each(|warning| super::tell(&format!("warning: {warning}")));
    comparison.failures.iter().for_each(|failure| super::tell(&format!("the gate fails: {failure}")));
    Ok(match comparison.verdict {
        _ if !comparison.failures.is_empty() && comparison.verdict != Verdict::Missing => {
            ExitCode::from(super::EXIT_REGRESSION)
        }
        Verdict::Regressed => ExitCode::from(super::EXIT_REGRESSION),
        Verdict::Missing => ExitCode::from(super::EXIT_INCOMPLETE),
        Verdict::Unchanged | Verdict::Improved | Verdict::New | Verdict::Undecided => ExitCode::SUCCESS,
    })
}
