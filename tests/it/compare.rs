//! The gate through the real binary: deliberate regressions are caught, reruns pass.

use std::path::{Path, PathBuf};

use predicates::prelude::*;
use serde_json::Value;
use sharpbench::mask::{Amount, Refresh, Score, When};
use sharpbench::suite::Cell;

use crate::support::{Place, edit, error, trained};

/// A place with two runs of one suite, whose times are not judged: other tests run beside this one.
fn two_runs() -> Place {
    let place = Place::new();
    std::fs::write(place.path("gate.toml"), "[time]\njudge = false\n").expect("a gate");
    for run in ["baseline", "run"] {
        place.sharpbench(&format!("suite tiny.toml --data stand-in --out {run} --quiet")).assert().success();
    }
    place
}

const COMPARE: &str = "compare baseline run --gate gate.toml";

fn records(place: &Place, run: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place.path(run).join("cells")).expect("records");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// Replaces the sparse SAM records of a run by what a program would have measured that takes `wrong` for the cell.
fn retrain(place: &Place, wrong: impl Fn(&mut Cell)) {
    for path in records(place, "run") {
        edit(&path, |record| {
            let mut cell: Cell = serde_json::from_value(record["cell"].clone()).expect("a cell");
            if cell.optimizer.name == "sgd" {
                return;
            }
            wrong(&mut cell);
            record["measures"] = serde_json::to_value(trained(&cell).measures).expect("measures");
        });
    }
}

#[test]
fn a_rerun_passes_and_a_wrong_rho_mask_or_slow_kernel_does_not() {
    let place = two_runs();
    place
        .sharpbench(COMPARE)
        .assert()
        .success()
        .stdout(predicate::str::contains("unchanged").and(predicate::str::contains("same bits")));
    let markdown =
        place.sharpbench(&format!("{COMPARE} --format markdown")).assert().success().get_output().stdout.clone();
    assert_eq!(String::from_utf8_lossy(&markdown).lines().count(), 1);

    let regressed = |what: &str| {
        let found =
            place.sharpbench(&format!("{COMPARE} --format github")).assert().code(1).get_output().stdout.clone();
        let found = String::from_utf8_lossy(&found).into_owned();
        let errors: Vec<&str> = found.lines().filter(|line| line.starts_with("::error")).collect();
        assert!(errors.len() == 1 && errors[0].contains("ssam-f") && errors[0].contains(what), "{found}");
    };
    retrain(&place, |cell| cell.optimizer.ascent.as_mut().expect("SAM").rho *= 2.0);
    regressed("weights, seed 1 regressed");
    retrain(&place, |cell| {
        let mask = cell.optimizer.ascent.as_mut().and_then(|a| a.mask.as_mut()).expect("a mask");
        mask.refresh = Refresh { score: Score::Weight, when: When::Interval { epochs: 1 } };
    });
    regressed("weights, seed 2 regressed");
    retrain(&place, |cell| {
        cell.optimizer.ascent.as_mut().and_then(|a| a.mask.as_mut()).expect("a mask").amount = Amount::Sparsity(0.5);
    });
    regressed("live weights");
    retrain(&place, |_| {});
    place.sharpbench(COMPARE).assert().success();

    // A kernel that sleeps for half a step, on a machine that is else the same.
    let step = |record: &mut Value, factor: f64| {
        let moment = record["cell"]["seed"].as_f64().expect("a seed");
        for (key, seconds) in [("measures", 0.01 * factor * moment), ("", 0.004 * moment)] {
            let steps = serde_json::json!({"median": seconds, "min": seconds, "max": seconds, "n": 9, "warmup": 3});
            match key {
                "" => record["reference_step_seconds"] = steps,
                key => record[key]["step_seconds"] = steps,
            }
        }
    };
    for (run, factor) in [("baseline", 1.0), ("run", 1.5)] {
        records(&place, run).iter().for_each(|path| edit(path, |record| step(record, factor)));
    }
    place
        .sharpbench("compare baseline run --format markdown")
        .assert()
        .code(1)
        .stdout(predicate::str::contains("1.500 times the baseline's [1.500, 1.500], n = 2"));
}

#[test]
fn twenty_reruns_pass() {
    let place = two_runs();
    for _ in 0..20 {
        place.sharpbench("suite tiny.toml --data stand-in --out run --quiet --fresh").assert().success();
        place.sharpbench(COMPARE).assert().success();
    }
}

#[test]
fn gaps_and_differences_of_kind_are_told() {
    let place = two_runs();
    place
        .sharpbench("compare nowhere run")
        .assert()
        .code(3)
        .stderr(predicate::str::contains("there is no baseline at nowhere"));
    let first = records(&place, "run").swap_remove(0);
    std::fs::remove_file(&first).expect("removed");
    place.sharpbench(COMPARE).assert().code(3).stdout(predicate::str::contains("no record"));
    place.sharpbench("suite tiny.toml --data stand-in --out run --quiet").assert().success();

    let refused = |arguments: &str| error(place.sharpbench(arguments));
    std::fs::write(place.path("wrong.toml"), "[accuracy]\nmargins = 1\n").expect("a gate");
    assert!(refused("compare baseline run --gate wrong.toml").contains("unknown field `margins`"));
    std::fs::write(place.path("wrong.toml"), "[accuracy]\nlevel = 5\n").expect("a gate");
    insta::assert_snapshot!(refused("compare baseline run --gate wrong.toml"), @"error: gate wrong.toml: accuracy.level = 5 must lie between 0.000001 and 0.5");
    let suite = std::fs::read_to_string(place.path("tiny.toml")).expect("a suite").replace("epochs = 2", "epochs = 1");
    std::fs::write(place.path("tiny.toml"), suite).expect("a suite");
    place.sharpbench("suite tiny.toml --data stand-in --out other --quiet").assert().success();
    assert!(refused("compare baseline other").contains("--allow suite"));
    place.sharpbench("compare baseline other --allow suite").assert().code(3);
    for path in records(&place, "run") {
        edit(&path, |record| record["provenance"]["machine"]["cpu"] = "another".into());
    }
    assert!(refused(COMPARE).contains("--allow machine"));
    place.sharpbench(&format!("{COMPARE} --allow machine")).assert().success();
}

/// Every committed baseline is a gate: networks that no longer learn do not pass it, on another type of machine either.
#[test]
fn accuracies_of_zero_pass_no_committed_baseline() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let baselines = std::fs::read_dir(root.join("reports/baseline")).expect("baselines");
    let mut judged = 0;
    for baseline in baselines.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()) {
        let place = Place::new();
        std::fs::create_dir_all(place.path("run/cells")).expect("a folder");
        std::fs::copy(baseline.join("run.json"), place.path("run/run.json")).expect("copied");
        let mut learned = false;
        for record in std::fs::read_dir(baseline.join("cells")).expect("records") {
            let record = record.expect("an entry");
            let path = place.path("run/cells").join(record.file_name());
            std::fs::copy(record.path(), &path).expect("copied");
            edit(&path, |record| {
                learned |= record["measures"]["test_accuracy_last"].as_f64().is_some_and(|accuracy| accuracy > 0.0);
                record["measures"]["test_accuracy_last"] = 0.0.into();
                record["measures"]["fingerprint"] = "0".repeat(64).into();
                record["provenance"]["machine"]["cpu"] = "another".into();
            });
        }
        let gate = root.join("ci/gate.toml");
        let compare = format!("compare {} run --gate {} --allow machine", baseline.display(), gate.display());
        if learned {
            judged += 1;
            place.sharpbench(&compare).assert().code(1);
        } else {
            // The quadratic has no classes to get right.
            place.sharpbench(&compare).assert().success();
        }
    }
    assert!(judged >= 8, "{judged}");
}
