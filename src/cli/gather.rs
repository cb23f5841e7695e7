//! `sharpbench gather RUN`: the report of a run that others have trained, printed and kept as `suite` does at its end.

use std::path::PathBuf;
use std::process::ExitCode;

use super::opened;
use super::printing::Printing;
use super::report::All;
use crate::error::Result;
use crate::record::{Record, RunFolder, RunManifest, Selection};
use crate::report::{EXPORTERS, Exporter, Layout, Options, Report};

/// Reads only the run folder. Exit codes: 0 every cell has a record, 3 some have none; they are
/// listed on stderr.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A run folder.
    run: PathBuf,
    #[command(flatten)]
    printing: Printing,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    args.printing.check()?;
    let folder = RunFolder::at(&args.run);
    let manifest = opened::manifest(&folder)?;
    let code = publish(&args.printing, false, &folder, &manifest)?;
    for cell in Selection::all(&folder, &manifest).unfinished()? {
        let why = folder.failure(cell).map_or_else(String::new, |failure| format!(" ({})", failure.reason));
        super::tell(&format!("missing: {}{why}", cell.label()));
    }
    Ok(code)
}

/// The reports that a run keeps, by name ([`RunFolder::report_name`]).
pub(super) fn kept(report: &Report, manifest: &RunManifest, records: &[&Record]) -> Result<Vec<(String, Vec<u8>)>> {
    let stem = stem(manifest);
    let file = |exporter: &&Exporter| {
        let content = report.render(exporter, Layout::default(), records)?;
        Ok((format!("{stem}.{}", exporter.extension), content))
    };
    EXPORTERS.iter().filter(|exporter| exporter.is_kept).map(file).collect()
}

/// Stem of the kept reports' file names: suite, profile and data set.
pub(super) fn stem(manifest: &RunManifest) -> String {
    format!("{}-{}-{}", manifest.suite, manifest.profile, manifest.data)
}

/// Prints the report and keeps it beside the records, under names that tell what it is of.
pub(super) fn publish(
    printing: &Printing,
    quiet: bool,
    folder: &RunFolder,
    manifest: &RunManifest,
) -> Result<ExitCode> {
    let All { report, manifest: plan, records } =
        super::report::read_all(&[folder.path().to_path_buf()], &Options::default())?;
    let records = Report::of_plan(&plan, &records);
    // What is asked for comes first: a folder may be read-only.
    printing.print(&report, &records)?;
    for (name, content) in kept(&report, manifest, &records)? {
        folder.write_report(&name, content)?;
    }
    if !quiet {
        let (run, stem) = (folder.path(), stem(manifest));
        let page = super::quoted(&run.join(RunFolder::report_name(&format!("{stem}.html"))));
        super::tell(&format!("page: {page}; every column: sharpbench report {} --wide", super::quoted(run)));
    }
    Ok(super::report::exit_code(&report))
}
