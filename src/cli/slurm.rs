//! `sharpbench suite NAME --executor slurm`: submits the cells that are missing, and leaves or waits.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::opened::Opening;
use super::status::{self, missing};
use crate::data::DataSource;
use crate::error::{Error, Result};
use crate::exec::Stop;
use crate::exec::slurm::{self, Acceptance, Request, Resources, Slurm, Standing, Survey, Tracker};
use crate::record::{FailureClass, RunFolder, RunManifest, bad_nodes};
use crate::report::Format;
use crate::suite::Cell;

/// Tasks of an array at most, where neither the user nor the cluster says less.
const ARRAY_MAX: usize = 1000;
/// Memory of a task.
const MEMORY: &str = "4G";
/// How often cells that met bad places are submitted again while this process waits.
const ROUNDS: usize = 3;
/// How often to listen for signals while waiting.
const TICK: Duration = Duration::from_millis(200);
/// Options of sbatch that would part the tasks from their plan.
const OWN: [&str; 8] = ["--array", "-a", "--job-name", "-J", "--wrap", "--wait", "-W", "--test-only"];

/// Who trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Executor {
    /// This machine.
    Local,
    /// Slurm: the cells without a record are submitted as arrays of jobs, and left.
    Slurm,
    /// Nobody: the run folder is made, and the ids of the cells without a record are printed, a plan for `sharpbench cell`.
    Plan,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct Args {
    /// Who trains (docs/cluster.md). All that follows is for slurm.
    #[arg(long, value_enum, default_value = "local")]
    pub(super) executor: Executor,
    /// Partition.
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
    /// Account that pays.
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Quality of service.
    #[arg(long, value_name = "NAME")]
    qos: Option<String>,
    /// Time limit of a task, for all its cells, such as 02:00:00 [default: the partition's].
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// CPUs of a task; as many threads compute [default: 1].
    #[arg(long, value_name = "N")]
    cpus: Option<std::num::NonZeroUsize>,
    /// Memory of a task [default: 4G].
    #[arg(long, value_name = "SIZE")]
    mem: Option<String>,
    /// Generic resources of a task, such as gpu:1.
    #[arg(long, value_name = "LIST")]
    gres: Option<String>,
    /// Features that nodes must have: times of different types of node are not compared.
    #[arg(long, value_name = "LIST")]
    constraint: Option<String>,
    /// Tasks that run at once, of each array [default: as many as the cluster lets].
    #[arg(long, value_name = "N")]
    array_limit: Option<std::num::NonZeroUsize>,
    /// Tasks of an array at most: more cells make more arrays [default: 1000, or the cluster's MaxArraySize].
    #[arg(long, value_name = "N")]
    array_max: Option<std::num::NonZeroUsize>,
    /// Cells that a task trains, one after another: for cells of less than about a minute [default: 1].
    #[arg(long, value_name = "N")]
    cells_per_task: Option<std::num::NonZeroUsize>,
    /// A file that every task's shell reads before, to load modules and the like.
    #[arg(long, value_name = "FILE")]
    setup: Option<PathBuf>,
    /// One more option of sbatch, such as --sbatch-arg=--nice=100; may be given several times.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    sbatch_arg: Vec<String>,
    /// Show what would be submitted, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Wait until the cells are trained, then print the report; cells that met bad places are submitted again. Ctrl-C ends the waiting, not
    /// the cells.
    #[arg(long)]
    wait: bool,
    /// Seconds between two questions to Slurm, with --wait [default: 30].
    #[arg(long, value_name = "SECONDS")]
    poll: Option<u64>,
    /// Submit cells too that have failed and would fail again.
    #[arg(long)]
    retry_failed: bool,
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
            Executor::Slurm => (given(local), "of --executor local; tasks have --cpus, --mem and --array-limit"),
            Executor::Local => (given(&own), "for --executor slurm; add that"),
            Executor::Plan => {
                ([given(local), given(&own)].concat(), "of no use to --executor plan, which trains nothing")
            }
        };
        if !foreign.is_empty() {
            let verb = if foreign.len() == 1 { "is" } else { "are" };
            return Err(Error::Usage(format!("{} {verb} {whose}, or remove it", foreign.join(", "))));
        }
        if self.poll.is_some() && !self.wait {
            return Err(Error::Usage("--poll is for --wait; add that, or remove it".into()));
        }
        for option in self.sbatch_arg.iter().filter(|_| is_slurm) {
            let name = option.split('=').next().unwrap_or_default();
            if !option.starts_with('-') || OWN.contains(&name) {
                return Err(Error::Usage(format!(
                    "--sbatch-arg={option} is no option that can be added; write one as --sbatch-arg=--name=value, and none of {}",
                    OWN.join(" ")
                )));
            }
        }
        Ok(())
    }

    pub(super) fn is_dry(&self) -> bool {
        self.dry_run
    }

    fn resources(&self) -> Result<Resources> {
        let number =
            |given: Option<std::num::NonZeroUsize>, default| given.map_or(default, std::num::NonZeroUsize::get);
        let setup = self.setup.as_deref().map(slurm::absolute).transpose()?;
        if let Some(setup) = setup.as_ref().filter(|setup| !setup.is_file()) {
            return Err(Error::Usage(format!("--setup {} is not there, or no file", setup.display())));
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

/// A run whose cells are to be submitted.
pub(super) struct Run<'a> {
    pub(super) args: &'a Args,
    pub(super) folder: &'a RunFolder,
    pub(super) manifest: &'a RunManifest,
    /// Those of the command, of which the run may have more.
    pub(super) cells: &'a [Cell],
    pub(super) opening: Opening,
    pub(super) format: Format,
    pub(super) quiet: bool,
}

impl Run<'_> {
    /// Submits what is missing; then leaves, or waits and prints the report.
    pub(super) fn submit(self) -> Result<ExitCode> {
        let path = slurm::absolute(self.folder.path())?;
        slurm::check_path(&path)?;
        if let Some(why) = slurm::unshared(&path) {
            super::tell(&format!(
                "warning: {} is {why}, which other nodes are unlikely to see; use --out",
                path.display()
            ));
        }
        let client = Slurm::on_path();
        let mut tracker = Tracker::new(&client, self.folder, self.manifest, self.cells);
        let (submitted, in_flight) =
            self.submit_missing(&client, &mut tracker, |standing| standing.is_missing(self.args.retry_failed))?;
        if self.args.wait {
            return self.wait(&client, &mut tracker);
        }
        if submitted + in_flight > 0 {
            let path = self.folder.path().display();
            if in_flight > 0 {
                self.say(&format!("{in_flight} more are in flight"));
            }
            self.say(&format!("`sharpbench status {path}` tells how they stand, `sharpbench gather {path}` reports"));
            return Ok(ExitCode::SUCCESS);
        }
        let survey = tracker.look(false)?;
        self.finish(&survey)
    }

    /// Prints what would be submitted.
    pub(super) fn show(self) -> Result<ExitCode> {
        let place = slurm::absolute(self.folder.path())?.join("slurm").join("NEW");
        slurm::check_path(&place)?;
        let client = Slurm::on_path();
        let survey = Tracker::new(&client, self.folder, self.manifest, self.cells).look(false)?;
        if let Some(silence) = &survey.silence {
            super::tell(&format!("warning: it is not known what is in flight ({silence})"));
        }
        let open = ids(&survey, |standing| standing.is_missing(self.args.retry_failed));
        let (resources, arguments) = (self.args.resources()?, self.arguments()?);
        let chunk = slurm::chunk(&resources, client.largest_array().unwrap_or_default());
        let avoided = bad_nodes(survey.failures());
        let request = self.request(&open, &resources, &arguments, &avoided);
        let mut text = format!("{} of {} cells, {} arrays\n", open.len(), self.cells.len(), open.len().div_ceil(chunk));
        for part in open.chunks(chunk) {
            let words = request.command(&place, "sharpbench-NEW", part.len());
            let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
            let line = shlex::try_join(words.iter().map(AsRef::as_ref)).map_err(|e| Error::Usage(e.to_string()))?;
            text.push_str(&format!("\nsbatch {line}\n"));
        }
        text.push_str(&format!(
            "\n{}:\n{}",
            place.join("task.sh").display(),
            String::from_utf8_lossy(&request.script(&place)?)
        ));
        super::print(text)
    }

    fn request<'r>(
        &'r self,
        cells: &'r [String],
        resources: &'r Resources,
        arguments: &'r [std::ffi::OsString],
        avoided: &'r [String],
    ) -> Request<'r> {
        Request { folder: self.folder, cells, resources, arguments, avoided }
    }

    fn arguments(&self) -> Result<Vec<std::ffi::OsString>> {
        let data = match &self.opening.data {
            DataSource::Directory(path) => DataSource::Directory(slurm::absolute(path)?),
            data => data.clone(),
        };
        let Opening { offline, save_weights, device, checkpoint, .. } = self.opening;
        Ok(Opening { data, offline, save_weights, device, checkpoint }.arguments())
    }

    /// Submits the cells whose standing is such; how many, and how many were in flight before.
    fn submit_missing(
        &self,
        client: &Slurm,
        tracker: &mut Tracker<'_>,
        is_missing: impl Fn(&Standing) -> bool,
    ) -> Result<(usize, usize)> {
        let Some(_lock) = self.folder.lock_submission()? else { return Err(slurm::submitting(self.folder)) };
        let survey = tracker.look(true)?;
        if let Some(silence) = &survey.silence {
            return Err(Error::Usage(format!(
                "it is not known which cells are in flight ({silence}); type the same command again later"
            )));
        }
        let (open, in_flight) = (ids(&survey, is_missing), survey.in_flight());
        if open.is_empty() {
            return Ok((0, in_flight));
        }
        let (resources, arguments) = (self.args.resources()?, self.arguments()?);
        if resources.wants_gpu() && !cfg!(feature = "cuda") {
            super::tell(
                "warning: GPUs are asked for, and this program was built without CUDA (docs/gpu.md): the cells train on CPUs",
            );
        }
        let avoided = bad_nodes(survey.failures());
        if !avoided.is_empty() {
            super::tell(&format!("warning: cells have failed on {} again and again: not used", avoided.join(", ")));
        }
        let request = self.request(&open, &resources, &arguments, &avoided);
        let chunk = slurm::chunk(&resources, client.largest_array()?);
        let warn = &mut |line: &str| super::tell(&format!("warning: {line}"));
        let submissions = slurm::submit(client, &request, chunk, warn)?;
        let jobs: Vec<String> = submissions.iter().filter_map(|s| Some(s.job.as_ref()?.id.to_string())).collect();
        self.say(&format!("submitted {} cells to Slurm as {}", open.len(), jobs.join(", ")));
        Ok((open.len(), in_flight))
    }

    fn wait(&self, client: &Slurm, tracker: &mut Tracker<'_>) -> Result<ExitCode> {
        let poll = Duration::from_secs(self.args.poll.unwrap_or(status::POLL));
        let stop = Stop::patiently()?;
        let mut told = String::new();
        let mut rounds = 1;
        loop {
            let mut survey = tracker.look(false)?;
            let line = status::line(&survey);
            if line != told {
                self.say(&line);
                told = line;
            }
            // A cell is lost when it was absent twice.
            if tracker.is_settled(&survey, 2 * poll) {
                let retried = |standing: &Standing| matches!(standing, Standing::Failed(f) if f.class == FailureClass::Place && f.is_retried());
                if rounds < ROUNDS && !ids(&survey, retried).is_empty() {
                    rounds += 1;
                    self.submit_missing(client, tracker, retried)?;
                    continue;
                }
                tracker.explain(&mut survey);
                return self.finish(&survey);
            }
            if let Some(signal) = status::sleep(poll, TICK, &stop) {
                super::tell(
                    "no longer waiting; the cells go on: `sharpbench status` tells how they stand, `sharpbench cancel` ends them",
                );
                return Ok(ExitCode::from(super::EXIT_SIGNAL + signal));
            }
        }
    }

    /// Prints the report, and what is missing.
    fn finish(&self, survey: &Survey<'_>) -> Result<ExitCode> {
        let code = super::gather::publish(self.format, self.folder, self.manifest)?;
        for line in missing(survey) {
            super::tell(&line);
        }
        Ok(code)
    }

    fn say(&self, line: &str) {
        if !self.quiet {
            super::tell(line);
        }
    }
}

fn ids(survey: &Survey<'_>, is: impl Fn(&Standing) -> bool) -> Vec<String> {
    survey.cells.iter().filter(|(_, standing)| is(standing)).map(|(cell, _)| cell.id()).collect()
}

/// Refuses to clear a run of which something may be in Slurm's hands.
pub(super) fn refuse_busy(folder: &RunFolder) -> Result<()> {
    let mut submissions = slurm::read_submissions(folder)?;
    submissions.retain(|s| matches!(s.acceptance, Acceptance::Submitting | Acceptance::Submitted));
    if submissions.is_empty() {
        return Ok(());
    }
    let why = match slurm::is_busy(&Slurm::on_path(), &submissions).unwrap_or_else(|e| Err(e.to_string())) {
        Ok(false) => return Ok(()),
        Ok(true) => "cells of it are in flight".to_string(),
        Err(silence) => format!("it is not known whether cells of it are in flight ({silence})"),
    };
    let path = folder.path().display();
    let message = format!("--fresh would empty it, but {why}; `sharpbench cancel {path}` first, or use another --out");
    Err(Error::Run { path: folder.path().into(), message })
}
