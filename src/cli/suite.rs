//! `sharpbench suite NAME|PATH`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::opened::Opening;
use super::progress::Progress;
use super::slurm::Executor;
use crate::compute::{Compute, DeviceChoice};
use crate::data::{self, DataSet, DataSource, DataSpec, Fetch};
use crate::error::{Error, Result};
use crate::exec::{self, Ended, Jobs, Stop};
use crate::optim::Registry;
use crate::record::{CellState, RunFolder, RunManifest, SCHEMA};
use crate::report::Format;
use crate::suite::{DEFAULT_PROFILE, Filter, Plan, Suite};
use crate::train::Setup;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of a suite (see `list`) or path of a .toml file.
    suite: String,
    /// Size of the experiment.
    #[arg(long, default_value = DEFAULT_PROFILE)]
    profile: String,
    /// Where samples come from: auto (cache, hub, stand-in), stand-in, hub, or a directory.
    #[arg(long, default_value = "auto", value_name = "SOURCE")]
    data: DataSource,
    /// Train only some cells, such as optimizer=ssam-f,sparsity=0.9.
    #[arg(long, default_value = "", value_name = "AXIS=VALUE,...")]
    filter: Filter,
    /// Run folder [default: reports/<suite>-<profile>-<data>].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Remove the run that the folder holds and start anew.
    #[arg(long)]
    fresh: bool,
    /// Keep the final weights of the cells trained now, as safetensors with PyTorch's names, under weights/.
    #[arg(long)]
    save_weights: bool,
    /// Never use the network.
    #[arg(long)]
    offline: bool,
    /// Threads that compute, of each cell [default: all CPUs, or RAYON_NUM_THREADS; with --jobs, an equal share of the CPUs].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Cells to train at once, each in a process of its own that stays on its share of the CPUs. Their times are marked, and not compared
    /// with those of cells that were trained alone.
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// Memory that all of them together may take, such as 8GiB: where they take more, fewer are trained at once.
    #[arg(long, value_name = "SIZE")]
    max_memory: Option<bytesize::ByteSize>,
    /// Where to train: auto (a GPU that this program was built for, if one is there), cpu, cuda:N or metal.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// How to print the result.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// No progress on stderr, only warnings.
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    cluster: super::slurm::Args,
}

pub(super) fn run(args: &Args, registry: &Registry) -> Result<ExitCode> {
    super::report::refuse_binary_terminal(args.format)?;
    if args.jobs == 0 {
        return Err(Error::Usage("--jobs 0 cannot train anything; use at least 1".into()));
    }
    if args.max_memory.is_some() && (args.jobs == 1 || !cfg!(target_os = "linux")) {
        return Err(Error::Usage(
            "--max-memory bounds the processes of --jobs N, from 2 on, and on Linux alone; remove it".into(),
        ));
    }
    args.cluster.check(&[
        ("--jobs", args.jobs != 1),
        ("--max-memory", args.max_memory.is_some()),
        ("--threads", args.threads.is_some()),
    ])?;
    super::set_threads(args.threads)?;
    // On a cluster the device is that of a node.
    let (compute, device) = match args.cluster.executor {
        Executor::Local => Compute::open(args.device).map(|found| (found.clone(), found.choice()))?,
        Executor::Slurm | Executor::Plan => (Compute::default(), args.device),
    };
    let suite = Suite::read(&args.suite)?.with(registry);
    let wanted = suite.data(&args.profile)?;
    // A suite that cannot be expanded, or a filter that nothing passes, is refused before any data is fetched.
    args.filter.apply(&mut suite.plan(&args.profile, &wanted.name)?)?;

    let data = load(args, &wanted)?;
    let used = data.provenance.name.as_str();
    let whole = suite.plan(&args.profile, used)?;
    let mut plan = whole.clone();
    args.filter.apply(&mut plan)?;

    let folder = RunFolder::at(args.out.clone().unwrap_or_else(|| default_folder(&plan, used)));
    let manifest = RunManifest {
        schema: SCHEMA,
        suite: plan.suite.clone(),
        profile: plan.profile.clone(),
        data: used.into(),
        stand_in: used != wanted.name,
        data_sha256: data.provenance.sha256.clone(),
        suite_hash: whole.hash(),
        profile_cells: Some(whole.cells.len()),
        cells: whole.cells,
    };
    let opening = Opening {
        data: args.data.clone(),
        offline: args.offline,
        save_weights: args.save_weights,
        device,
        checkpoint: plan.checkpoint,
    };
    let on_cluster = |manifest, opening| super::slurm::Run {
        args: &args.cluster,
        folder: &folder,
        manifest,
        cells: &plan.cells,
        opening,
        format: args.format,
        quiet: args.quiet,
    };
    if args.cluster.is_dry() {
        return on_cluster(&manifest, opening).show();
    }
    if args.fresh {
        super::slurm::refuse_busy(&folder)?;
    }
    let _working = folder.claim(args.fresh)?;
    let manifest = folder.open(&manifest, &plan.cells)?;
    match args.cluster.executor {
        Executor::Local => {}
        Executor::Slurm => return on_cluster(&manifest, opening).submit(),
        Executor::Plan => return print_plan(&folder, &manifest, &plan),
    }

    let mut progress = Progress::new(&plan, args.quiet);
    progress.say(&format!(
        "{} {}: {} cells on {used} ({}), {}, records in {}",
        plan.suite,
        plan.profile,
        plan.cells.len(),
        data.provenance.source,
        match compute.gpu() {
            _ if args.jobs > 1 => format!("{} at once", args.jobs),
            Some(gpu) => gpu.to_string(),
            None => format!("{} threads", rayon::current_num_threads()),
        },
        folder.path().display()
    ));
    let stop = Stop::on_signals()?;
    let ended = if args.jobs > 1 {
        // The children read their own.
        drop(data);
        let work = Jobs {
            folder: &folder,
            manifest: &manifest,
            cells: &plan.cells,
            jobs: args.jobs,
            threads: args.threads,
            max_memory: args.max_memory.map(|size| size.as_u64()),
            arguments: opening.arguments(),
            stop,
        };
        exec::run_jobs(&work, &mut progress)
    } else {
        let work = exec::Run {
            folder: &folder,
            manifest: &manifest,
            cells: &plan.cells,
            data: &data,
            setup: Setup { compute: &compute, registry },
            save_weights: args.save_weights,
            checkpoint: plan.checkpoint,
            jobs: 1,
            stop,
        };
        exec::run(&work, &mut progress)
    };
    progress.done();
    match ended? {
        Ended::Finished => super::gather::publish(args.format, &folder, &manifest),
        Ended::Stopped(signal) => {
            super::tell(
                "stopped after a step, which is kept; type the same command again (without --fresh) to go on there",
            );
            Ok(ExitCode::from(super::EXIT_SIGNAL + signal))
        }
    }
}

/// Prints the ids of the cells that have no record.
fn print_plan(folder: &RunFolder, manifest: &RunManifest, plan: &Plan) -> Result<ExitCode> {
    let mut text = String::new();
    for cell in &plan.cells {
        if folder.state(cell, &manifest.data_sha256)? != CellState::Finished {
            text.push_str(&cell.id());
            text.push('\n');
        }
    }
    super::print(text)
}

fn load(args: &Args, wanted: &DataSpec) -> Result<DataSet> {
    let say = |message: &str| {
        if !args.quiet {
            super::tell(message);
        }
    };
    let warn = |message: &str| super::tell(&format!("warning: {message}"));
    let bar = !args.quiet && std::io::stderr().is_terminal();
    let fetch = Fetch { offline: args.offline, bar, say: &say, warn: &warn };
    data::load(wanted, &args.data, &fetch)
}

/// reports/<suite>-<profile>-<data>
pub(super) fn default_folder(plan: &Plan, data: &str) -> PathBuf {
    Path::new("reports").join(format!("{}-{}-{data}", plan.suite, plan.profile))
}
