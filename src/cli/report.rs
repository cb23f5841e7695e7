//! `sharpbench report RUN`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::error::{Error, Result};
use crate::record::{Record, RunFolder, RunManifest};
use crate::report::{File, Format, Report, figures};

#[derive(clap::Args)]
pub(super) struct Args {
    /// A run folder, such as reports/cifar10-quick-photo-patches.
    run: PathBuf,
    /// How to print it.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Also draw what was measured of curvature (SVG, PNG, and series as CSV) into this folder.
    #[arg(long, value_name = "DIR")]
    figures: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let (report, manifest, records) = read_all(&args.run)?;
    print(&report, args.format)?;
    if let Some(folder) = &args.figures {
        write_figures(folder, &manifest, &records)?;
    }
    Ok(exit_code(&report))
}

/// Prints a report, the table within the terminal's width where there is one.
pub(super) fn print(report: &Report, format: Format) -> Result<()> {
    let width = console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
    super::print(&report.render_within(format, width))?;
    Ok(())
}

/// 0 for a complete run; 3, with a word on stderr, for one that lacks cells.
pub(super) fn exit_code(report: &Report) -> ExitCode {
    if report.is_complete() {
        return ExitCode::SUCCESS;
    }
    super::tell(&format!(
        "incomplete: {} of {} cells are finished; type the suite command again to train the rest",
        report.cells_finished, report.cells_planned
    ));
    ExitCode::from(super::EXIT_INCOMPLETE)
}

/// Writes the figures of a run's records.
fn write_figures(folder: &Path, manifest: &RunManifest, records: &[Record]) -> Result<()> {
    let files = figures(&Report::of_plan(manifest, records))?;
    if files.is_empty() {
        return Err(Error::Usage(
            "there is nothing to draw: no finished cell has measured curvature; a suite asks for it with measure = { edge = 20 } \
             or measure = { sharpness = \"last\", density = true }"
                .into(),
        ));
    }
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    for File { name, content } in files {
        let path = folder.join(name);
        std::fs::write(&path, content).map_err(Error::io("write", &path))?;
    }
    super::tell(&format!("figures are in {}", folder.display()));
    Ok(())
}

/// The report of a run folder; damaged and foreign records are named on stderr.
pub(super) fn read(path: &Path) -> Result<Report> {
    Ok(read_all(path)?.0)
}

fn read_all(path: &Path) -> Result<(Report, RunManifest, Vec<Record>)> {
    let folder = RunFolder::at(path);
    let what = if path.is_dir() { "it holds no run (no run.json)" } else { "there is no such folder" };
    let message = format!("{what}; give the folder that `sharpbench suite` wrote");
    let missing = || Error::Run { path: path.into(), message };
    let manifest = if path.is_dir() { folder.manifest()? } else { None }.ok_or_else(missing)?;
    let scan = folder.scan()?;
    for (path, reason) in &scan.damaged {
        super::tell(&format!("warning: {} is damaged and left out ({reason})", path.display()));
    }
    let report = Report::new(&manifest, &scan.records);
    let foreign = scan.records.len() - report.cells_finished;
    if foreign > 0 {
        super::tell(&format!(
            "warning: {foreign} records belong to cells that are no longer in the plan and are left out"
        ));
    }
    Ok((report, manifest, scan.records))
}
