//! The options of `sharpbench suite` that say who trains, and what tasks on a cluster are given.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::exec::slurm::{self, Resources};

/// Tasks of an array at most, where neither the user nor the cluster says less.
const ARRAY_MAX: usize = 1000;
/// Memory of a task.
const MEMORY: &str = "4G";
/// Options of sbatch that would part the tasks from their plan.
const OWN: [&str; 8] = ["--array", "-a", "--job-name", "-J", "--wrap", "--wait", "-W", "--test-only"];

/// Who trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Executor {
    /// This machine.
    Local,
    /// Slurm: submit the cells without a record as job arrays, and return.
    Slurm,
    /// Train nothing: create the run folder and print the ids of the cells without a record, a plan
    /// for `sharpbench cell`.
    Plan,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct Args {
    /// Where the cells are trained (docs/cluster.md). The options below are for slurm.
    #[arg(long, value_enum, default_value = "local")]
    pub(super) executor: Executor,
    /// Partition.
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
    /// Account to charge.
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Quality of service.
    #[arg(long, value_name = "NAME")]
    qos: Option<String>,
    /// Time limit of a task, covering all its cells, such as 02:00:00 [default: the partition's].
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// CPUs, and compute threads, of a task [default: 1].
    #[arg(long, value_name = "N")]
    cpus: Option<std::num::NonZeroUsize>,
    /// Memory of a task [default: 4G].
    #[arg(long, value_name = "SIZE")]
    mem: Option<String>,
    /// Generic resources of a task, such as gpu:1.
    #[arg(long, value_name = "LIST")]
    gres: Option<String>,
    /// Features that nodes must have. Times from different types of node are not compared.
    #[arg(long, value_name = "LIST")]
    constraint: Option<String>,
    /// Tasks of each array that run at once [default: as many as the cluster allows].
    #[arg(long, value_name = "N")]
    array_limit: Option<std::num::NonZeroUsize>,
    /// Largest number of tasks in an array; more cells are split over several arrays [default:
    /// 1000, or the cluster's MaxArraySize].
    #[arg(long, value_name = "N")]
    array_max: Option<std::num::NonZeroUsize>,
    /// Cells that a task trains one after another; useful for cells of less than about a minute
    /// [default: 1].
    #[arg(long, value_name = "N")]
    cells_per_task: Option<std::num::NonZeroUsize>,
    /// Shell script that every task sources first, for example to load modules.
    #[arg(long, value_name = "FILE")]
    setup: Option<PathBuf>,
    /// Additional option for sbatch, such as --sbatch-arg=--nice=100; may be given several times.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    sbatch_arg: Vec<String>,
    /// Print what would be submitted, and submit nothing.
    #[arg(long)]
    dry_run: bool,
    /// Wait until the cells are trained, then print the report. Cells that failed with an
    /// environment error are submitted again. Ctrl-C stops the waiting, not the cells.
    #[arg(long)]
    pub(super) wait: bool,
    /// Seconds between queries to Slurm, with --wait [default: 30].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(super::status::POLLS))]
    pub(super) poll: Option<u64>,
    /// Also submit cells that have failed and are expected to fail again.
    #[arg(long)]
    pub(super) retry_failed: bool,
}

impl Args {
    /// Refuses options that are another executor's.
    pub(super) fn check(&self, local: &[(&str, bool)]) -> Result<()> {
        let own = [
            ("--partition", self.partition.is_some()),
            ("--account", self.account.is_some()),
            ("--qos", self.qos.is_some()),
            ("--time", self.time.is_some()),
            ("--cpus", self.cpus.is_some()),
            ("--mem", self.mem.is_some()),
            ("--gres", self.gres.is_some()),
            ("--constraint", self.constraint.is_some()),
            ("--array-limit", self.array_limit.is_some()),
            ("--array-max", self.array_max.is_some()),
            ("--cells-per-task", self.cells_per_task.is_some()),
            ("--setup", self.setup.is_some()),
            ("--sbatch-arg", !self.sbatch_arg.is_empty()),
            ("--dry-run", self.dry_run),
            ("--wait", self.wait),
            ("--poll", self.poll.is_some()),
            ("--retry-failed", self.retry_failed),
        ];
        let given = |options: &[(&str, bool)]| -> Vec<String> {
            options.iter().filter(|(_, given)| *given).map(|(name, _)| (*name).to_string()).collect()
        };
        let is_slurm = self.executor == Executor::Slurm;
        let (foreign, whose) = match self.executor {
            Executor::Slurm => (given(local), "for --executor local; use --cpus, --mem or --array-limit instead"),
            Executor::Local => (given(&own), "for --executor slurm; add that"),
            Executor::Plan => (
                [given(local), given(&own)].concat(),
                "of no use to --executor plan, which trains nothing; use another executor",
            ),
        };
        if !foreign.is_empty() {
            let verb = if foreign.len() == 1 { "is" } else { "are" };
            return Err(Error::Usage(format!("{} {verb} {whose}, or remove it", foreign.join(", "))));
        }
        if self.poll.is_some() && !self.wait {
            return Err(Error::Usage("--poll is for --wait; add --wait, or remove --poll".into()));
        }
        for option in self.sbatch_arg.iter().filter(|_| is_slurm) {
            let name = option.split('=').next().unwrap_or_default();
            if !option.starts_with('-') || OWN.contains(&name) {
                return Err(Error::Usage(format!(
                    "--sbatch-arg={option} cannot be added; write it as --sbatch-arg=--name=value, with a name other than {}",
                    OWN.join(" ")
                )));
            }
        }
        Ok(())
    }

    pub(super) fn is_dry(&self) -> bool {
        self.dry_run
    }

    pub(super) fn resources(&self) -> Result<Resources> {
        let number =
            |given: Option<std::num::NonZeroUsize>, default| given.map_or(default, std::num::NonZeroUsize::get);
        let setup = self.setup.as_deref().map(slurm::absolute).transpose()?;
        if let Some(setup) = setup.as_ref().filter(|setup| !setup.is_file()) {
            return Err(Error::Usage(format!(
                "--setup {} does not exist or is not a file; name a shell script",
                setup.display()
            )));
        }
        Ok(Resources {
            partition: self.partition.clone(),
            account: self.account.clone(),
            qos: self.qos.clone(),
            time: self.time.clone(),
            cpus: number(self.cpus, 1),
            mem: self.mem.clone().unwrap_or_else(|| MEMORY.into()),
            gres: self.gres.clone(),
            constraint: self.constraint.clone(),
            array_limit: self.array_limit.map(std::num::NonZeroUsize::get),
            array_max: number(self.array_max, ARRAY_MAX),
            cells_per_task: number(self.cells_per_task, 1),
            setup,
            more: self.sbatch_arg.clone(),
        })
    }
}
