//! `--until decided`: more seeds of undecided rows, look after look.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::record::{RunFolder, RunLooks, RunManifest};
use crate::report::{Options, Report};
use crate::suite::{Cell, Claims, Plan, looks, seeds, seeds_of};

/// When to stop adding seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Until {
    /// Until the claims about every row are decided, or the row has the maximum number of seeds (max_seeds of the suite's claims).
    Decided,
}

/// The looks of a profile; the first has the seeds listed.
pub(super) fn planned(profile: &Plan) -> RunLooks {
    let most = profile.claims.clone().unwrap_or_default().max_seeds;
    RunLooks { seeds: looks(seeds_of(&profile.cells).len(), most), planned: 1, findings: Default::default() }
}

/// Refuses a plan without the rows that claims are about.
pub(super) fn check(manifest: &RunManifest) -> Result<()> {
    match Report::new(manifest, &[], &Options::default()).references {
        [Some(_), Some(_)] => Ok(()),
        _ => Err(Error::Usage(
            "--until decided needs a row of SGD and one of SAM, or the rows that [claims] names; this profile lacks at least one".into(),
        )),
    }
}

/// Adds the cells of the next seeds to a run whose planned cells have all ended; `None` if nothing is left to decide or planned cells
/// are missing.
///
/// # Errors
/// When the run cannot be read or written.
pub(super) fn extend(folder: &RunFolder, manifest: &RunManifest) -> Result<Option<RunManifest>> {
    let report = Report::new(manifest, &folder.scan()?.records, &Options::default());
    let Some(looks) = manifest.looks.as_ref().filter(|_| report.is_complete() && !report.open.is_empty()) else {
        return Ok(None);
    };
    let wanted = |planned: usize| cells(manifest, &report, looks.seeds[planned - 1]);
    // Rows that waited until SAM's gain was shown first catch up with the look that showed it.
    let (mut planned, mut more) = (looks.planned, wanted(looks.planned));
    if more.is_empty() && planned < looks.seeds.len() {
        planned += 1;
        more = wanted(planned);
    }
    if more.is_empty() {
        return Ok(None);
    }
    let mut next = manifest.clone();
    next.cells.extend(more);
    next.looks = Some(RunLooks { seeds: looks.seeds.clone(), planned, findings: report.findings.clone() });
    folder.replace(manifest, next).map(Some)
}

/// The cells that a report's open rows still need to have `n` seeds, seed by seed.
fn cells(manifest: &RunManifest, report: &Report, n: usize) -> Vec<Cell> {
    let mut planned: HashSet<String> = manifest.cells.iter().map(Cell::id).collect();
    let settings: Vec<Cell> = report.open_settings(manifest);
    let seeds = seeds(&seeds_of(&manifest.cells), n);
    let all = seeds.iter().flat_map(|seed| settings.iter().map(|setting| Cell { seed: *seed, ..setting.clone() }));
    all.filter(|cell| planned.insert(cell.id())).collect()
}

/// Message on what is trained next.
pub(super) fn told(before: &RunManifest, next: &RunManifest) -> String {
    let looks = next.looks.as_ref().map_or(String::new(), |looks| {
        format!("look {} of at most {} ({} seeds)", looks.planned, looks.seeds.len(), looks.seeds[looks.planned - 1])
    });
    let Claims { max_seeds, .. } = next.claims.clone().unwrap_or_default();
    let cells = next.cells.len().saturating_sub(before.cells.len());
    format!("not decided yet: {looks}, {cells} more cells; at most {max_seeds} seeds")
}
