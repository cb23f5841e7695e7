//! Verdicts on settings and their figures.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Alike, Check, Gate, Rule, SettingVerdict, Side, Verdict};
use crate::record::{Measures, Record, SettingGroup, Status};
use crate::stats::{BySeed, Difference, Interval, Summary, paired, summary};
use crate::terminal::signed;

/// Machine types, with their threads, of these records.
pub(super) fn machines(records: &[&Record]) -> BTreeSet<String> {
    records.iter().map(|r| r.provenance.machine_type()).collect()
}

/// How much a cell's accuracy changes by chance, from one training to another one that differs in its last bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    deviation: f64,
    freedom: f64,
}

/// Degrees of freedom from which on the deviations within settings say enough.
const ENOUGH: f64 = 4.0;

/// The spread for each setting, given the changes of its cells (none where bits are the same): that of the changes around their
/// settings' means, over all settings. With too few seeds for that, a setting's own changes say nothing of their spread; then it is
/// that of the other settings' changes around 0, which other settings' real changes can only widen.
pub(super) fn spreads(changes: &[Vec<f64>]) -> Vec<Option<Spread>> {
    let squares = |values: &[f64], around: f64| values.iter().map(|v| (v - around).powi(2)).sum::<f64>();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let freedom = changes.iter().map(|c| c.len().saturating_sub(1)).sum::<usize>() as f64;
    let within: f64 = changes.iter().map(|c| squares(c, mean(c))).sum();
    let (all, count) =
        (changes.iter().map(|c| squares(c, 0.0)).sum::<f64>(), changes.iter().map(Vec::len).sum::<usize>());
    let of = |own: &Vec<f64>| {
        let (squares, freedom) =
            if freedom >= ENOUGH { (within, freedom) } else { (all - squares(own, 0.0), (count - own.len()) as f64) };
        (freedom >= 1.0).then(|| Spread { deviation: (squares.max(0.0) / freedom).sqrt(), freedom })
    };
    changes.iter().map(of).collect()
}

/// Accuracies of a setting's cells before and after, paired; none where bits are the same.
fn changed_accuracies(group: &SettingGroup<'_, 2>) -> Vec<[f64; 2]> {
    let pairs = pairs(group);
    if !results_differ(&pairs) {
        return Vec::new();
    }
    let of = |[was, is]: &[&Record; 2]| {
        let completed = [was, is].iter().all(|r| r.status == Status::Completed);
        completed.then_some([was.measures.test_accuracy_last?, is.measures.test_accuracy_last?])
    };
    pairs.iter().filter_map(of).collect()
}

/// Changes of accuracy of a setting's cells; none where bits are the same.
pub(super) fn accuracy_changes(group: &SettingGroup<'_, 2>) -> Vec<f64> {
    changed_accuracies(group).iter().map(|[was, is]| is - was).collect()
}

/// Verdict on a setting in the run and the baseline; `None` if neither has or plans a cell of it.
/// Its noisy figures are corrected for `tests` tests in total.
pub(super) fn setting(
    (group, name, spread): (&SettingGroup<'_, 2>, String, Option<Spread>),
    gate: &Gate,
    alike: Alike,
    tests: usize,
) -> Option<SettingVerdict> {
    let [new, old] = &group.records;
    let find = |records: &[&Record], id: &str| records.iter().any(|r| r.id == id);
    let mut checks = Vec::new();
    let missing = |seed, there| presence(seed, Verdict::Missing, [if there { "there" } else { "-" }, "no record"]);
    checks.extend(old.iter().filter(|was| !find(new, &was.id)).map(|was| missing(was.cell.seed, true)));
    let open = group.planned[0].iter().filter(|cell| !find(new, &cell.id()) && !find(old, &cell.id()));
    checks.extend(open.map(|cell| missing(cell.seed, false)));
    // A baseline that plans a cell and has no record of it has nothing to compare with.
    let lost = group.planned[1].iter().filter(|cell| find(new, &cell.id()) && !find(old, &cell.id()));
    checks.extend(lost.map(|cell| presence(cell.seed, Verdict::Missing, ["no record", "there"])));
    let is_planned = |is: &Record| group.planned[1].iter().any(|cell| cell.id() == is.id);
    let added = new.iter().filter(|is| !find(old, &is.id) && !is_planned(is));
    checks.extend(added.map(|is| presence(is.cell.seed, Verdict::New, ["-", "there"])));
    let pairs = pairs(group);
    if pairs.is_empty() && checks.is_empty() {
        return None;
    }
    for pair in &pairs {
        checks.extend(exact(pair, gate, alike));
    }
    let differ = results_differ(&pairs);
    if differ && let Some(rule) = gate.accuracy {
        checks.extend(accuracy([old, new], spread, rule, tests));
    }
    if alike.machine
        && let Some(rule) = gate.time.filter(|rule| rule.each)
    {
        checks.extend(time(&pairs, rule, tests));
    }
    let verdict = checks.iter().map(|c| c.verdict).max().unwrap_or(Verdict::Unchanged);
    let same_bits = !differ && !pairs.is_empty();
    let (setting, cells) = (group.setting.setting_label(), pairs.len());
    Some(SettingVerdict { setting, name, verdict, cells, same_bits, checks })
}

/// Cells present in both, as pairs with the baseline first.
pub(super) fn pairs<'a>(group: &SettingGroup<'a, 2>) -> Vec<[&'a Record; 2]> {
    let [new, old] = &group.records;
    old.iter().filter_map(|was| Some([*was, *new.iter().find(|is| is.id == was.id)?])).collect()
}

/// Whether any weights or accuracies are not bit-identical. Weights alone would not reveal a
/// mistake in evaluation.
pub(super) fn results_differ(pairs: &[[&Record; 2]]) -> bool {
    let accuracy = |r: &Record| r.measures.test_accuracy_last.map(f64::to_bits);
    pairs.iter().any(|[was, is]| was.measures.fingerprint != is.measures.fingerprint || accuracy(was) != accuracy(is))
}

/// Check for a cell that only one side has.
fn presence(seed: u64, verdict: Verdict, [baseline, run]: [&str; 2]) -> Check {
    let what = format!("cell, seed {seed}");
    Check { what, verdict, baseline: baseline.into(), run: run.into(), change: String::new() }
}

/// Checks for figures of a cell that must be exact and have changed.
fn exact([was, is]: &[&Record; 2], gate: &Gate, alike: Alike) -> Vec<Check> {
    let same_bits = alike.machine && alike.data;
    let mut figures = Vec::new();
    if gate.counts {
        let numbers = |value: fn(&Measures) -> f64| [was, is].map(|r| value(&r.measures).to_string());
        figures.push(("parameters", [was, is].map(|r| r.measures.parameters.to_string())));
        figures.push(("nominal FLOPs", numbers(|m| m.flops_nominal)));
        if same_bits {
            // By the density of the masks that were chosen.
            figures.push(("theoretical FLOPs", numbers(|m| m.flops_theoretical)));
            figures.push(("executed FLOPs", numbers(|m| m.flops_executed.unwrap_or(f64::NAN))));
            figures.push(("live weights", [was, is].map(|r| live(&r.measures))));
        }
    }
    if gate.fingerprint && same_bits {
        figures.push(("weights", [was, is].map(|r| r.measures.fingerprint.chars().take(16).collect())));
        if was.measures.fingerprint == is.measures.fingerprint {
            let accuracy = |r: &&Record| r.measures.test_accuracy_last.map_or("none".into(), |a| a.to_string());
            figures.push(("accuracy of the same weights", [was, is].map(accuracy)));
        }
    }
    let seed = was.cell.seed;
    let check = |(what, [baseline, run]): (&str, [String; 2])| {
        let (what, change) = (format!("{what}, seed {seed}"), "changed".into());
        Check { what, verdict: Verdict::Regressed, baseline, run, change }
    };
    let mut checks: Vec<Check> = figures.into_iter().filter(|(_, [was, is])| was != is).map(check).collect();
    let verdict = match (was.status, is.status) {
        (Status::Completed, Status::Diverged { .. }) => Some(Verdict::Regressed),
        (Status::Diverged { .. }, Status::Completed) => Some(Verdict::Improved),
        (Status::Completed, Status::Completed) => None,
        // On another machine, or with other kernels, divergence may occur at a different step.
        (a, b) => (a != b && gate.fingerprint && same_bits).then_some(Verdict::Regressed),
    };
    let [baseline, run] = [was, is].map(|r| end(r.status));
    let check = |verdict| Check { what: format!("end, seed {seed}"), verdict, baseline, run, change: "changed".into() };
    checks.extend(verdict.map(check));
    checks
}

fn end(status: Status) -> String {
    match status {
        Status::Completed => "completed".into(),
        Status::Diverged { epoch, step } => format!("diverged in epoch {epoch}, step {step}"),
    }
}

/// Fractions of live weights after each refresh, compared as a whole.
fn live(measures: &Measures) -> String {
    let fractions = measures.mask_refreshes.iter().map(|r| format!("{}: {:.6}", r.epoch, r.live_fraction));
    fractions.collect::<Vec<_>>().join(", ")
}

fn by_seed(records: &[&Record], value: impl Fn(&Record) -> Option<f64>) -> BySeed {
    let completed = records.iter().filter(|r| r.status == Status::Completed);
    completed.filter_map(|r| Some((r.cell.seed, value(r)?))).collect()
}

/// The run's figure minus the baseline's: paired by seed, with the spread that settings share or else its own; or for two samples
/// if fewer than two seeds are common.
fn difference([old, new]: [&BySeed; 2], spread: Option<Spread>) -> Option<(Difference, usize)> {
    let pairs: Vec<f64> = paired(new, old).iter().map(|[is, was]| is - was).collect();
    if let Some(Spread { deviation, freedom }) = spread.filter(|_| !pairs.is_empty()) {
        let n = pairs.len();
        let mean = pairs.iter().sum::<f64>() / n as f64;
        return Some((Difference { mean, standard_error: deviation / (n as f64).sqrt(), freedom }, n));
    }
    if pairs.len() > 1 {
        return Some((summary(&pairs).as_ref().and_then(Difference::paired)?, pairs.len()));
    }
    let values = |side: &BySeed| side.iter().map(|(_, v)| *v).collect::<Vec<f64>>();
    Some((Difference::welch(&values(new), &values(old))?, old.len().min(new.len())))
}

/// Verdict on a change, given the margins `low` and `high` on both sides; more is better. A
/// regression must remain after correction for all tests (Bonferroni).
fn judge(difference: &Difference, [low, high]: [f64; 2], level: f64, tests: usize) -> Option<(Verdict, Interval)> {
    let interval = difference.interval(1.0 - 2.0 * level)?;
    let corrected = difference.interval(1.0 - 2.0 * level / tests.max(1) as f64)?;
    let verdict = if corrected.high < low {
        Verdict::Regressed
    } else if interval.low > high {
        Verdict::Improved
    } else if interval.low > low && interval.high < high {
        Verdict::Unchanged
    } else {
        Verdict::Undecided
    };
    Some((verdict, interval))
}

/// Check of the accuracies of all settings together, over all cells that changed; `None` without one.
pub(super) fn all_accuracies(
    groups: &[SettingGroup<'_, 2>],
    (rule, floor): (Rule, f64),
    tests: usize,
) -> Option<Check> {
    let pairs: Vec<[f64; 2]> = groups.iter().flat_map(changed_accuracies).collect();
    let changes: Vec<f64> = pairs.iter().map(|[was, is]| is - was).collect();
    let change = summary(&changes)?.mean;
    let before = summary(&pairs.iter().map(|[was, _]| *was).collect::<Vec<_>>())?.mean;
    let step = groups.iter().map(|g| g.setting.accuracy_step()).fold(0.0, f64::max);
    let found = summary(&changes).as_ref().and_then(Difference::paired).map(|d| d.in_steps_of(step, changes.len()));
    let judged = found.and_then(|found| judge(&found, [-rule.margin, rule.margin], rule.level, tests));
    let (verdict, text) = match judged {
        Some((verdict, interval)) => (verdict, points(change, interval, changes.len())),
        None => (Verdict::Undecided, "a single cell: no interval".into()),
    };
    // Too few cells for an interval are enough to see that a network no longer learns.
    let verdict = if before > 0.0 && before + change < floor * before { Verdict::Regressed } else { verdict };
    let percent = |accuracy: f64| format!("{:.2}%", 100.0 * accuracy);
    Some(Check {
        what: "accuracy of all settings together".into(),
        verdict,
        baseline: percent(before),
        run: percent(before + change),
        change: text,
    })
}

/// A change of accuracy in points.
fn points(mean: f64, interval: Interval, n: usize) -> String {
    let [mean, low, high] = [mean, interval.low, interval.high].map(|change| signed(100.0 * change, 2));
    format!("{mean} points [{low}, {high}], n = {n}")
}

/// Loss of accuracy that would be called a regression, as a fraction, in a setting with so many cells.
pub(super) fn smallest_loss(spread: Spread, n: usize, step: f64, rule: Rule, tests: usize) -> Option<f64> {
    let standard_error = spread.deviation / (n as f64).sqrt();
    let none = Difference { mean: 0.0, standard_error, freedom: spread.freedom }.in_steps_of(step, n);
    Some(rule.margin - none.interval(1.0 - 2.0 * rule.level / tests.max(1) as f64)?.low)
}

fn accuracy(sides: [&[&Record]; 2], spread: Option<Spread>, rule: Rule, tests: usize) -> Option<Check> {
    let what = "accuracy";
    let [old, new] = sides.map(|records| by_seed(records, |r| r.measures.test_accuracy_last));
    let percent = |accuracy: f64| format!("{:.2}%", 100.0 * accuracy);
    let mean = |side: &BySeed| summary(&side.iter().map(|(_, v)| *v).collect::<Vec<_>>()).map(|s| percent(s.mean));
    let (baseline, run) = (mean(&old)?, mean(&new)?);
    let Some((found, n)) = difference([&old, &new], spread) else {
        let change = "fewer than two seeds: no interval".into();
        return Some(Check { what: what.into(), verdict: Verdict::Undecided, baseline, run, change });
    };
    let step = sides[0].iter().map(|r| r.cell.accuracy_step()).fold(0.0, f64::max);
    let (verdict, interval) = judge(&found.in_steps_of(step, n), [-rule.margin, rule.margin], rule.level, tests)?;
    let change = points(found.mean, interval, n);
    Some(Check { what: what.into(), verdict, baseline, run, change })
}

/// A cell's steps on the scale of the machine's speed: in units of work done in turn with them where both records have that, else of
/// the reference step before the training.
struct RelativeStep {
    /// Logarithm of the ratio.
    log: f64,
    /// Of the measurement of the machine's speed.
    measurement: u64,
}

fn relative_steps(pair: &[&Record; 2]) -> Option<[RelativeStep; 2]> {
    let in_turn = |r: &Record| {
        let median = r.measures.steps_over_work?.median;
        Some(RelativeStep { log: median.ln(), measurement: median.to_bits() })
    };
    let before = |r: &Record| {
        let reference = r.reference_step_seconds?.median;
        Some(RelativeStep { log: (r.measures.step_seconds?.median / reference).ln(), measurement: reference.to_bits() })
    };
    let both = |of: &dyn Fn(&Record) -> Option<RelativeStep>| Some([of(pair[0])?, of(pair[1])?]);
    both(&in_turn).or_else(|| both(&before))
}

/// Groups pairs of values so that groups are independent: pairs that share a measurement on either
/// side share its error.
fn independent(pairs: &[([u64; 2], [f64; 2])]) -> Vec<Vec<[f64; 2]>> {
    fn root(parents: &mut [usize], mut place: usize) -> usize {
        while parents[place] != place {
            parents[place] = parents[parents[place]];
            place = parents[place];
        }
        place
    }
    let mut parents: Vec<usize> = (0..pairs.len()).collect();
    let mut first = HashMap::new();
    for (place, (measurements, _)) in pairs.iter().enumerate() {
        for measurement in measurements.iter().enumerate() {
            let other = *first.entry(measurement).or_insert(place);
            let (a, b) = (root(&mut parents, place), root(&mut parents, other));
            parents[a.max(b)] = a.min(b);
        }
    }
    let mut groups: BTreeMap<usize, Vec<[f64; 2]>> = BTreeMap::new();
    for (place, (_, values)) in pairs.iter().enumerate() {
        groups.entry(root(&mut parents, place)).or_default().push(*values);
    }
    groups.into_values().collect()
}

/// Change of step times: relative to the machine's speed before and after, and the difference of logarithms. `None` with fewer than two
/// independent groups.
fn time_change(pairs: &[[&Record; 2]]) -> Option<([Summary; 2], Difference, usize)> {
    let timed = |r: &&Record| r.status == Status::Completed && r.resumed == 0;
    let completed = pairs.iter().filter(|pair| pair.iter().all(timed));
    let steps = completed.filter_map(|pair| {
        let [was, is] = relative_steps(pair)?;
        Some(([was.measurement, is.measurement], [was.log, is.log]))
    });
    let moments = independent(&steps.collect::<Vec<_>>());
    let mean = |of: fn(&[f64; 2]) -> f64| {
        let means = moments.iter().map(|m| m.iter().map(of).sum::<f64>() / m.len() as f64);
        summary(&means.collect::<Vec<f64>>())
    };
    let (old, new, change) = (mean(|[old, _]| *old)?, mean(|[_, new]| *new)?, mean(|[old, new]| new - old)?);
    Some(([old, new], Difference::paired(&change)?, change.n))
}

/// Check of the change in step times; `None` with fewer than two independent groups.
fn time(pairs: &[[&Record; 2]], rule: Rule, tests: usize) -> Option<Check> {
    let ([old, new], found, n) = time_change(pairs)?;
    // Sign flipped, since faster is better.
    let faster = Difference { mean: -found.mean, ..found };
    let margin = rule.margin.ln_1p();
    let (verdict, interval) = judge(&faster, [-margin, margin], rule.level, tests)?;
    let [ratio, low, high] = [found.mean, -interval.high, -interval.low].map(f64::exp);
    Some(Check {
        what: "step over the machine's speed".into(),
        verdict,
        baseline: format!("{:.3}", old.mean.exp()),
        run: format!("{:.3}", new.mean.exp()),
        change: format!("{ratio:.3} times the baseline's [{low:.3}, {high:.3}], n = {n}"),
    })
}

/// The smallest slow-down of all steps that would be called a regression, as a fraction of the baseline's steps.
pub(super) fn smallest_slowdown([baseline, run]: [Side<'_>; 2], rule: Rule, tests: usize) -> Option<f64> {
    let (_, found, _) = time_change(&paired_records([baseline, run]))?;
    let none = Difference { mean: 0.0, ..found };
    let interval = none.interval(1.0 - 2.0 * rule.level / tests.max(1) as f64)?;
    Some((rule.margin.ln_1p() - interval.low).exp_m1())
}

/// Records of cells that both sides have.
fn paired_records<'a>([baseline, run]: [Side<'a>; 2]) -> Vec<[&'a Record; 2]> {
    let old: HashMap<&str, &Record> = baseline.records.iter().map(|r| (r.id.as_str(), *r)).collect();
    run.records.iter().filter_map(|is| Some([*old.get(is.id.as_str())?, *is])).collect()
}

/// Check of the step times of all settings together.
pub(super) fn all_times([baseline, run]: [Side<'_>; 2], rule: Rule, tests: usize) -> Option<Check> {
    let check = time(&paired_records([baseline, run]), rule, tests)?;
    Some(Check { what: "steps of all settings together over the machine's speed".into(), ..check })
}
