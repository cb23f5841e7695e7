//! How the cells of a plan are trained: the options that `suite` and `tune` share, and what they do.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use super::cluster::{self, Executor};
use super::device::RunDevice;
use super::live::Live;
use super::opened::Opening;
use super::progress::Progress;
use super::slurm::ClusterRun;
use super::suite::default_folder;
use super::until::{self, Until};
use crate::compute::DeviceChoice;
use crate::data::{self, DataSet, DataSource, DataSpec, Fetch};
use crate::error::{Error, Result};
use crate::exec::{self, Ended, Jobs, LocalRun, Stop};
use crate::record::{RunFolder, RunLock, RunManifest, Selection};
use crate::registry::Registry;
use crate::suite::{Filter, Plan, Suite};
use crate::train::Setup;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Where samples come from: auto (cache, hub, stand-in), stand-in, hub, or a directory.
    #[arg(long, default_value = "auto", value_name = "SOURCE")]
    data: DataSource,
    /// Run folder [default: reports/<suite>-<profile>-<data>].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Remove the run in the folder and start over.
    #[arg(long)]
    fresh: bool,
    /// Save the final weights of the cells trained now under weights/, as safetensors with
    /// PyTorch's names.
    #[arg(long)]
    save_weights: bool,
    /// Never use the network.
    #[arg(long)]
    offline: bool,
    /// Compute threads of each cell [default: all CPUs, or RAYON_NUM_THREADS; with --jobs, an equal
    /// share of the CPUs].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Cells to train at once, each in its own process, pinned to its share of the CPUs. Their
    /// times are marked and not compared with those of cells trained alone.
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// Total memory limit of the processes of --jobs, such as 8GiB; if they exceed it, fewer cells run at
    /// once.
    #[arg(long, value_name = "SIZE")]
    max_memory: Option<bytesize::ByteSize>,
    /// Device to train on: auto (a GPU that this program was built for, if there is one), cpu,
    /// cuda:N or metal.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Print no progress on stderr, only warnings.
    #[arg(long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    cluster: cluster::Args,
}

/// What is to be trained.
pub(super) struct Wanted<'a> {
    pub(super) suite: &'a Suite,
    pub(super) profile: &'a str,
    pub(super) filter: &'a Filter,
    pub(super) until: Option<Until>,
    /// Whether something follows once the cells have ended: another look, or a choice.
    pub(super) goes_on: bool,
    /// What is done with the run once its cells have ended.
    pub(super) report: &'a dyn Fn(&RunFolder, &RunManifest) -> Result<ExitCode>,
}

/// Resolves what was asked for, loads its data, opens its run folder, executes the cells without a record, and reports.
pub(super) fn run(args: &Args, wanted: &Wanted<'_>, registry: &Registry) -> Result<ExitCode> {
    check(args, wanted)?;
    let resolved = resolve(args, wanted)?;
    let data = load(args, &resolved)?;
    let mut run = open(args, wanted, resolved, &data.provenance)?;
    match args.cluster.executor {
        Executor::Local => {
            let stop = Stop::on_signals()?;
            let (provenance, data) = (data.provenance.clone(), (args.jobs == 1).then_some(data));
            loop {
                let ended = train(args, registry, &run, (&provenance, data.as_ref()), &stop)?;
                match ended {
                    Ended::Finished if extend(args, wanted, &mut run)? => {}
                    Ended::Finished => return (wanted.report)(&run.folder, &run.manifest),
                    Ended::Stopped(signal) => {
                        super::tell("stopped and checkpointed; rerun the same command (without --fresh) to resume");
                        return Ok(ExitCode::from(super::EXIT_SIGNAL + signal));
                    }
                }
            }
        }
        Executor::Slurm => loop {
            // What an earlier command has submitted may have ended meanwhile.
            if !args.cluster.is_dry() {
                extend(args, wanted, &mut run)?;
            }
            let code = on_cluster(args, wanted, &run).execute()?;
            if !args.cluster.wait || code != ExitCode::SUCCESS || !extend(args, wanted, &mut run)? {
                return Ok(code);
            }
        },
        Executor::Plan => print_plan(run.selection()),
    }
}

/// With --until, adds the cells of the next look; whether there are any.
fn extend(args: &Args, wanted: &Wanted<'_>, run: &mut OpenRun) -> Result<bool> {
    if wanted.until.is_none() {
        return Ok(false);
    }
    let Some(next) = until::extend(&run.folder, &run.manifest)? else { return Ok(false) };
    if !args.quiet {
        super::tell(&until::told(&run.manifest, &next));
    }
    run.plan.cells.clone_from(&next.cells);
    run.manifest = next;
    Ok(true)
}

/// Refuses options that do not go together.
fn check(args: &Args, wanted: &Wanted<'_>) -> Result<()> {
    if args.jobs == 0 {
        return Err(Error::Usage("--jobs 0 cannot train anything; use at least 1".into()));
    }
    if args.max_memory.is_some() && (args.jobs == 1 || !cfg!(target_os = "linux")) {
        return Err(Error::Usage("--max-memory applies only to --jobs 2 or more, and only on Linux; remove it".into()));
    }
    if wanted.until.is_some() && *wanted.filter != Filter::default() {
        return Err(Error::Usage("--until decided needs every row; remove --filter".into()));
    }
    args.cluster.check(&[
        ("--jobs", args.jobs != 1),
        ("--max-memory", args.max_memory.is_some()),
        ("--threads", args.threads.is_some()),
    ])
}

/// What was asked for: where to train what, on which data.
struct Resolved {
    device: RunDevice,
    /// Threads of each cell, if they were asked for.
    threads: Option<usize>,
    /// Cells at once.
    jobs: usize,
    data: DataSpec,
    /// Embedded set that stands in for it.
    stand_in: &'static str,
    /// All cells of the profile, on that data.
    plan: Plan,
}

fn resolve(args: &Args, Wanted { suite, profile, filter, .. }: &Wanted<'_>) -> Result<Resolved> {
    let threads = super::set_threads(args.threads)?;
    let jobs = super::at_most_cpus("--jobs", args.jobs);
    let device = RunDevice::open(args.device, args.cluster.executor == Executor::Local)?;
    let data = suite.data(profile)?;
    let plan = suite.plan(profile, &data.name)?;
    // A filter that nothing passes is refused before any data is fetched.
    filter.apply(&mut plan.clone())?;
    let stand_in = suite.stand_in(profile)?;
    Ok(Resolved { device, threads, jobs, data, stand_in, plan })
}

/// A run in its folder.
struct OpenRun {
    device: RunDevice,
    threads: Option<usize>,
    jobs: usize,
    /// The cells that pass the filter, on the data that is used.
    plan: Plan,
    folder: RunFolder,
    manifest: RunManifest,
    /// None for a dry run, which leaves no trace.
    _working: Option<RunLock>,
}

impl OpenRun {
    fn selection(&self) -> Selection<'_> {
        Selection { folder: &self.folder, manifest: &self.manifest, cells: &self.plan.cells }
    }

    /// Options for other processes that train its cells.
    fn opening(&self, args: &Args) -> Opening {
        Opening {
            data: args.data.clone(),
            offline: args.offline,
            save_weights: args.save_weights,
            device: self.device.choice,
            checkpoint: self.plan.checkpoint,
        }
    }
}

fn open(args: &Args, wanted: &Wanted<'_>, resolved: Resolved, data: &data::Provenance) -> Result<OpenRun> {
    let Resolved { device, threads, jobs, data: suites, plan: profile, .. } = resolved;
    let profile = profile.on(&data.name)?;
    let mut plan = profile.clone();
    wanted.filter.apply(&mut plan)?;
    let folder = RunFolder::at(args.out.clone().unwrap_or_else(|| default_folder(&plan, &data.name)));
    let looks = wanted.until.map(|Until::Decided| until::planned(&profile));
    let manifest = RunManifest { looks, ..RunManifest::new(profile, data, data.name != suites.name) };
    if wanted.until.is_some() {
        until::check(&manifest)?;
    }
    if args.cluster.is_dry() {
        return Ok(OpenRun { device, threads, jobs, plan, folder, manifest, _working: None });
    }
    if args.fresh {
        super::slurm::refuse_busy(&folder)?;
    }
    let working = folder.claim(args.fresh)?;
    let manifest = folder.open(&manifest, &plan.cells)?;
    if wanted.until.is_some() {
        plan.cells.clone_from(&manifest.cells);
    }
    Ok(OpenRun { device, threads, jobs, plan, folder, manifest, _working: Some(working) })
}

/// Trains the cells without a record on this machine.
fn train(
    args: &Args,
    registry: &Registry,
    run: &OpenRun,
    (provenance, data): (&data::Provenance, Option<&DataSet>),
    stop: &Stop,
) -> Result<Ended> {
    let mut progress = Progress::new(&run.plan.cells, args.quiet, Live::new(&run.folder, &run.manifest));
    progress.say(&format!(
        "{} {}: {} cells on {} ({}), {}, records in {}",
        run.plan.suite,
        run.plan.profile,
        run.plan.cells.len(),
        provenance.name,
        provenance.source,
        if args.jobs > 1 { format!("{} at once", run.jobs) } else { run.device.describe() },
        run.folder.path().display()
    ));
    let ended = match data {
        // Also where a single CPU leaves one job: its limits hold for a process of its own. The children read their own data.
        None => {
            let work = Jobs {
                selection: run.selection(),
                jobs: run.jobs,
                threads: run.threads,
                max_memory: args.max_memory.map(|size| size.as_u64()),
                arguments: run.opening(args).arguments(),
                stop: stop.clone(),
            };
            exec::run_jobs(&work, &mut progress)
        }
        Some(data) => {
            let work = LocalRun {
                selection: run.selection(),
                data,
                setup: Setup { compute: &run.device.compute, registry },
                save_weights: args.save_weights,
                checkpoint: run.plan.checkpoint,
                jobs: 1,
                stop: stop.clone(),
            };
            exec::run(&work, &mut progress)
        }
    };
    progress.done();
    ended
}

fn on_cluster<'r>(args: &'r Args, wanted: &'r Wanted<'_>, run: &'r OpenRun) -> ClusterRun<'r> {
    let opening = run.opening(args);
    ClusterRun {
        args: &args.cluster,
        selection: run.selection(),
        opening,
        report: wanted.report,
        quiet: args.quiet,
        goes_on: wanted.goes_on,
    }
}

/// Prints the ids of the cells that have no record.
fn print_plan(selection: Selection<'_>) -> Result<ExitCode> {
    super::print(selection.unfinished()?.into_iter().map(|cell| cell.id() + "\n").collect::<String>())
}

fn load(args: &Args, Resolved { data, stand_in, .. }: &Resolved) -> Result<DataSet> {
    let say = |message: &str| {
        if !args.quiet {
            super::tell(message);
        }
    };
    let warn = |message: &str| super::tell(&format!("warning: {message}"));
    let bar = !args.quiet && std::io::stderr().is_terminal();
    let fetch = Fetch { offline: args.offline, bar, say: &say, warn: &warn };
    data::load_or(stand_in, data, &args.data, &fetch)
}
