//! Rows of a report: cells of one setting gathered over their seeds.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, NaiveDate};
use rayon::prelude::*;

use super::{CellResult, MaskStatistics, Options, Row, Setting, edge, exponent, last_sharpness};
use crate::model::{self, Task};
use crate::nn::RunningStats;
use crate::optim::BatchNormPass2;
use crate::record::{EpochMeasures, Measures, Record, RunManifest, SettingGroup, SharpnessCheck, by_setting};
use crate::stats::{
    Comparison, Difference, LEVEL, Ratio, Summary, bootstrap_median, holm, median, paired, pareto_front, summary,
};
use crate::suite::Cell;

/// Nominal FLOPs within this part of each other count as the same.
const SAME_FLOPS: f64 = 0.05;

/// What rows are compared with.
struct References<'a> {
    /// The SGD setting that has SAM's settings but for its ascent step; without one, the plan's first.
    sgd: Option<&'a Reference>,
    /// The plan's first SAM setting.
    sam: Option<&'a Reference>,
    /// All SGD settings that differ from a shorter one in their epochs alone, those with the settings of `sgd` first.
    longer: Vec<&'a Reference>,
    /// The accuracy that trainings are timed to.
    target: Option<f64>,
    /// The loss of accuracy that claims allow.
    margin: f64,
}

/// The plan's settings in its order, with their records by rising seed. `records` are of its cells.
pub(super) fn groups<'r>(plan: &'r [Cell], records: &[&'r Record]) -> Vec<SettingGroup<'r, 1>> {
    let mut groups = by_setting([(plan, records)]);
    for [records] in groups.iter_mut().map(|group| &mut group.records) {
        records.sort_by_key(|r| r.cell.seed);
    }
    groups
}

/// Places of the rows that differences are to: SGD and SAM. SGD is the one with SAM's settings (learning rate, weight decay,
/// epochs and so on) but for the ascent step, so that the difference is the ascent step's; without one, the plan's first.
fn reference_places(groups: &[SettingGroup<'_, 1>]) -> [Option<usize>; 2] {
    let place = |name: &str| groups.iter().position(|g| g.setting.optimizer.name == name);
    let sam = place("sam");
    let without_ascent = sam.map(|sam| {
        let mut cell = groups[sam].setting.clone();
        cell.optimizer.name = "sgd".into();
        cell.optimizer.ascent = None;
        cell
    });
    let same = without_ascent.and_then(|cell| groups.iter().position(|g| g.setting == cell));
    [same.or_else(|| place("sgd")), sam]
}

/// Rows, and what they are compared with.
pub(super) struct Rows {
    /// One per setting, in the plan's order.
    pub(super) rows: Vec<Row>,
    /// Places of the reference SGD and the reference SAM.
    pub(super) references: [Option<usize>; 2],
    /// The accuracy that trainings are timed to.
    pub(super) target: Option<f64>,
}

pub(super) fn rows(groups: &[SettingGroup<'_, 1>], options: &Options) -> Rows {
    let places = reference_places(groups);
    let references: Vec<Reference> = groups.iter().enumerate().map(|(place, g)| Reference::new(g, place)).collect();
    let [sgd, sam] = places.map(|place| place.map(|place| &references[place]));
    let as_long = |of: &Reference, as_: &Reference| Cell { epochs: as_.setting.epochs, ..of.setting.clone() };
    let is_sgd = |r: &&Reference| r.setting.optimizer.name == "sgd";
    let is_longer = |r: &&Reference| {
        let mut others = references.iter().filter(is_sgd);
        is_sgd(r) && others.any(|other| other.setting.epochs < r.setting.epochs && as_long(r, other) == other.setting)
    };
    let mut longer: Vec<&Reference> = references.iter().filter(is_longer).collect();
    longer.sort_by_key(|r| sgd.is_none_or(|sgd| as_long(r, sgd) != sgd.setting));
    // Every seed of the reference reaches the worst one's last accuracy.
    let worst = sgd.iter().flat_map(|sgd| &sgd.accuracies).map(|(_, accuracy)| *accuracy).reduce(f64::min);
    let target = options.target.or(worst);
    let to = References { sgd, sam, longer, target, margin: options.margin };
    let rows: Vec<(Row, Compared)> =
        groups.par_iter().zip(&references).map(|(group, own)| row(group, own, &to)).collect();
    let (mut rows, compared): (Vec<Row>, Vec<Compared>) = rows.into_iter().unzip();
    correct(&mut rows, &compared);
    let times = references.iter().flat_map(|r| &r.train_seconds);
    let one_machine = times.map(|((_, machine), _)| machine).collect::<HashSet<_>>().len() < 2;
    mark_fronts(&mut rows, one_machine);
    Rows { rows, references: places, target }
}

/// The places of the rows that a row is compared with: SGD, SAM, SGD of equal FLOPs.
type Compared = [Option<usize>; 3];

/// Corrects the p of all comparisons for there being so many; a pair of rows is one, from whichever side.
fn correct(rows: &mut [Row], compared: &[Compared]) {
    fn comparisons(row: &mut Row) -> [Option<&mut Comparison>; 3] {
        [row.to_sgd.as_mut(), row.to_sam.as_mut(), row.to_equal_flops.as_mut()]
    }
    let pair = |place: usize, other: usize| (place.min(other), place.max(other));
    let (mut places, mut p) = (HashMap::new(), Vec::new());
    let all = |rows: &mut [Row], f: &mut dyn FnMut((usize, usize), &mut Comparison)| {
        for (place, row) in rows.iter_mut().enumerate() {
            for (comparison, other) in comparisons(row).into_iter().zip(compared[place]) {
                if let (Some(comparison), Some(other)) = (comparison, other) {
                    f(pair(place, other), comparison);
                }
            }
        }
    };
    all(rows, &mut |pair, comparison| {
        if let Some(found) = comparison.p {
            places.entry(pair).or_insert_with(|| {
                p.push(found);
                p.len() - 1
            });
        }
    });
    let corrected = holm(&p);
    all(rows, &mut |pair, comparison| {
        comparison.p_corrected = comparison.p.and_then(|_| Some(corrected[*places.get(&pair)?]));
    });
}

/// Marks the rows that no other dominates, mean accuracy against mean executed FLOPs and, where all were trained on one type of machine,
/// against median time.
fn mark_fronts(rows: &mut [Row], one_machine: bool) {
    let front = |cost: fn(&Row) -> Option<f64>| {
        let worth = |row: &Row| row.test_accuracy_last.map_or(f64::NAN, |s| s.mean);
        pareto_front(&rows.iter().map(|row| (cost(row).unwrap_or(f64::NAN), worth(row))).collect::<Vec<_>>())
    };
    let (seconds, flops) = (front(|row| row.train_seconds.map(|m| m.median)), front(|row| row.flops_executed));
    for (row, (seconds, flops)) in rows.iter_mut().zip(seconds.into_iter().zip(flops)) {
        (row.on_front_of_seconds, row.on_front_of_flops) = (seconds && one_machine, flops);
    }
}

/// Seconds of training until the end of the first epoch with a test accuracy of at least `target`.
pub(super) fn seconds_to(target: f64, epochs: &[EpochMeasures]) -> Option<f64> {
    let reached = epochs.iter().position(|e| e.test_accuracy >= target)?;
    Some(epochs[..=reached].iter().map(|e| e.train_seconds).sum())
}

/// A measure of a setting's completed cells.
type BySeed = Vec<(u64, f64)>;
/// A time of a setting's completed cells, which can be compared on one type of machine only.
type Times = Vec<((u64, String), f64)>;

/// By seed, the measures of a setting that others are compared with.
struct Reference {
    /// Of its row.
    place: usize,
    setting: Cell,
    accuracies: BySeed,
    step_seconds: Times,
    train_seconds: Times,
    flops: Option<TrainingFlops>,
}

impl Reference {
    /// Of completed cells: a diverged one stopped early and would make everything look cheaper.
    fn new(group: &SettingGroup<'_, 1>, place: usize) -> Self {
        let completed = group.completed();
        let by_seed = |value: fn(&Measures) -> Option<f64>| {
            completed.iter().filter_map(|r| Some((r.cell.seed, value(&r.measures)?))).collect::<Vec<_>>()
        };
        // Trainings that were interrupted may have been timed beside other work, on other threads.
        let timed = || completed.iter().filter(|r| r.resumed == 0);
        let times = |value: fn(&Measures) -> Option<f64>| {
            let key = |r: &Record| (r.cell.seed, r.provenance.machine_type());
            timed().filter_map(|r| Some((key(r), value(&r.measures)?))).collect::<Vec<_>>()
        };
        Self {
            place,
            setting: group.setting.clone(),
            accuracies: by_seed(|m| m.test_accuracy_last),
            step_seconds: times(|m| Some(m.step_seconds?.median)),
            train_seconds: times(|m| Some(m.train_seconds)),
            flops: completed.first().map(|r| TrainingFlops {
                // Equal over seeds; the others follow the masks of each.
                nominal: r.measures.flops_nominal,
                theoretical: summary(&values(&by_seed(|m| Some(m.flops_theoretical))))
                    .map_or(r.measures.flops_theoretical, |s| s.mean),
                executed: summary(&values(&by_seed(|m| m.flops_executed))).map(|s| s.mean),
            }),
        }
    }
}

/// FLOPs of a cell's training, the three columns that must not be mixed.
#[derive(Clone, Copy)]
struct TrainingFlops {
    nominal: f64,
    theoretical: f64,
    executed: Option<f64>,
}

fn values<K>(measured: &[(K, f64)]) -> Vec<f64> {
    measured.iter().map(|(_, value)| *value).collect()
}

/// A setting's row, and what it is compared with.
fn row(group: &SettingGroup<'_, 1>, own: &Reference, to: &References<'_>) -> (Row, Compared) {
    let SettingGroup { setting, planned: [planned], records: [records] } = group;
    let (sgd, sam) = (to.sgd, to.sam);
    let completed = group.completed();
    let of_completed =
        |value: fn(&Measures) -> Option<f64>| completed.iter().filter_map(|r| value(&r.measures)).collect::<Vec<f64>>();
    let sgd_other = sgd.filter(|to| to.place != own.place);
    let sam_other = sam.filter(|to| to.place != own.place);
    let step = setting.accuracy_step();
    let compare = |other: &Reference| Comparison::of_pairs(&own.accuracies, &other.accuracies, step, to.margin);
    let equal_flops = to.longer.iter().copied().find(|other| {
        let nominal = |of: &Reference| of.flops.map(|f| f.nominal);
        let ratio = nominal(own).zip(nominal(other)).map(|(own, other)| own / other);
        ratio.is_some_and(|ratio| (ratio - 1.0).abs() < SAME_FLOPS)
    });
    let equal_flops = equal_flops.filter(|_| setting.optimizer.name != "sgd");
    let ratio = |part: fn(TrainingFlops) -> Option<f64>| {
        // Kernels count what is worth counting: a toy may have none.
        Some(part(own.flops?)? / part(sgd?.flops?)?).filter(|ratio| ratio.is_finite())
    };
    let pooled = |values: fn(&Measures) -> Vec<f64>| {
        median(&completed.iter().flat_map(|r| values(&r.measures)).collect::<Vec<f64>>())
    };
    let sharpness = |value: fn(&SharpnessCheck) -> f64| {
        summary(&completed.iter().filter_map(|r| Some(value(last_sharpness(r)?))).collect::<Vec<f64>>())
    };
    let aligned = completed.iter().map(|r| edge::better_aligned(&r.measures));
    let [better, all] = aligned.fold([0, 0], |sum, cell| [sum[0] + cell[0], sum[1] + cell[1]]);
    let ratios = |own: &Times, sgd: fn(&Reference) -> &Times| {
        let pairs = sgd_other.map(|to| paired(own, sgd(to))).unwrap_or_default();
        pairs.iter().map(|[own, sgd]| own / sgd).collect::<Vec<f64>>()
    };
    let step_ratios = ratios(&own.step_seconds, |to| &to.step_seconds);
    let train_ratios = ratios(&own.train_seconds, |to| &to.train_seconds);
    let row = Row {
        setting: Setting::new(setting),
        label: setting.setting_label(),
        name: String::new(),
        axes: setting.axes().into_iter().map(|(name, value)| (name.into_owned(), value.to_string())).collect(),
        planned: planned.len(),
        diverged: records.len() - completed.len(),
        test_accuracy_last: summary(&values(&own.accuracies)),
        test_accuracy_best: summary(&of_completed(|m| m.test_accuracy_best)),
        test_accuracy_by_epoch: by_epoch(&completed),
        to_sgd: sgd_other.and_then(compare),
        to_sam: sam_other.and_then(compare).map(|c| c.with_seeds(step, to.margin)),
        gain_kept: sgd_other.zip(sam_other).and_then(|(sgd, sam)| gain_kept(own, sgd, sam, step)),
        to_equal_flops: equal_flops.and_then(compare),
        seconds_to_target: to.target.and_then(|target| {
            let timed = completed.iter().filter(|r| r.resumed == 0);
            median(&timed.filter_map(|r| seconds_to(target, &r.measures.epochs)).collect::<Vec<f64>>())
        }),
        on_front_of_seconds: false,
        on_front_of_flops: false,
        step_seconds: median(&values(&own.step_seconds)),
        step_ratio_to_sgd: median(&step_ratios),
        step_ratio_interval: bootstrap_median(&step_ratios, LEVEL),
        train_seconds: median(&values(&own.train_seconds)),
        train_ratio_to_sgd: median(&train_ratios),
        train_ratio_interval: bootstrap_median(&train_ratios, LEVEL),
        flops_nominal: own.flops.map(|f| f.nominal),
        flops_theoretical: own.flops.map(|f| f.theoretical),
        flops_executed: own.flops.and_then(|f| f.executed),
        flops_nominal_ratio_to_sgd: ratio(|f| Some(f.nominal)),
        flops_theoretical_ratio_to_sgd: ratio(|f| Some(f.theoretical)),
        flops_executed_ratio_to_sgd: ratio(|f| f.executed),
        live_fraction: summary(&of_completed(|m| Some(m.mask_refreshes.last()?.live_fraction))),
        masks: MaskStatistics::new(&completed),
        convergence_exponent: summary(&of_completed(exponent)),
        eigenvalue_over_edge: pooled(edge::over_edge),
        eigenvalue_over_gradient_descent_edge: pooled(edge::over_gradient_descent_edge),
        ascent_better_aligned: (all > 0).then(|| better as f64 / all as f64),
        edge_unconverged: completed.iter().flat_map(|r| edge::late(&r.measures)).filter(|c| !c.converged).count(),
        eigenvalue: sharpness(|s| s.eigenvalue),
        trace: sharpness(|s| s.trace),
        max_loss_increase: sharpness(|s| s.max_loss_increase),
        cells: records.iter().map(|r| CellResult::new(r, to.target)).collect(),
    };
    (row, [sgd_other, sam_other, equal_flops].map(|other| other.map(|other| other.place)))
}

/// The part of SAM's gain over SGD that a setting has, over the seeds that all three have; none where SAM is not shown to gain.
fn gain_kept(own: &Reference, sgd: &Reference, sam: &Reference, step: f64) -> Option<Ratio> {
    let pairs: Vec<[f64; 2]> = own
        .accuracies
        .iter()
        .filter_map(|(seed, own)| {
            let of =
                |other: &Reference| other.accuracies.iter().find(|(other, _)| other == seed).map(|(_, value)| *value);
            let sgd = of(sgd)?;
            Some([own - sgd, of(sam)? - sgd])
        })
        .collect();
    let gain = summary(&pairs.iter().map(|[_, sam]| *sam).collect::<Vec<_>>())?;
    let gain = Difference::paired(&gain)?.in_steps_of(step, gain.n).interval(LEVEL)?;
    Ratio::of_pairs(&pairs, step).filter(|_| gain.low > 0.0)
}

/// Test accuracy after each epoch.
fn by_epoch(records: &[&Record]) -> Vec<Summary> {
    let epochs = records.iter().map(|r| r.measures.epochs.len()).max().unwrap_or(0);
    let after = |epoch: usize| records.iter().filter_map(move |r| Some(r.measures.epochs.get(epoch)?.test_accuracy));
    (0..epochs).filter_map(|epoch| summary(&after(epoch).collect::<Vec<f64>>())).collect()
}

/// What was trained, in words; none of an empty plan.
pub(super) fn trained(manifest: &RunManifest, records: &[&Record]) -> Option<String> {
    let cell = manifest.cells.first()?;
    let width = cell.model.width.map_or_else(String::new, |width| format!(" width {width}"));
    let parameters = records.first().map_or_else(String::new, |r| format!(" ({} parameters)", r.measures.parameters));
    let batch = if cell.full_batch_steps.is_some() { "of all".into() } else { cell.batch_size.to_string() };
    let seeds = manifest.cells.iter().map(|cell| cell.seed).collect::<HashSet<_>>().len();
    let seeds = if seeds == 1 { "one seed".into() } else { format!("{seeds} seeds") };
    let (model, data) = (&cell.model.name, &cell.data);
    Some(format!(
        "{model}{width}{parameters}, {} training and {} test samples, batch {batch}, {seeds}",
        data.train, data.test
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
pub(super) fn notes(manifest: &RunManifest, records: &[&Record], groups: &[SettingGroup<'_, 1>]) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(all) = manifest.profile_cells.filter(|all| *all > manifest.cells.len()) {
        notes.push(format!("part of the profile: {} of its {all} cells were selected", manifest.cells.len()));
    }
    if !manifest.cells.iter().any(|c| c.optimizer.name == "sgd") {
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
    if let Some(m) = median(&records.iter().filter_map(|r| reference(r)).collect::<Vec<_>>()).filter(|m| m.n > 1) {
        let [middle, min, max] = [m.median, m.min, m.max].map(|seconds| 1e3 * seconds);
        let advice = if max / min > 1.0 + DRIFT {
            "; the machine's speed varied: end other programs and rerun with --fresh before trusting times"
        } else {
            ""
        };
        notes.push(format!(
            "the reference step took {middle:.2} ms ({min:.2}-{max:.2}) before {} trainings{advice}",
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
