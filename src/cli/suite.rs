//! `sharpbench suite NAME|PATH`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::printing::Printing;
use super::running::{self, Wanted};
use super::until::Until;
use crate::error::Result;
use crate::registry::Registry;
use crate::suite::{DEFAULT_PROFILE, Filter, Plan, Suite};

/// Shown below the options.
pub(super) const EXAMPLES: &str = "\
Examples:
  # the main job: minutes on two cores
  sharpbench suite cifar10
  # every row in seconds, to try it out
  sharpbench suite cifar10 --profile smoke
  # without a network
  sharpbench suite mnist --data stand-in --offline
  sharpbench suite cifar10 --filter optimizer=sgd,optimizer=sam
  # more seeds until the claims are decided
  sharpbench suite cifar10 --until decided
  # a suite of your own (docs/models.md)
  sharpbench suite my-suite.toml --out runs/mine
Next: sharpbench report RUN --wide, or open the page in the run folder.";

#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of a suite (see `list`) or path of a .toml file.
    suite: String,
    /// Size of the experiment.
    #[arg(long, default_value = DEFAULT_PROFILE)]
    profile: String,
    /// Train only some cells, such as optimizer=sgd,optimizer=sam,seed=1234: those with one of the values
    /// given for each axis.
    #[arg(long, default_value = "", value_name = "AXIS=VALUE,...")]
    filter: Filter,
    /// Train more seeds of the rows whose claims are undecided, look after look, up to the maximum in the
    /// suite's claims (docs/statistics.md).
    #[arg(long, value_name = "WHEN")]
    until: Option<Until>,
    #[command(flatten)]
    printing: Printing,
    #[command(flatten)]
    running: running::Args,
}

pub(super) fn run(args: &Args, registry: &Registry) -> Result<ExitCode> {
    args.printing.check()?;
    let suite = Suite::read(&args.suite)?.with(registry);
    let wanted = Wanted {
        suite: &suite,
        profile: &args.profile,
        filter: &args.filter,
        until: args.until,
        goes_on: args.until.is_some(),
        report: &|folder, manifest| super::gather::publish(&args.printing, args.running.quiet, folder, manifest),
    };
    running::run(&args.running, &wanted, registry)
}

/// reports/<suite>-<profile>-<data>
pub(super) fn default_folder(plan: &Plan, data: &str) -> PathBuf {
    Path::new("reports").join(format!("{}-{}-{data}", plan.suite, plan.profile))
}
