//! Several runs as one: of machines that shared a suite, or with seeds that were added later.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};
use crate::record::{Record, RunManifest, Status};

/// Disagreements that are told one by one.
const TOLD: usize = 5;

/// A run with what it is called.
pub struct NamedRun {
    /// Its folder, for messages.
    pub name: String,
    /// What it is.
    pub manifest: RunManifest,
    /// Its records.
    pub records: Vec<Record>,
}

/// Runs as one.
pub struct Merged {
    /// The cells of all, in the order of the first that has them.
    pub manifest: RunManifest,
    /// One record for each finished cell: the first run's that has it.
    pub records: Vec<Record>,
    /// What the reader should know: cells that several runs have, and whether they agree.
    pub notes: Vec<String>,
}

/// Puts runs of one suite, profile and data set together.
///
/// # Errors
/// When they are of different ones, or there is none.
pub fn merge(runs: Vec<NamedRun>) -> Result<Merged> {
    let Some(first) = runs.first() else { return Err(Error::Usage("no run was given".into())) };
    let mut manifest = first.manifest.clone();
    for other in &runs[1..] {
        refuse_other(first, other)?;
        if other.manifest.suite_hash != manifest.suite_hash {
            // Together they are no part of one profile.
            manifest.profile_cells = None;
        }
    }
    // The latest look that any of them has reached.
    let looks = runs.iter().filter_map(|run| run.manifest.looks.clone());
    manifest.looks = looks.max_by_key(|looks| looks.planned);
    let mut seen = HashSet::new();
    manifest.cells = runs.iter().flat_map(|run| &run.manifest.cells).filter(|c| seen.insert(c.id())).cloned().collect();
    let mut notes = Vec::new();
    if runs.len() > 1 {
        let parts: Vec<String> = runs.iter().map(|r| format!("{} ({} records)", r.name, r.records.len())).collect();
        notes.push(format!("{} runs together: {}", runs.len(), parts.join(", ")));
    }
    let mut records: Vec<Record> = Vec::new();
    let mut places: HashMap<(String, String), (usize, String)> = HashMap::new();
    let (mut same, mut disagreements) = (0, Vec::new());
    for run in runs {
        for record in run.records {
            let key = (record.id.clone(), record.data.sha256.clone());
            match places.get(&key) {
                None => {
                    places.insert(key, (records.len(), run.name.clone()));
                    records.push(record);
                }
                Some((place, name)) => match disagreement(name, &records[*place], &run.name, &record) {
                    None => same += 1,
                    Some(text) => disagreements.push(text),
                },
            }
        }
    }
    if same > 0 {
        notes.push(format!(
            "cells that several runs have, with the same weights: {same} (counted once, the earlier run's)"
        ));
    }
    if !disagreements.is_empty() {
        notes.push(format!(
            "cells on which runs DISAGREE: {} (the earlier run's record is reported)",
            disagreements.len()
        ));
        let more = disagreements.len().saturating_sub(TOLD);
        notes.extend(disagreements.into_iter().take(TOLD));
        if more > 0 {
            notes.push(format!("and {more} more disagreements"));
        }
    }
    Ok(Merged { manifest, records, notes })
}

fn refuse_other(first: &NamedRun, other: &NamedRun) -> Result<()> {
    let what = |run: &NamedRun| {
        let m = &run.manifest;
        format!("{} {} on {} ({})", m.suite, m.profile, m.data, m.data_sha256.get(..12).unwrap_or(&m.data_sha256))
    };
    let [a, b] = [what(first), what(other)];
    if a == b {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{} holds {a}, {} holds {b}; only runs of one suite, profile and data set can be reported together: report the others by \
         themselves",
        first.name, other.name
    )))
}

/// How two records of one cell differ in what should be equal; nothing where they do not.
fn disagreement(name: &str, a: &Record, other: &str, b: &Record) -> Option<String> {
    let result = |r: &Record| (r.status, r.measures.fingerprint.clone(), r.measures.test_accuracy_last);
    if result(a) == result(b) {
        return None;
    }
    let text = |r: &Record| match (r.status, r.measures.test_accuracy_last) {
        (Status::Diverged { epoch, .. }, _) => format!("diverged in epoch {epoch}"),
        (Status::Completed, accuracy) => {
            let weights = r.measures.fingerprint.get(..12).unwrap_or(&r.measures.fingerprint);
            format!("{} %, weights {weights}", accuracy.map_or("-".into(), |a| format!("{:.2}", 100.0 * a)))
        }
    };
    // The number of threads changes no bit.
    let why = if a.provenance.kind() == b.provenance.kind() {
        "on one type of machine, where the same program gives the same bits: do not trust either before you know why"
    } else {
        "on different types of machine or device, whose bits may differ"
    };
    Some(format!("{}: {} in {name}, {} in {other}; {why}", a.cell.label(), text(a), text(b)))
}
