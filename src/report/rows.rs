//! Rows of a report: cells of one setting gathered over their seeds.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use super::claims::{Concluded, RowClaims, Schedule, conclude};
use super::comparisons::{COLUMNS, comparisons};
use super::{
    CellResult, EpochAccuracy, MaskStatistics, Options, Row, Setting, ece, edge, exponent, last_sharpness, nll,
};
use crate::record::{Measures, Record, RunManifest, SettingGroup, SharpnessCheck, Status, by_setting};
use crate::stats::{BySeed, Censored, Comparison, POWER, median, paired, pareto_front, seeds_for_no_loss, summary};
use crate::suite::{Cell, Claims};

/// Nominal FLOPs within this part of each other count as the same.
const SAME_FLOPS: f64 = 0.05;

/// The plan's settings in its order, with their records by rising seed. `records` are of its cells.
pub(super) fn groups<'r>(plan: &'r [Cell], records: &[&'r Record]) -> Vec<SettingGroup<'r, 1>> {
    let mut groups = by_setting([(plan, records)]);
    for [records] in groups.iter_mut().map(|group| &mut group.records) {
        records.sort_by_key(|r| r.cell.seed);
    }
    groups
}

/// Rows, and what they are compared with.
pub(super) struct Rows {
    /// One per setting, in the plan's order.
    pub(super) rows: Vec<Row>,
    /// Places of the reference SGD and the reference SAM.
    pub(super) references: [Option<usize>; 2],
    /// The accuracy that trainings are timed to.
    pub(super) target: Option<f64>,
    /// The claims that are tested.
    pub(super) claims: Claims,
    /// What is concluded about them.
    pub(super) concluded: Option<Concluded>,
}

pub(super) fn rows(groups: &[SettingGroup<'_, 1>], manifest: &RunManifest, options: &Options) -> Rows {
    let claims = options.claims(manifest);
    let places = claims.arms(&groups.iter().map(|group| &group.setting).collect::<Vec<_>>());
    let references: Vec<Reference> = groups.iter().map(Reference::new).collect();
    let compared = compared(&references, places);
    let comparisons = comparisons(&references, &compared);
    let concluded = conclude(&references, places, &claims, &Schedule::new(manifest.looks.as_ref()));
    let sgd = places[0].map(|place| &references[place]);
    // Every seed of the reference reaches the worst one's last accuracy.
    let worst = sgd.iter().flat_map(|sgd| &sgd.accuracies).map(|(_, accuracy)| *accuracy).reduce(f64::min);
    let target = options.target.or(worst);
    let mut rows: Vec<Row> = groups
        .par_iter()
        .zip(&references)
        .zip(&comparisons)
        .enumerate()
        .map(|(place, ((group, own), comparisons))| {
            let mut found = concluded.as_ref().map(|concluded| concluded.rows[place]).unwrap_or_default();
            found.seeds_for_no_loss = found.no_loss.and_then(|_| {
                let [_, to_sam, _] = comparisons;
                let sd = to_sam.as_ref().and_then(|c| Some(c.standard_error? * (c.n as f64).sqrt()))?;
                seeds_for_no_loss(sd, claims.margin / 100.0, claims.alpha, POWER)
            });
            let other = sgd.filter(|_| places[0] != Some(place));
            row(group, own, [sgd, other], target, Compared { comparisons: *comparisons, claims: found })
        })
        .collect();
    let times = references.iter().flat_map(|r| &r.train_seconds);
    let one_machine = times.map(|((_, machine), _)| machine).collect::<HashSet<_>>().len() < 2;
    mark_fronts(&mut rows, one_machine);
    Rows { rows, references: places, target, claims, concluded }
}

/// For each row the places of what it is compared with: SGD, SAM, and SGD trained for longer at equal FLOPs.
fn compared(rows: &[Reference], [sgd, sam]: [Option<usize>; 2]) -> Vec<[Option<usize>; COLUMNS]> {
    let as_long = |of: &Reference, as_: &Reference| Cell { epochs: as_.setting.epochs, ..of.setting.clone() };
    let base = sgd.map(|sgd| rows[sgd].setting.optimizer.base.name());
    let is_sgd = |r: &Reference| {
        let optimizer = &r.setting.optimizer;
        optimizer.ascent.is_none() && base.is_none_or(|base| optimizer.base.name() == base)
    };
    let is_longer = |r: &Reference| {
        let mut others = rows.iter().filter(|other| is_sgd(other));
        is_sgd(r) && others.any(|other| other.setting.epochs < r.setting.epochs && as_long(r, other) == other.setting)
    };
    let mut longer: Vec<usize> = (0..rows.len()).filter(|place| is_longer(&rows[*place])).collect();
    // Those with the settings of the reference first.
    longer.sort_by_key(|place| sgd.is_none_or(|sgd| as_long(&rows[*place], &rows[sgd]) != rows[sgd].setting));
    let nominal = |place: usize| rows[place].flops.map(|f| f.nominal);
    let of = |place: usize| {
        let other = |to: Option<usize>| to.filter(|to| *to != place);
        let equal_flops = longer.iter().copied().find(|longer| {
            let ratio = nominal(place).zip(nominal(*longer)).map(|(own, longer)| own / longer);
            ratio.is_some_and(|ratio| (ratio - 1.0).abs() < SAME_FLOPS)
        });
        [other(sgd), other(sam), equal_flops.filter(|_| !is_sgd(&rows[place]))]
    };
    (0..rows.len()).map(of).collect()
}

/// What a row's differences are and say.
struct Compared {
    comparisons: [Option<Comparison>; COLUMNS],
    claims: RowClaims,
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

/// Seconds of training until the end of the first epoch with a test accuracy of at least `target`; none for a training that does not
/// reach it or diverged.
pub(super) fn seconds_to_target(target: f64, record: &Record) -> Option<f64> {
    let epochs = &record.measures.epochs;
    if record.status != Status::Completed {
        return None;
    }
    let reached = epochs.iter().position(|e| e.test_accuracy.is_some_and(|accuracy| accuracy >= target))?;
    Some(epochs[..=reached].iter().map(|e| e.train_seconds).sum())
}

/// A time of a setting's completed cells, which can be compared on one type of machine only.
type Times = Vec<((u64, String), f64)>;

/// By seed, the measures of a setting that others are compared with.
#[derive(Clone)]
pub(super) struct Reference {
    pub(super) setting: Cell,
    /// Seeds planned, in the plan's order.
    pub(super) planned: Vec<u64>,
    /// Seeds of cells that have ended, completed or not.
    ended: HashSet<u64>,
    /// Last accuracies, in the order of seeds planned.
    pub(super) accuracies: BySeed,
    /// By seed, whether the prediction of each test sample is right, where that is known.
    pub(super) correct: HashMap<u64, Vec<bool>>,
    step_seconds: Times,
    train_seconds: Times,
    flops: Option<TrainingFlops>,
}

impl Reference {
    /// Of completed cells: a diverged one stopped early and would make everything look cheaper.
    fn new(group: &SettingGroup<'_, 1>) -> Self {
        let planned: Vec<u64> = group.planned[0].iter().map(|cell| cell.seed).collect();
        let order: HashMap<u64, usize> = planned.iter().copied().zip(0..).collect();
        let mut completed = group.completed();
        completed.sort_by_key(|r| order.get(&r.cell.seed));
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
            setting: group.setting.clone(),
            planned,
            ended: group.records[0].iter().map(|r| r.cell.seed).collect(),
            accuracies: by_seed(|m| m.test_accuracy_last),
            correct: completed.iter().filter_map(|r| Some((r.cell.seed, correct(r)?))).collect(),
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

    /// Of planned seeds and these accuracies; seeds without one diverged.
    #[cfg(test)]
    pub(super) fn made(setting: &Cell, planned: &[u64], accuracies: BySeed) -> Self {
        let (planned, ended) = (planned.to_vec(), planned.iter().copied().collect());
        let (step_seconds, train_seconds) = (Times::new(), Times::new());
        let (setting, correct) = (setting.clone(), HashMap::new());
        Self { setting, planned, ended, accuracies, correct, step_seconds, train_seconds, flops: None }
    }

    /// The accuracies of the first `seeds` seeds planned.
    pub(super) fn accuracies_of(&self, seeds: usize) -> BySeed {
        let first = &self.planned[..seeds.min(self.planned.len())];
        self.accuracies.iter().filter(|(seed, _)| first.contains(seed)).copied().collect()
    }

    /// Whether so many seeds are planned and have ended.
    pub(super) fn has_ended(&self, seeds: usize) -> bool {
        self.planned.len() >= seeds && self.planned[..seeds].iter().all(|seed| self.ended.contains(seed))
    }

    /// Whether trainings have ended and none of them completed.
    pub(super) fn has_all_diverged(&self) -> bool {
        self.accuracies.is_empty() && !self.ended.is_empty()
    }

    /// Trainings that diverged, of the first `seeds` seeds planned.
    pub(super) fn failures(&self, seeds: usize) -> usize {
        let first = &self.planned[..seeds.min(self.planned.len())];
        let completed = |seed: &u64| self.accuracies.iter().any(|(other, _)| other == seed);
        first.iter().filter(|seed| self.ended.contains(seed) && !completed(seed)).count()
    }
}

/// Whether the prediction of each test sample is right. The characters of a text are no samples of their own.
fn correct(record: &Record) -> Option<Vec<bool>> {
    let samples = record.measures.test_samples.as_ref().filter(|samples| samples.n == record.cell.data.test)?;
    samples.unpack()
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

/// A setting's row, given its own measures, those of the reference SGD, and again those of the reference SGD if it is another row.
fn row(
    group: &SettingGroup<'_, 1>,
    own: &Reference,
    [sgd, sgd_other]: [Option<&Reference>; 2],
    target: Option<f64>,
    Compared { comparisons: [to_sgd, to_sam, to_equal_flops], claims }: Compared,
) -> Row {
    let SettingGroup { setting, planned: [planned], records: [records] } = group;
    let completed = group.completed();
    let of_completed =
        |value: fn(&Measures) -> Option<f64>| completed.iter().filter_map(|r| value(&r.measures)).collect::<Vec<f64>>();
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
    Row {
        setting: Setting::new(setting),
        label: setting.setting_label(),
        name: String::new(),
        axes: setting.axes().into_iter().map(|(name, value)| (name.into_owned(), value.to_string())).collect(),
        planned: planned.len(),
        diverged: records.len() - completed.len(),
        test_accuracy_last: summary(&values(&own.accuracies)),
        test_accuracy_best: summary(&of_completed(|m| m.test_accuracy_best)),
        test_nll: summary(&of_completed(nll)),
        test_ece: summary(&of_completed(ece)),
        test_accuracy_by_epoch: by_epoch(&completed),
        to_sgd,
        to_sam,
        to_equal_flops,
        claims,
        seconds_to_target: target.and_then(|target| {
            let timed = records.iter().filter(|r| r.resumed == 0);
            Censored::new(&timed.map(|r| seconds_to_target(target, r)).collect::<Vec<_>>())
        }),
        on_front_of_seconds: false,
        on_front_of_flops: false,
        step_seconds: median(&values(&own.step_seconds)),
        step_ratio_to_sgd: median(&step_ratios),
        train_seconds: median(&values(&own.train_seconds)),
        train_ratio_to_sgd: median(&train_ratios),
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
        cells: records.iter().map(|r| CellResult::new(r, target)).collect(),
    }
}

/// Test accuracy after each epoch that was evaluated.
fn by_epoch(records: &[&Record]) -> Vec<EpochAccuracy> {
    let epochs = records.iter().map(|r| r.measures.epochs.len()).max().unwrap_or(0);
    let after = |epoch: usize| records.iter().filter_map(move |r| r.measures.epochs.get(epoch)?.test_accuracy);
    let of = |epoch| Some(EpochAccuracy { epoch: epoch + 1, accuracy: summary(&after(epoch).collect::<Vec<f64>>())? });
    (0..epochs).filter_map(of).collect()
}
