//! Several cells at once: the same bits, and a crash that takes one cell alone.
#![cfg(target_os = "linux")]

use std::time::Duration;

use predicates::prelude::*;
use serde_json::Value;

use crate::support::{Place, TINY, signal};

const RUN: &str = "suite tiny.toml --data stand-in --out run";

/// The tiny suite with cells that take about a second.
fn place() -> Place {
    let place = Place::new();
    let suite = TINY.replace("epochs = 2", "epochs = 30").replace("seeds = [1, 2]", "seeds = [1, 2]\ncheckpoint = 1");
    std::fs::write(place.path("tiny.toml"), suite).expect("a suite");
    place
}

fn a_record(place: &Place) -> Value {
    serde_json::from_slice(&std::fs::read(place.a_record("run")).expect("a record")).expect("JSON")
}

/// The process with its children, when each has kept the cell that it is training.
fn at_work(place: &Place) -> (std::process::Child, Vec<String>) {
    let mut child = place.spawn(&format!("{RUN} --jobs 2"));
    let kept = || std::fs::read_dir(place.path("run/checkpoints")).map_or(0, Iterator::count);
    while kept() < 2 && child.try_wait().expect("a status").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let id = child.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("children");
    (child, children.split_whitespace().map(str::to_string).collect())
}

#[test]
fn cells_at_once_are_the_same_bits_and_marked() {
    let alone = place();
    alone.sharpbench(RUN).assert().success();
    let place = place();
    place
        .sharpbench(&format!("{RUN} --jobs 2"))
        .assert()
        .success()
        .stderr(predicate::str::contains("2 at once").and(predicate::str::contains("[4/4]")))
        .stdout(predicate::str::contains("2 cells at once"));
    assert_eq!(place.fingerprints("run"), alone.fingerprints("run"));
    let record = a_record(&place);
    assert_eq!(record["provenance"]["jobs"], 2);
    assert!(a_record(&alone)["provenance"].get("jobs").is_none());
    // Again, there is nothing to do.
    place
        .sharpbench(&format!("{RUN} --jobs 2"))
        .assert()
        .success()
        .stderr(predicate::str::contains("4 of 4 cells already"));
    place
        .sharpbench(&format!("{RUN} --jobs 0"))
        .assert()
        .code(2)
        .stderr(predicate::str::contains("--jobs 0 cannot train anything"));
}

#[test]
fn a_crash_takes_one_cell_alone_and_is_noted() {
    let place = place();
    let (child, workers) = at_work(&place);
    signal(&workers[0], "KILL");
    let output = child.wait_with_output().expect("ended");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("was killed by signal 9; the others continue"), "{stderr}");
    assert!(stderr.contains("rerun the same command (without --fresh) to try again"), "{stderr}");
    assert_eq!(place.fingerprints("run").len(), 3);
    let notes = || std::fs::read_dir(place.path("run/failed")).expect("a folder");
    let note = std::fs::read_to_string(notes().next().expect("a note").expect("an entry").path()).expect("text");
    assert!(note.contains("was killed by signal 9"), "{note}");
    place.sharpbench(RUN).assert().success();
    assert_eq!(notes().count(), 0);
}

#[test]
fn asked_to_stop_all_keep_their_cells() {
    let place = place();
    let (child, _) = at_work(&place);
    signal(child.id(), "TERM");
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(143), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(std::fs::read_dir(place.path("run/checkpoints")).expect("a folder").count() > 0);
    place.sharpbench(RUN).assert().success().stderr(predicate::str::contains("resumes after"));
}

#[test]
fn memory_is_bounded() {
    let place = place();
    place
        .sharpbench(&format!("{RUN} --jobs 2 --max-memory 2MiB"))
        .assert()
        .code(2)
        .stderr(predicate::str::contains("more than the 2 of --max-memory; 1 at once from now on"))
        .stderr(predicate::str::contains("one cell uses"));
    place
        .sharpbench(&format!("{RUN} --max-memory 2MiB"))
        .assert()
        .code(2)
        .stderr(predicate::str::contains("--max-memory applies only to --jobs 2 or more"));
}
