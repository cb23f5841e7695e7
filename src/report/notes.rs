//! What the reader of a report should know: what was trained, where and when, what is missing or in doubt.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, NaiveDate};

use super::{Options, Row};
use crate::model::{self, Task};
use crate::nn::RunningStats;
use crate::optim::BatchNormPass2;
use crate::record::{Record, RunManifest, SettingGroup};
use crate::stats::median;
use crate::suite::Cell;

/// What is trained, in words; none of an empty plan.
pub(crate) fn trained(cells: &[Cell], parameters: Option<usize>) -> Option<String> {
    let cell = cells.first()?;
    let width = cell.model.width.map_or_else(String::new, |width| format!(" width {width}"));
    let parameters = parameters.map_or_else(String::new, |parameters| format!(" ({parameters} parameters)"));
    // What most rows have; the names of the others say so.
    let mut counts: HashMap<usize, usize> = HashMap::new();
    cells.iter().for_each(|cell| *counts.entry(cell.epochs).or_default() += 1);
    let epochs = cells.iter().map(|cell| cell.epochs).max_by_key(|epochs| counts[epochs]).unwrap_or_default();
    let length = match (cell.full_batch_steps, epochs) {
        (Some(steps), _) => format!("{} steps of all samples", epochs.saturating_mul(steps)),
        (None, 1) => format!("one epoch, batch {}", cell.batch_size),
        (None, _) => format!("{epochs} epochs, batch {}", cell.batch_size),
    };
    let seeds = cells.iter().map(|cell| cell.seed).collect::<HashSet<_>>().len();
    let seeds = if seeds == 1 { "one seed".into() } else { format!("{seeds} seeds") };
    let (model, data) = (&cell.model.name, &cell.data);
    Some(format!(
        "{model}{width}{parameters}, {} training and {} {} samples, {length}, {seeds}",
        data.train,
        data.test,
        data.measured_on()
    ))
}

/// What to know where rows that are compared update BatchNorm's running statistics differently.
fn batch_norm_note(manifest: &RunManifest) -> Option<String> {
    let first = manifest.cells.first()?;
    let model = model::build(&first.model, Task::try_from(&first.data).ok()?).ok()?;
    RunningStats::new(model.layout()).named().next()?;
    let twice =
        |cell: &Cell| cell.optimizer.ascent.as_ref().is_some_and(|ascent| ascent.batch_norm == BatchNormPass2::Update);
    let (twice, once): (Vec<&Cell>, Vec<&Cell>) = manifest.cells.iter().partition(|cell| twice(cell));
    (!twice.is_empty() && !once.is_empty()).then(|| {
        "SAM's rows update BatchNorm's running statistics twice a step, SGD's once: even with rho 0, accuracies differ; \
         batch_norm = \"freeze\" updates once"
            .into()
    })
}

/// Live weights over 1 - sparsity above which a mask leaves far fewer out than it was asked to.
const OVERSHOOT: f64 = 1.5;

/// The rows whose masks leave far fewer weights out than their sparsity says.
fn live_note(rows: &[Row]) -> Option<String> {
    let over = |row: &Row| {
        let asked = 1.0 - row.axis("sparsity")?.parse::<f64>().ok()?;
        let live = row.live_fraction?.mean;
        (live > OVERSHOOT * asked).then(|| format!("{:.0}% in {}", 100.0 * live, row.name))
    };
    let over: Vec<String> = rows.iter().filter_map(over).collect();
    (!over.is_empty()).then(|| {
        format!(
            "masks of whole tensors or channels may leave more weights live than their sparsity asks for; after the last refresh: {}",
            over.join(", ")
        )
    })
}

/// The machine that a record was measured on.
fn machine(r: &Record) -> String {
    let m = &r.provenance.machine;
    let gpu = r.provenance.gpu.as_ref().map_or_else(String::new, |gpu| format!("{gpu}, "));
    let company = r.provenance.company();
    format!("{gpu}{}, {} CPUs, {} threads{company}, {}", m.cpu, m.cpus, r.provenance.threads, m.platform)
}

/// Where and when the records were measured; `None` without any.
pub(super) fn measured(records: &[&Record]) -> Option<String> {
    let machines = distinct(records, machine);
    let place = match machines.as_slice() {
        [] => return None,
        [one] => one.clone(),
        several => format!("{} different machines or settings of them", several.len()),
    };
    let day = |seconds: u64| Some(DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0)?.date_naive());
    let days: Vec<NaiveDate> = records.iter().filter_map(|r| day(r.provenance.finished_unix)).collect();
    let days = match (days.iter().min(), days.iter().max()) {
        (Some(first), Some(last)) if first == last => format!(", {first}"),
        (Some(first), Some(last)) => format!(", {first} to {last}"),
        _ => String::new(),
    };
    Some(format!("measured on {place}{days}"))
}

/// What to bear in mind: what is missing or in doubt, machines that differ, the versions.
pub(super) fn notes(
    manifest: &RunManifest,
    records: &[&Record],
    groups: &[SettingGroup<'_, 1>],
    rows: &[Row],
    options: &Options,
) -> Vec<String> {
    let mut notes = Vec::new();
    if manifest.cells.first().is_some_and(|cell| cell.data.validation) {
        notes.push(
            "accuracies are measured on validation samples held out of the training set, not on the test set".into(),
        );
    }
    let stated = manifest.claims.clone().unwrap_or_default().margin;
    if options.margin.is_some_and(|margin| margin != stated) {
        notes.push(
            "the margin was given with the report, after the data; state it in the suite's [claims] before training"
                .into(),
        );
    }
    let earlier = records.iter().filter(|r| r.suite_hash != manifest.suite_hash).count();
    if earlier > 0 {
        notes.push(format!(
            "not planned: {earlier} cells were trained before the suite was changed (its seeds, rows or claims), so the levels of claims do \
             not hold; `suite --until decided` adds seeds as planned"
        ));
    }
    if manifest.looks.is_some() {
        let unplanned = records.iter().filter(|r| r.look.is_none()).count();
        if unplanned > 0 {
            notes.push(format!(
                "{unplanned} cells were trained without --until decided: if claims were reported then, that was a look too many"
            ));
        }
        notes.push(
            "seeds were added until claims were decided: intervals, stars and shares do not allow for that, the claims do".into(),
        );
    }
    if let Some(all) = manifest.profile_cells.filter(|all| *all > manifest.cells.len()) {
        notes.push(format!("part of the profile: {} of its {all} cells were selected", manifest.cells.len()));
    }
    if !manifest.cells.iter().any(|c| c.optimizer.ascent.is_none()) {
        notes.push("no SGD cell was selected, so there is nothing to compare with".into());
    }
    let left_out = records.iter().map(|r| r.data.unreadable.len()).max().unwrap_or(0);
    if left_out > 0 {
        notes.push(format!("up to {left_out} unreadable files of a cell were left out; its record lists them"));
    }
    if let several @ [_, _, ..] = distinct(records, machine).as_slice() {
        notes.push(format!(
            "times come from different machines, thread counts or numbers of cells at once, and must not be compared: {}",
            several.join("; ")
        ));
    }
    notes.extend(batch_norm_note(manifest));
    notes.extend(live_note(rows));
    let changed = records.iter().filter(|r| r.data.original == Some(false)).count();
    if changed > 0 {
        notes.push(format!(
            "{changed} cells were trained on images that are not the published ones of {}",
            manifest.data
        ));
    }
    let unsigned = records.iter().filter(|r| r.digest.is_none()).count();
    if unsigned > 0 {
        let theory = if unsigned < records.len() && manifest.cells.iter().any(|cell| cell.mask().is_some()) {
            "; older versions computed theoretical FLOPs from the requested sparsity"
        } else {
            ""
        };
        notes.push(format!("records without a digest, of older versions or edited by hand: {unsigned}{theory}"));
    }
    let resumed = records.iter().filter(|r| r.resumed > 0).count();
    if resumed > 0 {
        notes.push(format!("resumed trainings, whose times are excluded: {resumed}"));
    }
    notes.extend(timing_notes(groups, records));
    let version = |r: &Record| {
        let p = &r.provenance;
        format!("{} ({})", p.sharpbench, p.git_revision.as_deref().map_or("no revision", |r| r))
    };
    match distinct(records, version).as_slice() {
        [] => {}
        [one] => notes.push(format!("sharpbench {one}")),
        several => notes.push(format!(
            "records come from different versions of sharpbench, whose times may differ: {}",
            several.join("; ")
        )),
    }
    notes
}

/// Part by which the reference step may vary over a run before its times are in doubt.
const DRIFT: f64 = 0.15;
/// Part by which the steps of a training may exceed the median of its setting before they are.
const OUTLIER: f64 = 0.25;

/// Part of a training's time that none of its steps may take, where it has at least so many.
const LONG_STEP: (f64, usize) = (0.1, 20);

/// How steady the machine was, by its reference step; the trainings whose steps took much longer than those of the same setting with
/// other seeds; and those of which one step took much of the time.
fn timing_notes(groups: &[SettingGroup<'_, 1>], records: &[&Record]) -> Vec<String> {
    let mut notes = Vec::new();
    let reference = |r: &Record| r.reference_step_seconds.map(|s| s.median);
    // Machines that differ are no drift.
    let mut machines: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    records.iter().for_each(|r| machines.entry(machine(r)).or_default().extend(reference(r)));
    for (place, seconds) in &machines {
        let Some(m) = median(seconds).filter(|m| m.n > 1) else { continue };
        let [middle, min, max] = [m.median, m.min, m.max].map(|seconds| 1e3 * seconds);
        let advice = if max / min > 1.0 + DRIFT {
            "; the machine's speed varied: end other programs and rerun with --fresh before trusting times"
        } else {
            ""
        };
        let place = if machines.len() == 1 { String::new() } else { format!(" on {place}") };
        notes.push(format!(
            "the reference step took {middle:.2} ms ({min:.2}-{max:.2}) before {} trainings{place}{advice}",
            m.n
        ));
    }
    let mut slow = Vec::new();
    for group in groups {
        // In reference steps where all have one, so that a slow machine is not taken for a slow training.
        let seconds = |r: &&Record| Some((r.measures.step_seconds?.median, reference(r)));
        let all: Option<Vec<_>> = group.completed().iter().map(seconds).collect();
        let Some(all) = all.filter(|all| all.len() > 2) else { continue };
        let relative = all.iter().all(|(_, reference)| reference.is_some());
        let steps: Vec<f64> = all.iter().map(|(s, r)| s / r.filter(|_| relative).unwrap_or(1.0)).collect();
        let Some(middle) = median(&steps) else { continue };
        let completed = group.completed();
        let labels = completed.iter().map(|r| r.cell.label());
        slow.extend(labels.zip(&steps).filter(|(_, s)| **s > (1.0 + OUTLIER) * middle.median).map(|(label, _)| label));
    }
    if let [first, others @ ..] = slow.as_slice() {
        let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
        notes.push(format!(
            "{first}{more} took over {:.0}% longer per step than the same setting with other seeds: another program was running; remove the records and rerun before trusting times",
            100.0 * OUTLIER
        ));
    }
    let (part, enough) = LONG_STEP;
    let long = |r: &&&Record| {
        let m = &r.measures;
        m.step_seconds.is_some_and(|s| s.n >= enough && s.max - s.median > part * m.train_seconds)
    };
    if let [first, others @ ..] = records.iter().filter(long).collect::<Vec<_>>().as_slice() {
        let more = if others.is_empty() { String::new() } else { format!(" (and of {} more trainings)", others.len()) };
        let [max, median] = first.measures.step_seconds.map_or([f64::NAN; 2], |s| [s.max, s.median]);
        notes.push(format!(
            "one step of {}{more} took {max:.3} s, the median is {median:.3} s: the process was suspended or had to wait, so do not trust the time of the whole training",
            first.cell.label()
        ));
    }
    notes
}

fn distinct(records: &[&Record], text: impl Fn(&Record) -> String) -> Vec<String> {
    let texts: std::collections::BTreeSet<String> = records.iter().map(|r| text(r)).collect();
    texts.into_iter().collect()
}
