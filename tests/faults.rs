//! Kills, full disks and company: nothing finished is lost, nothing half-written is read.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use predicates::prelude::*;
use support::{Place, TINY};

const RUN: &str = "suite tiny.toml --data stand-in --out run";

/// The tiny suite with longer cells, so that a kill hits one at work.
fn place(epochs: usize) -> Place {
    let place = Place::new();
    let suite = TINY.replace("epochs = 2", &format!("epochs = {epochs}"));
    std::fs::write(place.path("tiny.toml"), suite).expect("a suite");
    place
}

/// The fingerprints of an undisturbed run.
fn undisturbed(epochs: usize) -> BTreeMap<String, String> {
    let place = place(epochs);
    place.sharpbench(RUN).assert().success();
    place.fingerprints("run")
}

fn records(place: &Place) -> usize {
    let entries = std::fs::read_dir(place.path("run/cells")).into_iter().flatten().flatten();
    entries.filter(|e| e.path().extension().is_some_and(|x| x == "json")).count()
}

#[test]
fn killed_at_any_instant_only_the_running_cell_is_lost() {
    let expected = undisturbed(6);
    let place = place(6);
    let mut finished = BTreeMap::new();
    // Kill when the next record has just appeared, and a little later: before, in and after the writing of others.
    for (target, later) in [(0, 30), (1, 0), (1, 5), (2, 1), (3, 20), (3, 40)] {
        let mut child = place.spawn(RUN);
        while records(&place) < target && child.try_wait().expect("a status").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(later));
        child.kill().expect("killed");
        child.wait().expect("ended");
        if records(&place) == 0 {
            continue;
        }
        let now = place.fingerprints("run");
        assert!(finished.iter().all(|(id, print)| now.get(id) == Some(print)), "a finished cell was lost");
        assert!(now.iter().all(|(id, print)| expected.get(id) == Some(print)), "a record differs");
        finished = now;
    }
    assert!(finished.len() >= 3, "the kills came before any work: {finished:?}");
    place.sharpbench(RUN).assert().success();
    assert_eq!(place.fingerprints("run"), expected);
}

#[test]
fn two_processes_share_a_run_and_train_each_cell_once() {
    let expected = undisturbed(6);
    let place = place(6);
    let children = [place.spawn(RUN), place.spawn(RUN)];
    let mut trained = 0;
    for child in children {
        let output = child.wait_with_output().expect("ended");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        trained += stderr.lines().filter(|l| l.starts_with('[')).count();
    }
    assert_eq!(trained, expected.len(), "every cell is trained by one process");
    assert_eq!(place.fingerprints("run"), expected);
    assert_eq!(std::fs::read_dir(place.path("run/cells")).expect("records").count(), expected.len());
}

#[test]
fn processes_with_different_filters_do_not_lose_each_others_cells() {
    let place = Place::new();
    let children = [1, 2].map(|seed| place.spawn(&format!("{RUN} --filter seed={seed}")));
    for child in children {
        let code = child.wait_with_output().expect("ended").status.code();
        assert!(matches!(code, Some(0 | 3)), "finished, though perhaps before the other: {code:?}");
    }
    place.sharpbench("report run").assert().success();
    assert_eq!(place.fingerprints("run").len(), 4);
}

/// RLIMIT_FSIZE stands in for a full disk: writes beyond it fail. The plan of two cells fits under the limit, the
/// record of 60 epochs does not.
#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_finished_cells_stay() {
    let place = place(60);
    let run = format!("{RUN} --filter optimizer=sgd");
    place.sharpbench(&format!("{run},seed=1")).assert().success();
    let before = place.fingerprints("run");
    assert_eq!(before.len(), 1);
    let size = |path: &str| std::fs::metadata(place.path(path)).expect("metadata").len();
    let record = place.a_record("run");
    let blocks = std::fs::metadata(record).expect("metadata").len() / 1024 - 1;
    assert!(2 * size("run/run.json") < blocks * 512, "the limit must let the plan pass");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec {} {run}", env!("CARGO_BIN_EXE_sharpbench"));
    assert_cmd::Command::new("sh")
        .args(["-c", &script])
        .current_dir(place.path(""))
        .assert()
        .code(2)
        .stderr(predicate::str::contains("cannot write run/cells/").and(predicate::str::contains("free some space")));
    assert_eq!(place.fingerprints("run"), before);
    assert_eq!(std::fs::read_dir(place.path("run/cells")).expect("records").count(), 1, "nothing half-written stays");
    place.sharpbench(&run).assert().success();
    assert_eq!(place.fingerprints("run").len(), 2);
}
