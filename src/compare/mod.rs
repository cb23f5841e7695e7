//! Comparison of a run with a baseline: what has improved or regressed, and with what certainty. A
//! pure function of records.

mod gate;
mod render;
#[cfg(test)]
mod tests;
mod verdicts;

use std::collections::BTreeSet;

use serde::Serialize;

pub use gate::{Gate, Rule, Undecided};

use crate::error::{Error, Result};
use crate::record::{Record, RunManifest, SettingGroup, by_setting};
use crate::suite::Names;

/// Verdict on a setting or one of its figures, from the least to the most alarming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Equal, or within the margin.
    Unchanged,
    /// Better by more than the margin.
    Improved,
    /// Not in the baseline.
    New,
    /// The data are compatible with several verdicts.
    Undecided,
    /// In the baseline, but not in the run; or planned by the baseline, which has no record of it.
    Missing,
    /// Worse by more than the margin; for a figure that must be exact, changed.
    Regressed,
}

/// Comparison of a figure with the baseline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Name of the figure.
    pub what: String,
    /// Verdict on the figure.
    pub verdict: Verdict,
    /// Value in the baseline.
    pub baseline: String,
    /// Value in the run.
    pub run: String,
    /// Change, with its interval if there is one.
    pub change: String,
}

/// Verdict on a setting over its seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SettingVerdict {
    /// Label of the setting.
    pub setting: String,
    /// A short name: the optimizer and what differs between settings.
    #[serde(skip)]
    pub name: String,
    /// Most alarming verdict of its checks.
    pub verdict: Verdict,
    /// Number of cells in both the baseline and the run.
    pub cells: usize,
    /// Whether there are such cells and all are bit-identical.
    pub same_bits: bool,
    /// Checks of its figures. Figures that must be exact appear only if they have changed.
    pub checks: Vec<Check>,
}

/// Comparison of a run with a baseline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunComparison {
    /// Suite name.
    pub suite: String,
    /// Profile name.
    pub profile: String,
    /// Data set.
    pub data: String,
    /// The most alarming verdict.
    pub verdict: Verdict,
    /// Whether both were made on one type of machine, so that bits and times are comparable.
    pub same_machine: bool,
    /// Smallest loss of accuracy in one setting that would be called a regression, as a fraction; null where no accuracy has changed.
    pub smallest_loss: Option<f64>,
    /// Smallest slow-down of all steps that would be called a regression, as a fraction; null where times are not judged.
    pub smallest_slowdown: Option<f64>,
    /// Why the gate fails although nothing regressed.
    pub failures: Vec<String>,
    /// What deserves a warning.
    pub warnings: Vec<String>,
    /// Notes for the reader.
    pub notes: Vec<String>,
    /// Verdicts by setting, in the plan's order, followed by settings found only in the baseline.
    pub settings: Vec<SettingVerdict>,
    /// Accuracies of all settings together, if any cell's have changed.
    pub all_accuracies: Option<Check>,
    /// Step times of all settings together, whose many cells are more conclusive than those of one
    /// setting, if times are judged.
    pub all_times: Option<Check>,
}

/// What both sides have in common.
#[derive(Clone, Copy)]
struct Alike {
    machine: bool,
    data: bool,
}

/// Differences between the sides that a comparison accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Another version of the samples; weights are then not compared.
    pub data: bool,
    /// Another plan.
    pub suite: bool,
    /// Another type of machine, or another number of threads.
    pub machine: bool,
}

/// One side of a comparison.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// Plan of the run.
    pub manifest: &'a RunManifest,
    /// Records in the plan's order.
    pub records: &'a [&'a Record],
}

/// Compares a run with a baseline.
///
/// # Errors
/// When data, plan or type of machine differ and the difference is not allowed.
pub fn compare(baseline: Side<'_>, run: Side<'_>, gate: &Gate, allowed: Allowed) -> Result<RunComparison> {
    let (old, new) = (baseline.manifest, run.manifest);
    let refuse = |what: &str, old: &str, new: &str, allow: &str| {
        Err(Error::Usage(format!(
            "the baseline and the run have different {what}: {old}, {new}; compare like runs, or add --allow {allow}"
        )))
    };
    if (&old.data, &old.data_sha256) != (&new.data, &new.data_sha256) && !allowed.data {
        let text = |m: &RunManifest| format!("{} ({})", m.data, m.data_sha256.get(..12).unwrap_or(&m.data_sha256));
        return refuse("data", &text(old), &text(new), "data");
    }
    if (&old.suite, &old.profile, &old.suite_hash) != (&new.suite, &new.profile, &new.suite_hash) && !allowed.suite {
        let hash = |m: &RunManifest| m.suite_hash.get(..12).unwrap_or(&m.suite_hash).to_string();
        let text = |m: &RunManifest| format!("{} {} ({})", m.suite, m.profile, hash(m));
        return refuse("plans", &text(old), &text(new), "suite");
    }
    let machines = [baseline, run].map(|side| verdicts::machines(side.records));
    let same_machine = machines[0] == machines[1] && machines[0].len() == 1;
    if !same_machine && !allowed.machine && machines.iter().all(|m| !m.is_empty()) {
        let text = |m: &BTreeSet<String>| m.iter().cloned().collect::<Vec<_>>().join(" and ");
        return refuse("machines, or more than one", &text(&machines[0]), &text(&machines[1]), "machine");
    }
    let alike = Alike { machine: same_machine, data: old.data_sha256 == new.data_sha256 };
    let groups = by_setting([run, baseline].map(|Side { manifest, records }| (manifest.cells.as_slice(), records)));
    let times = gate.time.filter(|_| same_machine);
    // Noisy figures, which share the level: each setting's accuracy and time, and the time of all
    // settings.
    let noisy = |group: &SettingGroup<'_, 2>| {
        let pairs = verdicts::pairs(group);
        let accuracy = gate.accuracy.is_some() && verdicts::results_differ(&pairs);
        usize::from(accuracy) + usize::from(times.is_some_and(|rule| rule.each) && !pairs.is_empty())
    };
    let changes: Vec<Vec<f64>> = groups.iter().map(verdicts::accuracy_changes).collect();
    let spreads = verdicts::spreads(&changes);
    let tests = groups.iter().map(noisy).sum::<usize>()
        + usize::from(times.is_some())
        + usize::from(gate.accuracy.is_some() && changes.iter().any(|of| !of.is_empty()));
    let Names { names, .. } = Names::new(groups.iter().map(|group| &group.setting));
    let settings = groups.iter().zip(names).zip(&spreads);
    let settings: Vec<SettingVerdict> = settings
        .filter_map(|((group, name), spread)| verdicts::setting((group, name, *spread), gate, alike, tests))
        .collect();
    let all_accuracies = gate.accuracy.and_then(|rule| verdicts::all_accuracies(&groups, (rule, gate.floor), tests));
    let all_times = times.and_then(|rule| verdicts::all_times([baseline, run], rule, tests));
    let mut notes = Vec::new();
    let unrecorded = old.cells.len() - baseline.records.len();
    if unrecorded > 0 {
        notes.push(format!(
            "the baseline has no readable record of {unrecorded} of its {} cells; train them, or make a new baseline",
            old.cells.len()
        ));
    }
    if old.cells.is_empty() {
        notes.push("the baseline plans no cell, so nothing is compared; make a new baseline".into());
    }
    let losses = groups.iter().zip(&changes).zip(&spreads).filter(|((_, changes), _)| !changes.is_empty());
    let losses = losses.filter_map(|((group, changes), spread)| {
        verdicts::smallest_loss((*spread)?, changes.len(), group.setting.accuracy_step(), gate.accuracy?, tests)
    });
    let smallest_loss = losses.reduce(f64::max);
    let smallest_slowdown = times.and_then(|rule| verdicts::smallest_slowdown([baseline, run], rule, tests));
    let mut failures = Vec::new();
    let detectable = |what: &str, unit: &str, rule: Option<Rule>, found: Option<f64>| {
        let wanted = rule?.detectable?;
        match found {
            Some(found) if found <= wanted => None,
            Some(found) => Some(format!(
                "{what} would be found from {:.1}{unit} on, not from the {:.1}{unit} that the gate asks for",
                100.0 * found,
                100.0 * wanted
            )),
            None => Some(format!("{what} of no size would be found: there are too few measurements for an interval")),
        }
    };
    let accuracy_judged = gate.accuracy.filter(|_| changes.iter().any(|of| !of.is_empty()));
    failures.extend(detectable("a loss of accuracy", " points", accuracy_judged, smallest_loss));
    failures.extend(detectable("a slow-down", "%", times, smallest_slowdown));
    if !alike.data {
        notes.push("different data: weights and mask choices are not compared".into());
    }
    if !same_machine {
        notes.push("different types of machine: weights and times are not compared".into());
    } else if gate.time.is_some() && all_times.is_none() {
        notes.push(
            "times are not judged: the reference step was measured fewer than twice alongside cells that both have"
                .into(),
        );
    }
    let together = [&all_accuracies, &all_times].into_iter().flatten().map(|check| check.verdict);
    let judged = settings.iter().map(|s| s.verdict).chain(together);
    let is_undecided = |s: &SettingVerdict| s.checks.iter().any(|check| check.verdict == Verdict::Undecided);
    let undecided = settings.iter().filter(|s| is_undecided(s)).count()
        + [&all_accuracies, &all_times].into_iter().flatten().filter(|c| c.verdict == Verdict::Undecided).count();
    let mut warnings = Vec::new();
    match gate.undecided {
        _ if undecided == 0 => {}
        Undecided::Pass => {}
        Undecided::Warn => warnings.push(format!("{undecided} comparisons are undecided")),
        Undecided::Fail => {
            failures.push(format!("{undecided} comparisons are undecided, which this gate does not let pass"))
        }
    }
    let verdict = judged.chain(old.cells.is_empty().then_some(Verdict::Missing)).max();
    Ok(RunComparison {
        suite: new.suite.clone(),
        profile: new.profile.clone(),
        data: new.data.clone(),
        verdict: verdict.unwrap_or(Verdict::Missing),
        same_machine,
        smallest_loss,
        smallest_slowdown,
        failures,
        warnings,
        notes,
        settings,
        all_accuracies,
        all_times,
    })
}

impl RunComparison {
    /// Renders the comparison in a format.
    ///
    /// # Errors
    /// When it cannot be written in that format.
    pub fn render(&self, format: ComparisonFormat) -> Result<String> {
        render::render(self, format)
    }
}

/// Output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ComparisonFormat {
    /// A table for the terminal.
    Table,
    /// A comment for a pull request: one line where there is no news.
    Markdown,
    /// For programs.
    Json,
    /// For test reporters.
    Junit,
    /// Workflow commands, which GitHub shows beside the change.
    Github,
}
