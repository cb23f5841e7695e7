//! Kills, full disks and company: nothing finished is lost, nothing half-written is read.

use std::collections::BTreeMap;
use std::time::Duration;

use predicates::prelude::*;
use serde_json::Value;

use crate::support::{Place, Random, TINY, pixel, signal, timeless, write_parquet};

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
    assert_cmd::Command::new("sh").args(["-c", &script]).current_dir(place.path("")).assert().code(2).stderr(
        predicate::str::contains("cannot write run/cells/")
            .and(predicate::str::contains("raise the limit on the size of files")),
    );
    assert_eq!(place.fingerprints("run"), before);
    assert_eq!(std::fs::read_dir(place.path("run/cells")).expect("records").count(), 1, "nothing half-written stays");
    place.sharpbench(&run).assert().success();
    assert_eq!(place.fingerprints("run").len(), 2);
}

/// The suite whose cells are kept after every epoch.
fn kept_place(epochs: usize) -> Place {
    let place = Place::new();
    place.keep_every_epoch(epochs);
    place
}

/// Records by file name, without times, memory and what is told of the interruptions.
fn timeless_records(place: &Place) -> BTreeMap<String, Value> {
    place.record_files("run").into_iter().map(|(name, bytes)| (name, timeless(&bytes))).collect()
}

/// Killed at random instants until it is done: the records are those of an undisturbed run, and cells went on where they were kept.
#[test]
fn killed_cells_go_on_to_the_same_record() {
    let undisturbed = kept_place(12);
    undisturbed.sharpbench(RUN).assert().success();
    let place = kept_place(12);
    let (mut kills, mut went_on) = (0u32, 0);
    let mut random = Random::new(1);
    loop {
        let before = place.progress("run");
        let mut child = place.spawn(RUN);
        // One in four dies early, the others around the moment at which something is written.
        while !kills.is_multiple_of(4)
            && place.progress("run") == before
            && child.try_wait().expect("a status").is_none()
        {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        let ended = child.try_wait().expect("a status");
        child.kill().ok();
        let output = child.wait_with_output().expect("ended");
        went_on += String::from_utf8_lossy(&output.stderr).matches("resumes after").count();
        if let Some(status) = ended {
            assert!(status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            break;
        }
        kills += 1;
    }
    assert!(kills > 4 && went_on > 0, "{kills} kills, went on {went_on} times");
    assert_eq!(timeless_records(&place), timeless_records(&undisturbed));
    assert_eq!(std::fs::read_dir(place.path("run/checkpoints")).expect("a folder").count(), 0, "nothing is left over");
}

/// Starts the run and waits until it has kept a cell after the moment at which it was started.
#[cfg(unix)]
fn at_work(place: &Place) -> std::process::Child {
    let before = place.progress("run");
    let mut child = place.spawn(RUN);
    let kept = || {
        place
            .progress("run")
            .into_iter()
            .any(|file| file.0.extension().is_some_and(|x| x == "safetensors") && !before.contains(&file))
    };
    while !kept() && child.try_wait().expect("a status").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

#[cfg(unix)]
#[test]
fn asked_to_stop_a_run_keeps_its_step_and_goes_on() {
    let expected = undisturbed(30);
    let place = kept_place(30);
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let child = at_work(&place);
        signal(child.id(), name);
        let output = child.wait_with_output().expect("ended");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains("stopped and checkpointed"), "{stderr}");
    }
    place.sharpbench(RUN).assert().success();
    assert_eq!(place.fingerprints("run"), expected);

    // Twice: it ends, with one of the codes, whatever it is doing.
    let place = kept_place(30);
    let child = at_work(&place);
    for name in ["STOP", "INT", "TERM", "CONT"] {
        signal(child.id(), name);
    }
    let output = child.wait_with_output().expect("ended");
    assert!(matches!(output.status.code(), Some(130 | 143)), "{:?}", output.status);
}

/// A checkpoint that was damaged, or is of another program, is named and not gone on with.
#[cfg(unix)]
#[test]
fn a_damaged_checkpoint_starts_the_cell_anew() {
    let expected = undisturbed(30);
    let place = kept_place(30);
    let mut child = at_work(&place);
    child.kill().expect("killed");
    child.wait().expect("ended");
    let mut entries = std::fs::read_dir(place.path("run/checkpoints")).expect("a folder");
    let path = entries.next().expect("a checkpoint").expect("an entry").path();
    let mut bytes = std::fs::read(&path).expect("a checkpoint");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    place.sharpbench(RUN).assert().success().stderr(predicate::str::contains(
        "cannot be resumed from its checkpoint and restarts: its digest does not match its contents",
    ));
    assert_eq!(place.fingerprints("run"), expected);
}

/// The run on images of the hub's form, in the folder `images`.
const RUN_ON_IMAGES: &str = "suite tiny.toml --data images --out run";

fn write_images(place: &Place, first: usize) {
    write_parquet(&place.path("images/train.parquet"), first, 40);
    write_parquet(&place.path("images/test.parquet"), 100, 20);
}

/// Images that are replaced while a run is at work, or between two: records are of those it was begun with, others are refused.
#[cfg(unix)]
#[test]
fn images_that_changed_since_a_run_began_are_refused() {
    for jobs in ["", " --jobs 2"] {
        let place = kept_place(4);
        write_images(&place, 0);
        let expected = {
            place.sharpbench(&RUN_ON_IMAGES.replace("run", "undisturbed")).assert().success();
            place.fingerprints("undisturbed")
        };
        let run = format!("{RUN_ON_IMAGES}{jobs}");
        let before = place.progress("run");
        let mut child = place.spawn(&run);
        while place.progress("run") == before && child.try_wait().expect("a status").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        write_images(&place, 7);
        // What is in memory is not read again.
        let output = child.wait_with_output().expect("ended");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(place.fingerprints("run"), expected);
        let records = place.record_files("run");
        std::fs::remove_file(place.a_record("run")).expect("removed");
        place
            .sharpbench(&run)
            .assert()
            .code(2)
            .stderr(predicate::str::contains("its records were made with other cifar10 images"));
        assert_eq!(place.record_files("run").len(), records.len() - 1, "nothing was trained on the others");
        write_images(&place, 0);
        place.sharpbench(&run).assert().success();
        assert_eq!(place.fingerprints("run"), expected);
    }
}

/// Photographs are read while a run trains: one that changes ends it, and no record is made of the mixture.
#[cfg(unix)]
#[test]
fn a_photograph_that_changes_while_it_trains_ends_the_run() {
    let place = kept_place(20);
    let suite = std::fs::read_to_string(place.path("tiny.toml")).expect("a suite");
    let data = "name = \"image-folder\", train = 8, test = 4, size = 16, classes = 2";
    let suite =
        suite.replace("name = \"cifar10\", train = 40, test = 20", data).replace("batch_size = 10", "batch_size = 4");
    std::fs::write(place.path("tiny.toml"), suite.replace("fisher_samples = 8", "fisher_samples = 4"))
        .expect("a suite");
    for (class, n) in [("train/a", 4), ("train/b", 4), ("test/a", 2), ("test/b", 2)] {
        std::fs::create_dir_all(place.path("images").join(class)).expect("a folder");
        for i in 0..n {
            let image = image::RgbImage::from_fn(24, 24, |x, y| image::Rgb([pixel(i, 0, y as usize, x as usize); 3]));
            image.save(place.path("images").join(class).join(format!("{i}.png"))).expect("a picture");
        }
    }
    place.sharpbench(&RUN_ON_IMAGES.replace("run", "undisturbed")).assert().success();
    let expected = place.fingerprints("undisturbed");
    let mut child = place.spawn(RUN_ON_IMAGES);
    while place.progress("run").is_empty() && child.try_wait().expect("a status").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let picture = place.path("images/train/b/2.png");
    let original = std::fs::read(&picture).expect("a picture");
    image::RgbImage::new(24, 24).save(place.path("other.png")).expect("a picture");
    std::fs::rename(place.path("other.png"), &picture).expect("replaced");
    let output = child.wait_with_output().expect("ended");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("images/train/b/2.png has changed since the run began"), "{stderr}");
    place
        .sharpbench(RUN_ON_IMAGES)
        .assert()
        .code(2)
        .stderr(predicate::str::contains("its records were made with other image-folder images"));
    std::fs::write(&picture, original).expect("put back");
    place.sharpbench(RUN_ON_IMAGES).assert().success();
    assert_eq!(place.fingerprints("run"), expected);
}
