//! Several cells at once: the same bits, and a crash that takes one cell alone.
#![cfg(target_os = "linux")]

mod support;

use std::time::Duration;

use predicates::prelude::*;
use serde_json::Value;
use support::{Place, TINY, signal};

const RUN: &str = "suite tiny.toml --data stand-in --out run";

/// The tiny suite with cells that take about a second.
fn place() -> Place {
    let place = Place::new();
    std::fs::write(place.path("tiny.toml"), TINY.replace("epochs = 2", "epochs = 60")).expect("a suite");
    place
}

fn a_record(place: &Place) -> Value {
    serde_json::from_slice(&std::fs::read(place.a_record("run")).expect("a record")).expect("JSON")
}

/// Process ids of a process's children, once there are so many.
fn children(parent: u32, count: usize) -> Vec<String> {
    for _ in 0..1000 {
        let found = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        let found: Vec<String> = found.split_whitespace().map(str::to_string).collect();
        if found.len() == count {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("there are no {count} children");
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
    let child = place.spawn(&format!("{RUN} --jobs 2"));
    let workers = children(child.id(), 2);
    // Until both are at work.
    std::thread::sleep(Duration::from_millis(700));
    signal(&workers[0], "KILL");
    let output = child.wait_with_output().expect("ended");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("was ended by signal 9; the others go on"), "{stderr}");
    assert!(stderr.contains("type the same command again to try again"), "{stderr}");
    assert_eq!(place.fingerprints("run").len(), 3);
    let notes = || std::fs::read_dir(place.path("run/failed")).expect("a folder");
    let note = std::fs::read_to_string(notes().next().expect("a note").expect("an entry").path()).expect("text");
    assert!(note.contains("was ended by signal 9"), "{note}");
    place.sharpbench(RUN).assert().success();
    assert_eq!(notes().count(), 0);
}

#[test]
fn asked_to_stop_all_keep_their_cells() {
    let place = place();
    let child = place.spawn(&format!("{RUN} --jobs 2"));
    children(child.id(), 2);
    std::thread::sleep(Duration::from_millis(700));
    signal(child.id(), "TERM");
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(143), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_dir(place.path("run/checkpoints")).expect("a folder").count(), 2);
    place.sharpbench(RUN).assert().success().stderr(predicate::str::contains("goes on after"));
}

#[test]
fn memory_is_bounded() {
    let place = place();
    place
        .sharpbench(&format!("{RUN} --jobs 2 --max-memory 2MiB"))
        .assert()
        .code(2)
        .stderr(predicate::str::contains("more than the 2 of --max-memory: 1 from here on"))
        .stderr(predicate::str::contains("one cell takes"));
}
