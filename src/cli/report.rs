//! `sharpbench report RUN`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::printing::Printing;
use super::push::Push;
use crate::error::{Error, Result};
use crate::record::{self, Record, RunFolder, RunManifest};
use crate::report::{Figure, File, Merged, NamedRun, Options, Report, event_files, figures, merge, series};

/// Shown below the options.
pub(super) const EXAMPLES: &str = "\
Examples:
  sharpbench report reports/cifar10-quick-cifar10
  # every column, and what it means
  sharpbench report RUN --wide --explain
  # for a pull request
  sharpbench report RUN --format markdown
  # one page with charts
  sharpbench report RUN --format html > page.html
  # runs of one suite, reported as one
  sharpbench report RUN OTHER-RUN";

#[derive(clap::Args)]
pub(super) struct Args {
    /// A run folder, such as reports/cifar10-quick-mnist-5k; several of one suite, profile and data set are reported as one.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    #[command(flatten)]
    printing: Printing,
    /// Loss of accuracy that a claim of "no loss" allows, in points [default: the suite's, or 0.3].
    #[arg(long, value_name = "POINTS", value_parser = points)]
    margin: Option<f64>,
    /// Test accuracy to which trainings are timed, in percent [default: the last accuracy of the
    /// reference SGD's worst seed].
    #[arg(long, value_name = "PERCENT", value_parser = points)]
    target: Option<f64>,
    /// Also write the figures to this folder, as SVG and PNG; of measured curvature also the series,
    /// as CSV.
    #[arg(long, value_name = "DIR")]
    figures: Option<PathBuf>,
    /// Also write TensorBoard event files to this folder, in a subfolder for each cell.
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    #[command(flatten)]
    push: Push,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    args.printing.check()?;
    let options = Options { margin: args.margin, target: args.target.map(|target| target / 100.0) };
    let all = read_all(&args.runs, &options)?;
    if all.manifest.looks.is_some() && args.margin.is_some() {
        return Err(Error::Usage(
            "the claims of this run were tested look after look with the margin of its suite (--until decided); --margin \
             cannot change it now, so remove it"
                .into(),
        ));
    }
    let records = Report::of_plan(&all.manifest, &all.records);
    args.push.run(&args.runs, &all, &records)?;
    args.printing.print(&all.report, &records)?;
    if let Some(folder) = &args.figures {
        write_figures(folder, &figures(&all.report, &records), &records)?;
    }
    if let Some(folder) = &args.tensorboard {
        write_files(folder, &event_files(&records))?;
        super::tell(&format!("event files are in {0}; tensorboard --logdir {0}", folder.display()));
    }
    Ok(exit_code(&all.report))
}

/// A number of percent or points above 0.
fn points(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|points| *points > 0.0 && *points <= 100.0);
    number.ok_or_else(|| "expected a number above 0 and at most 100".into())
}

/// 0 for a complete run; 3, with a word on stderr, for one that lacks cells.
pub(super) fn exit_code(report: &Report) -> ExitCode {
    if report.is_complete() {
        return ExitCode::SUCCESS;
    }
    super::tell(&format!(
        "incomplete: {} of {} cells are finished; rerun the suite command to train the rest",
        report.cells_finished, report.cells_planned
    ));
    ExitCode::from(super::EXIT_INCOMPLETE)
}

/// Writes figures as SVG and PNG, and the series of edge checks.
pub(super) fn write_figures(folder: &Path, figures: &[Figure], records: &[&Record]) -> Result<()> {
    if figures.is_empty() {
        return Err(Error::Usage("there is nothing to draw: no cell has finished; train the run first".into()));
    }
    for figure in figures {
        record::write(folder, &format!("{}.svg", figure.name), figure.svg().as_bytes())?;
        record::write(folder, &format!("{}.png", figure.name), &figure.png()?)?;
    }
    if let Some(series) = series(records) {
        record::write(folder, "edge.csv", &series)?;
    }
    super::tell(&format!("figures are in {}", folder.display()));
    Ok(())
}

/// Writes files into a folder, each with the folder that its name has.
fn write_files(folder: &Path, files: &[File]) -> Result<()> {
    files.iter().try_for_each(|File { name, content }| record::write(folder, name, content).map(drop))
}

/// A report with what it is of.
pub(super) struct All {
    pub(super) report: Report,
    pub(super) manifest: RunManifest,
    pub(super) records: Vec<Record>,
}

/// The report of run folders together; damaged records and foreign ones are named on stderr.
pub(super) fn read_all(paths: &[PathBuf], options: &Options) -> Result<All> {
    let run = |path: &PathBuf| {
        let (manifest, records) = read_run(path)?;
        Ok(NamedRun { name: path.display().to_string(), manifest, records })
    };
    let Merged { manifest, records, notes } = merge(paths.iter().map(run).collect::<Result<_>>()?)?;
    let mut report = Report::new(&manifest, &records, options);
    report.notes.splice(0..0, notes);
    let foreign = records.len() - report.cells_finished;
    if foreign > 0 {
        super::tell(&format!(
            "warning: {foreign} records belong to cells that are no longer in the plan and are left out"
        ));
    }
    Ok(All { report, manifest, records })
}

/// A run folder's plan and records; damaged ones are named on stderr.
pub(super) fn read_run(path: &Path) -> Result<(RunManifest, Vec<Record>)> {
    let folder = RunFolder::at(path);
    let what = if path.is_dir() { "it holds no run (no run.json)" } else { "there is no such folder" };
    let message = format!("{what}; give the folder that `sharpbench suite` wrote");
    let missing = || Error::Run { path: path.into(), message };
    let manifest = if path.is_dir() { folder.manifest()? } else { None }.ok_or_else(missing)?;
    let scan = folder.scan()?;
    for (path, reason) in &scan.damaged {
        super::tell(&format!("warning: {} is damaged and left out ({reason})", path.display()));
    }
    Ok((manifest, scan.records))
}
