//! `sharpbench suite NAME|PATH`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::progress::Progress;
use super::report::All;
use crate::data::{self, DataSet, DataSource, DataSpec, Fetch};
use crate::error::Result;
use crate::exec::{self, Ended, Stop};
use crate::record::{RunFolder, RunManifest, SCHEMA};
use crate::report::{Format, Options, Report, figures};
use crate::suite::{DEFAULT_PROFILE, Filter, Plan, Suite};

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
    /// Threads that compute [default: all CPUs, or RAYON_NUM_THREADS].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// How to print the result.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// No progress on stderr, only warnings.
    #[arg(long)]
    quiet: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    super::report::refuse_binary_terminal(args.format)?;
    super::set_threads(args.threads)?;
    let suite = Suite::read(&args.suite)?;
    let wanted = suite.data(&args.profile)?;
    // A suite that cannot be expanded, or a filter that nothing passes, is refused before any data is fetched.
    args.filter.apply(&mut suite.plan(&args.profile, &wanted.name)?)?;

    let data = load(args, &wanted)?;
    let used = data.provenance.name.as_str();
    let whole = suite.plan(&args.profile, used)?;
    let mut plan = whole.clone();
    args.filter.apply(&mut plan)?;

    let folder = RunFolder::at(args.out.clone().unwrap_or_else(|| default_folder(&plan, used)));
    let _working = folder.claim(args.fresh)?;
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
    let manifest = folder.open(&manifest, &plan.cells)?;

    let mut progress = Progress::new(&plan, args.quiet);
    progress.say(&format!(
        "{} {}: {} cells on {used} ({}), {} threads, records in {}",
        plan.suite,
        plan.profile,
        plan.cells.len(),
        data.provenance.source,
        rayon::current_num_threads(),
        folder.path().display()
    ));
    let work = exec::Run {
        folder: &folder,
        manifest: &manifest,
        cells: &plan.cells,
        data: &data,
        save_weights: args.save_weights,
        checkpoint: plan.checkpoint,
        stop: Stop::on_signals()?,
    };
    let ended = exec::run(&work, &mut progress);
    progress.done();
    match ended? {
        Ended::Finished => publish(args, &folder, &manifest),
        Ended::Stopped(signal) => {
            super::tell("stopped after a step, which is kept; type the same command again to go on there");
            Ok(ExitCode::from(super::EXIT_SIGNAL + signal))
        }
    }
}

/// Prints the report and keeps it beside the records, under names that tell what it is of.
fn publish(args: &Args, folder: &RunFolder, manifest: &RunManifest) -> Result<ExitCode> {
    let All { report, manifest: plan, records } =
        super::report::read_all(&[folder.path().to_path_buf()], &Options::default())?;
    let figures = figures(&Report::of_plan(&plan, &records)).unwrap_or_else(|e| {
        super::tell(&format!("warning: {e}; the report goes without"));
        Vec::new()
    });
    let stem = format!("report-{}-{}-{}", manifest.suite, manifest.profile, manifest.data);
    let formats = [("md", Format::Markdown), ("csv", Format::Csv), ("json", Format::Json), ("html", Format::Html)];
    for (extension, format) in formats {
        folder.write(&format!("{stem}.{extension}"), report.render(format, None, &figures)?)?;
    }
    super::report::print(&report, args.format, &figures)?;
    Ok(super::report::exit_code(&report))
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
