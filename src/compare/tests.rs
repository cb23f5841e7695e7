//! Verdicts on made-up records, and their error rates.

use super::{Allowed, ComparisonFormat, Gate, Rule, RunComparison, Side, Verdict, compare};
use crate::random::{Stream, normal_pair, stream};
use crate::record::tests::{manifest, record};
use crate::record::{MaskRefresh, Record, RunManifest, Status, StepSeconds};
use crate::report::Report;
use crate::suite::{Cell, Suite};

/// Plan with five seeds of SGD, SAM and one sparse SAM.
fn plan() -> RunManifest {
    let suite = Suite::read("cifar10").and_then(|s| s.plan("smoke", "photo-patches")).expect("a plan");
    let mut settings: Vec<Cell> = suite.cells.iter().filter(|c| c.seed == suite.cells[0].seed).cloned().collect();
    let mut names = Vec::new();
    settings.retain(|c| {
        let first = !names.contains(&c.optimizer.name);
        names.push(c.optimizer.name.clone());
        first
    });
    settings.truncate(3);
    let seeded = |seed: u64| settings.iter().map(move |cell| Cell { seed, ..cell.clone() });
    manifest(&(1..=5).flat_map(seeded).collect::<Vec<_>>())
}

fn seconds(median: f64) -> Option<StepSeconds> {
    Some(StepSeconds { median, min: median, max: median, n: 10, warmup: 3 })
}

fn records(manifest: &RunManifest) -> Vec<Record> {
    let mut all: Vec<Record> = manifest.cells.iter().map(|cell| record(cell, &format!("bits-{}", cell.id()))).collect();
    let mut rng = stream(1, Stream::Synthetic("a run"));
    for (moment, record) in all.iter_mut().enumerate() {
        record.measures.test_accuracy_last = Some(0.5 + 0.01 * normal_pair(&mut rng).0);
        record.measures.step_seconds = seconds(0.02 * (0.02 * normal_pair(&mut rng).0).exp());
        record.reference_step_seconds = seconds(0.004 + 1e-9 * moment as f64);
        record.measures.flops_executed = Some(1e9);
        record.measures.mask_refreshes = vec![MaskRefresh {
            epoch: 0,
            live_fraction: 0.1,
            live_by_tensor: Default::default(),
            overlap: None,
            fisher_share: None,
        }];
    }
    all
}

fn judged(manifest: &RunManifest, old: &[Record], new: &[Record], gate: &Gate) -> RunComparison {
    let [old, new] = [old, new].map(|records| Report::of_plan(manifest, records));
    let sides = [&old, &new].map(|records| Side { manifest, records });
    compare(sides[0], sides[1], gate, Allowed::default()).expect("a comparison")
}

/// Compares a run with itself after a change to some of its records.
fn after(change: impl Fn(&mut Record)) -> RunComparison {
    let manifest = plan();
    let old = records(&manifest);
    let mut new = old.clone();
    new.iter_mut().for_each(change);
    judged(&manifest, &old, &new, &Gate::default())
}

#[test]
fn a_run_beside_itself_is_unchanged_and_told_in_a_line() {
    let comparison = after(|_| {});
    assert_eq!(comparison.verdict, Verdict::Unchanged);
    insta::assert_snapshot!(comparison.render(ComparisonFormat::Markdown).expect("text"), @"**cifar10 smoke on photo-patches: unchanged** (3 unchanged)");
    assert_eq!(comparison.render(ComparisonFormat::Github).expect("text"), "");
}

#[test]
fn what_should_be_exact_and_is_not_fails_and_is_shown() {
    type Change = fn(&mut Record);
    let changes: [(&str, Change); 7] = [
        // Another accuracy with the same weights: a mistake in evaluation.
        ("accuracy of the same weights", |r| r.measures.test_accuracy_last = Some(0.1)),
        ("weights", |r| r.measures.fingerprint = "other".into()),
        ("parameters", |r| r.measures.parameters += 1),
        ("nominal FLOPs", |r| r.measures.flops_nominal *= 2.0),
        ("executed FLOPs", |r| r.measures.flops_executed = Some(1.1e9)),
        ("live weights", |r| r.measures.mask_refreshes[0].live_fraction = 0.2),
        ("end", |r| r.status = Status::Diverged { epoch: 1, step: 2 }),
    ];
    for (what, change) in changes {
        let comparison = after(|r| {
            if r.cell.seed == 3 && r.cell.rho().is_none() {
                change(r);
            }
        });
        assert_eq!(comparison.verdict, Verdict::Regressed, "{what}");
        let regressed: Vec<_> = comparison.settings.iter().filter(|s| s.verdict == Verdict::Regressed).collect();
        assert_eq!(regressed.len(), 1, "{what}");
        assert_eq!(
            regressed[0].checks.iter().find(|c| c.verdict == Verdict::Regressed).map(|c| c.what.as_str()),
            Some(format!("{what}, seed 3").as_str())
        );
    }
}

#[test]
fn losses_slowness_and_gaps_are_called_what_they_are() {
    let manifest = plan();
    let old = records(&manifest);
    // Without comparison of bits, as after a change of kernels.
    let gate = Gate { fingerprint: false, ..Gate::default() };
    let change = |change: &dyn Fn(&mut Record)| {
        let mut new = old.clone();
        for record in &mut new {
            record.measures.fingerprint.push_str(" of another program");
            change(record);
        }
        judged(&manifest, &old, &new, &gate)
    };
    let move_accuracy =
        |r: &mut Record, by: f64| r.measures.test_accuracy_last = r.measures.test_accuracy_last.map(|a| a + by);
    for (by, expected) in [(0.0, Verdict::Unchanged), (-0.05, Verdict::Regressed), (0.05, Verdict::Improved)] {
        let comparison = change(&|r| move_accuracy(r, by));
        assert!(comparison.settings[..3].iter().all(|s| s.verdict == expected), "{by}: {comparison:?}");
    }
    let slower = |factor: f64| {
        change(&|r| r.measures.step_seconds = seconds(factor * r.measures.step_seconds.expect("s").median))
    };
    assert_eq!(slower(1.0).verdict, Verdict::Unchanged);
    assert_eq!(slower(1.5).verdict, Verdict::Regressed);
    assert!(slower(0.5).settings.iter().all(|s| s.verdict == Verdict::Improved));
    // If the whole machine is slower, nothing is reported.
    let throttled = change(&|r| {
        r.measures.step_seconds = seconds(3.0 * r.measures.step_seconds.expect("s").median);
        r.reference_step_seconds = seconds(3.0 * r.reference_step_seconds.expect("s").median);
    });
    assert_eq!(throttled.verdict, Verdict::Unchanged);
    let gone = judged(&manifest, &old, &old[1..], &gate);
    assert_eq!(gone.verdict, Verdict::Missing);
    // Planned by the baseline, which lacks its record, or not planned by it.
    let lost = judged(&manifest, &old[1..], &old, &gate);
    assert_eq!(lost.verdict, Verdict::Missing);
    let smaller = RunManifest { cells: manifest.cells[1..].to_vec(), ..manifest.clone() };
    let (before, after): (Vec<&Record>, Vec<&Record>) = (old[1..].iter().collect(), old.iter().collect());
    let [baseline, run] =
        [(&smaller, &before), (&manifest, &after)].map(|(manifest, records)| Side { manifest, records });
    let added = compare(baseline, run, &gate, Allowed::default()).expect("comparable");
    assert_eq!(added.verdict, Verdict::New);
    insta::assert_snapshot!(gone.render(ComparisonFormat::Markdown).expect("text"), @"
    **cifar10 smoke on photo-patches: missing** (1 missing, 2 unchanged)

    - a slow-down of all steps by more than 15.0% would be called a regression
    - `sgd lr=0.05 weight_decay=0.0005 epochs=2`: cell, seed 1 missing: there → no record

    <details><summary>All settings</summary>

    | setting | cells | figure                                                  | baseline | run       | change                                            | verdict   |
    |---------|-------|---------------------------------------------------------|----------|-----------|---------------------------------------------------|-----------|
    | sgd     | 4     | weights: same bits                                      |          |           |                                                   | unchanged |
    | sgd     | 4     | cell, seed 1                                            | there    | no record |                                                   | missing   |
    | sgd     | 4     | step over the machine's speed                           | 4.917    | 4.917     | 1.000 times the baseline's [1.000, 1.000], n = 4  | unchanged |
    | sam     | 5     | weights: same bits                                      |          |           |                                                   | unchanged |
    | sam     | 5     | step over the machine's speed                           | 4.997    | 4.997     | 1.000 times the baseline's [1.000, 1.000], n = 5  | unchanged |
    | ssam-f  | 5     | weights: same bits                                      |          |           |                                                   | unchanged |
    | ssam-f  | 5     | step over the machine's speed                           | 4.924    | 4.924     | 1.000 times the baseline's [1.000, 1.000], n = 5  | unchanged |
    |         |       | steps of all settings together over the machine's speed | 4.948    | 4.948     | 1.000 times the baseline's [1.000, 1.000], n = 14 | unchanged |

    </details>
    ");
}

/// A single cell that changed says nothing of its spread; several settings with a seed each say it of each other, and nothing
/// hides a network that no longer learns.
#[test]
fn one_seed_is_judged_by_the_other_settings() {
    let mut manifest = plan();
    manifest.cells.retain(|cell| cell.seed == 1);
    let old = records(&manifest);
    let gate = Gate { fingerprint: false, ..Gate::default() };
    let lost = |losses: [f64; 3]| {
        let mut new = old.clone();
        for (record, loss) in new.iter_mut().zip(losses).filter(|(_, loss)| *loss != 0.0) {
            record.measures.fingerprint = "other".into();
            record.measures.test_accuracy_last = record.measures.test_accuracy_last.map(|accuracy| accuracy - loss);
        }
        judged(&manifest, &old, &new, &gate)
    };
    let alone = lost([0.1, 0.0, 0.0]);
    assert_eq!(alone.verdict, Verdict::Undecided);
    let text = alone.render(ComparisonFormat::Markdown).expect("text");
    assert!(
        text.contains("fewer than two seeds: no interval") && text.contains("a single cell: no interval"),
        "{text}"
    );
    // Half a point up and down in the others: six points are found, one and a half are not.
    assert_eq!(lost([0.06, 0.005, -0.005]).settings[0].verdict, Verdict::Regressed);
    assert_eq!(lost([0.015, 0.005, -0.005]).settings[0].verdict, Verdict::Undecided);
    let dead = lost([0.45, 0.0, 0.0]);
    let together = dead.all_accuracies.expect("a check");
    assert_eq!((dead.verdict, together.verdict), (Verdict::Regressed, Verdict::Regressed), "{together:?}");
}

#[test]
fn only_like_is_compared_with_like() {
    let manifest = plan();
    let old = records(&manifest);
    let mut new = old.clone();
    for record in &mut new {
        record.provenance.machine.cpu = "another".into();
        record.measures.fingerprint = "other".into();
    }
    let [a, b] = [&old, &new].map(|records| Report::of_plan(&manifest, records));
    let [old, new] = [&a, &b].map(|records| Side { manifest: &manifest, records });
    let refused =
        |old, new, allowed| compare(old, new, &Gate::default(), allowed).map(|c| c.verdict).map_err(|e| e.to_string());
    let error = refused(old, new, Allowed::default()).expect_err("another machine");
    assert!(error.contains("different machines") && error.contains("--allow machine"), "{error}");
    let machine = Allowed { machine: true, ..Allowed::default() };
    assert_eq!(refused(old, new, machine), Ok(Verdict::Unchanged));
    let github =
        compare(old, new, &Gate::default(), machine).and_then(|c| c.render(ComparisonFormat::Github)).expect("text");
    assert!(
        github.starts_with("::notice title=cifar10 smoke::") && github.contains("different types of machine"),
        "{github}"
    );
    let other = RunManifest { suite_hash: "another".into(), ..manifest.clone() };
    let error = refused(Side { manifest: &other, records: &a }, old, Allowed::default()).expect_err("another plan");
    assert!(error.contains("--allow suite"), "{error}");
    let other = RunManifest { data_sha256: "another".into(), ..manifest.clone() };
    let error = refused(Side { manifest: &other, records: &a }, old, Allowed::default()).expect_err("other data");
    assert!(error.contains("--allow data"), "{error}");
}

/// Without a true difference, no more reports may have a regression than the level allows. A
/// setting that loses two standard deviations must be found with the power stated in docs/gate.md.
#[test]
fn false_alarms_are_as_rare_as_the_level_says() {
    const RUNS: usize = 1000;
    let manifest = plan();
    let base = records(&manifest);
    let rule = Rule { margin: 0.0, level: 0.05, each: true, detectable: None };
    let gate =
        Gate { fingerprint: false, counts: false, accuracy: Some(rule), floor: 0.0, time: None, ..Gate::default() };
    let mut rng = stream(2, Stream::Synthetic("gates"));
    let mut rate = |loss: f64, seeds: u64| {
        let mut manifest = manifest.clone();
        manifest.cells.retain(|cell| cell.seed <= seeds);
        let base: Vec<Record> = base.iter().filter(|record| record.cell.seed <= seeds).cloned().collect();
        let alarms = (0..RUNS).filter(|_| {
            let mut sides = [base.clone(), base.clone()];
            for (side, records) in sides.iter_mut().enumerate() {
                for record in records {
                    record.measures.fingerprint = side.to_string();
                    record.cell.data.test = 1_000_000;
                    let lost = if side == 1 && record.cell.rho().is_none() { loss } else { 0.0 };
                    record.measures.test_accuracy_last =
                        Some(0.5 + 0.01 * (normal_pair(&mut rng).0 / 2f64.sqrt() - lost));
                }
            }
            judged(&manifest, &sides[0], &sides[1], &gate).verdict == Verdict::Regressed
        });
        alarms.count() as f64 / RUNS as f64
    };
    let (none, two) = (rate(0.0, 5), rate(2.0, 5));
    assert!(none <= 0.06, "false alarms: {none}");
    assert!((two - 0.97).abs() < 0.02, "found: {two}");
    // With a single seed, by the spread of the other settings' changes.
    let none = rate(0.0, 1);
    assert!(none <= 0.06, "false alarms with one seed: {none}");
}

/// Cells trained at the same moment share the error of their reference step, so they must count as
/// one.
#[test]
fn cells_of_one_moment_count_as_one() {
    let manifest = plan();
    let old = records(&manifest);
    let mut new = old.clone();
    for (place, record) in new.iter_mut().enumerate() {
        record.measures.step_seconds = seconds(1.5 * record.measures.step_seconds.expect("s").median);
        record.reference_step_seconds = seconds(if place < 8 { 0.004 } else { 0.005 });
    }
    let mut base = old.clone();
    for (place, record) in base.iter_mut().enumerate() {
        record.reference_step_seconds = seconds(if place < 8 { 0.004 } else { 0.0041 });
    }
    let comparison = judged(&manifest, &base, &new, &Gate::default());
    let all = comparison.all_times.expect("two moments");
    assert!(all.verdict == Verdict::Undecided && all.change.ends_with("n = 2"), "{all:?}");
    // A shared measurement on one side is enough.
    base.iter_mut().for_each(|record| record.reference_step_seconds = seconds(0.004));
    let comparison = judged(&manifest, &base, &new, &Gate::default());
    assert!(comparison.all_times.is_none() && comparison.notes[0].contains("times are not judged"), "{comparison:?}");
}

#[test]
fn reports_for_machines_are_well_formed() {
    let comparison = after(|r| {
        if r.cell.seed == 3 {
            r.measures.fingerprint = "other".into();
        }
    });
    let junit = comparison.render(ComparisonFormat::Junit).expect("XML");
    assert!(junit.contains("failures=\"3\"") && junit.contains("type=\"regressed\""), "{junit}");
    let github = comparison.render(ComparisonFormat::Github).expect("commands");
    assert_eq!(
        github.lines().filter(|l| l.starts_with("::error title=cifar10 smoke%3A regressed::")).count(),
        3,
        "{github}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&comparison.render(ComparisonFormat::Json).expect("JSON")).expect("JSON");
    assert_eq!(json["verdict"], "regressed");
}

/// The defaults must be those in docs/gate.md, and the project's own gate must be readable.
#[test]
fn the_documented_gate_is_the_default() {
    let documented: String = include_str!("../../docs/gate.md")
        .lines()
        .skip_while(|line| !line.starts_with("## The gate's file"))
        .take_while(|line| !line.starts_with("These are the defaults"))
        .filter_map(|line| line.strip_prefix("    "))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(documented.contains("[exact]") && documented.contains("[time]"), "{documented}");
    assert_eq!(Gate::parse(&documented, "docs").expect("a gate"), Gate::default());
    let own = Gate::parse(include_str!("../../ci/gate.toml"), "ci").expect("a gate");
    assert!(own.fingerprint && own.counts && own.accuracy.is_some());
}

/// What undecided figures mean is the gate's to say, and so is what it must be able to find.
#[test]
fn a_gate_may_ask_for_more_than_no_regression() {
    let manifest = plan();
    let old = records(&manifest);
    let judge = |text: &str, factor: f64| {
        let mut new = old.clone();
        for (place, record) in new.iter_mut().enumerate() {
            let factor = factor * (1.0 + 0.02 * ((place * 7) % 5) as f64 - 0.04);
            record.measures.step_seconds = seconds(factor * record.measures.step_seconds.expect("s").median);
        }
        judged(&manifest, &old, &new, &Gate::parse(text, "a gate").expect("a gate"))
    };
    // At the margin nothing is decided.
    let at_margin = |undecided: &str| judge(&format!("undecided = \"{undecided}\""), 1.15);
    let [pass, warn, fail] = ["pass", "warn", "fail"].map(at_margin);
    assert_eq!(pass.verdict, Verdict::Undecided);
    assert!(pass.failures.is_empty() && pass.warnings.is_empty());
    assert!(warn.failures.is_empty() && warn.warnings[0].contains("comparisons are undecided"), "{warn:?}");
    assert!(fail.failures[0].contains("undecided, which this gate does not let pass"), "{fail:?}");
    let github = fail.render(ComparisonFormat::Github).expect("commands");
    assert!(github.contains("::error title=cifar10 smoke::"), "{github}");
    assert!(fail.render(ComparisonFormat::Junit).expect("XML").contains("name=\"the gate\""));
    // Judged together alone, the settings share no level, and less is found.
    let together = judge("[time]\neach = false", 1.0);
    assert!(together.settings.iter().all(|s| s.checks.is_empty()), "{together:?}");
    assert!(together.smallest_slowdown < judge("", 1.0).smallest_slowdown);
    assert_eq!(judge("[time]\neach = false", 1.5).verdict, Verdict::Regressed);
    // It states what it would find, and fails if that is not enough.
    let found = judge("", 1.0).smallest_slowdown.expect("times");
    assert!(found > 0.15 && found < 0.25, "{found}");
    assert!(judge("[time]\ndetectable = 30", 1.0).failures.is_empty());
    let blind = judge("[time]\ndetectable = 15.1", 1.0);
    assert!(blind.failures[0].contains("a slow-down would be found from"), "{blind:?}");
    for (text, message) in [
        ("[time]\ndetectable = 10", "time.detectable must exceed time.margin"),
        ("[accuracy]\ndetectable = 0.2", "accuracy.detectable must exceed accuracy.margin"),
        ("undecided = \"ask\"", "unknown variant `ask`"),
    ] {
        assert!(Gate::parse(text, "a gate").expect_err("refused").to_string().contains(message), "{message}");
    }
}

/// Steps timed in turn with the fixed work are judged by it, whatever the reference step says.
#[test]
fn steps_in_turn_with_work_are_judged_by_it() {
    let manifest = plan();
    let mut old = records(&manifest);
    let ratio = |median: f64| Some(crate::stats::Median { n: 37, median, min: median, max: median });
    for (place, record) in old.iter_mut().enumerate() {
        record.measures.steps_over_work = ratio(5.0 * (1.0 + 0.01 * (place % 3) as f64));
    }
    let mut new = old.clone();
    // The reference step hides a slower kernel, which both use.
    for record in &mut new {
        let slow = |s: Option<StepSeconds>| seconds(1.3 * s.expect("s").median);
        record.measures.step_seconds = slow(record.measures.step_seconds);
        record.reference_step_seconds = slow(record.reference_step_seconds);
    }
    assert_eq!(judged(&manifest, &old, &new, &Gate::default()).verdict, Verdict::Unchanged);
    for record in &mut new {
        record.measures.steps_over_work = ratio(1.3 * record.measures.steps_over_work.expect("a ratio").median);
    }
    assert_eq!(judged(&manifest, &old, &new, &Gate::default()).verdict, Verdict::Regressed);
}
