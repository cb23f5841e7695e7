//! Kills, full disks and company: nothing finished is lost, nothing half-written is read.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use predicates::prelude::*;
use support::Place;

const RUN: &str = "suite tiny.toml --data stand-in --quiet --out run";

/// The fingerprints of an undisturbed run.
fn undisturbed() -> BTreeMap<String, String> {
    let place = Place::new();
    place.sharpbench(RUN).assert().success();
    place.fingerprints("run")
}

#[test]
fn killed_at_any_instant_only_the_running_cell_is_lost() {
    let expected = undisturbed();
    let place = Place::new();
    let mut finished = BTreeMap::new();
    for milliseconds in [1, 20, 60, 100, 140, 180, 220, 300] {
        let mut child = place.spawn(RUN);
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().expect("killed");
        child.wait().expect("ended");
        if !place.path("run/run.json").exists() {
            continue;
        }
        let now = place.fingerprints("run");
        assert!(finished.iter().all(|(id, print)| now.get(id) == Some(print)), "a finished cell was lost");
        finished = now;
    }
    place.sharpbench(RUN).assert().success().stderr("");
    assert_eq!(place.fingerprints("run"), expected);
}

#[test]
fn two_processes_share_a_run() {
    let expected = undisturbed();
    let place = Place::new();
    let mut children = [place.spawn(RUN), place.spawn(RUN)];
    for child in &mut children {
        assert!(child.wait().expect("ended").success());
    }
    assert_eq!(place.fingerprints("run"), expected);
    let names: Vec<_> = std::fs::read_dir(place.path("run/cells")).expect("records").collect();
    assert_eq!(names.len(), expected.len(), "one record per cell and nothing else: {names:?}");
}

/// RLIMIT_FSIZE stands in for a full disk: writes beyond it fail. 16 blocks of 512 bytes hold run.json and no record
/// of a training this long.
#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_finished_cells_stay() {
    let place = Place::new();
    place.sharpbench(&format!("{RUN} --filter optimizer=sgd,seed=1")).assert().success();
    let before = place.fingerprints("run");
    assert_eq!(before.len(), 1);
    let script = format!("trap '' XFSZ; ulimit -f 1; exec {} {RUN}", env!("CARGO_BIN_EXE_sharpbench"));
    assert_cmd::Command::new("sh")
        .args(["-c", &script])
        .current_dir(place.path(""))
        .assert()
        .code(2)
        .stderr(predicate::str::contains("cannot write").and(predicate::str::contains("free some space")));
    assert_eq!(place.fingerprints("run"), before);
    place.sharpbench(RUN).assert().success();
    assert_eq!(place.fingerprints("run"), undisturbed());
}
