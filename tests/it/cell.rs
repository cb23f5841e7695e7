//! One cell by its place in a plan: what its exit code says, and the same plan by a plain shell.
#![cfg(unix)]

use std::fs;
use std::time::Duration;

use predicates::prelude::*;
use serde_json::Value;
use sharpbench::suite::Cell;

use crate::support::{Place, TINY, signal};

const RUN: &str = "suite tiny.toml --data stand-in --out run";
const CELL: &str = "cell --run run --plan plan.txt --threads 1";

/// A place with a run and its plan; what the plan has.
fn planned(epochs: usize) -> (Place, Vec<String>) {
    let place = Place::new();
    let suite = TINY.replace("epochs = 2", &format!("epochs = {epochs}"));
    fs::write(place.path("tiny.toml"), suite).expect("a suite");
    let plan = place.sharpbench(&format!("{RUN} --executor plan")).assert().success().get_output().stdout.clone();
    fs::write(place.path("plan.txt"), &plan).expect("written");
    (place, String::from_utf8(plan).expect("text").lines().map(String::from).collect())
}

/// The notes of failures.
fn notes(place: &Place) -> Vec<Value> {
    let entries = fs::read_dir(place.path("run/failed")).into_iter().flatten().flatten();
    entries.map(|e| serde_json::from_slice(&fs::read(e.path()).expect("a note")).expect("JSON")).collect()
}

/// Changes the first cell of the run, and the plan with it.
fn change(place: &Place, change: impl FnOnce(&mut Value)) {
    let path = place.path("run/run.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).expect("a run")).expect("JSON");
    change(&mut manifest["cells"][0]);
    let id = serde_json::from_value::<Cell>(manifest["cells"][0].clone()).expect("a cell").id();
    fs::write(path, manifest.to_string()).expect("written");
    fs::write(place.path("plan.txt"), format!("{id}\n")).expect("written");
}

#[test]
fn a_shell_works_through_a_plan() {
    let (place, ids) = planned(2);
    assert_eq!(ids.len(), 4);
    let script = "seq 0 3 | xargs -P 2 -I {} \"$0\" cell --run run --plan plan.txt --index {} --threads 1";
    let mut shell = assert_cmd::Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_sharpbench")]).current_dir(place.path("")).assert().success();
    place.sharpbench("gather run").assert().success().stdout(predicate::str::contains("ssam-f"));
    assert!(place.path("run/report-tiny-quick-photo-patches.csv").exists());
    // A plan names what is missing; a cell that has its record needs no data.
    place.sharpbench(&format!("{RUN} --executor plan")).assert().success().stdout("");
    let again = format!("{CELL} --index 3 --data /nowhere");
    place.sharpbench(&again).assert().success().stderr(predicate::str::contains("already has a record"));
    let local = Place::new();
    local.sharpbench(RUN).assert().success();
    assert_eq!(place.fingerprints("run"), local.fingerprints("run"));
}

#[test]
fn a_task_may_have_several_cells() {
    let (place, _) = planned(2);
    place.sharpbench(&format!("{CELL} --cells-per-task 3 --index 1")).assert().success();
    assert_eq!(place.fingerprints("run").len(), 1, "the last of four");
    place
        .sharpbench("gather run")
        .assert()
        .code(3)
        .stderr(predicate::str::contains("1 of 4 cells").and(predicate::str::contains("missing: sgd lr=")));
    place.sharpbench(&format!("{CELL} --cells-per-task 3 --index 0")).assert().success();
    place.sharpbench("status run").assert().success().stdout("4 of 4 cells finished\n");
}

#[test]
fn what_does_not_belong_together_is_told_from_what_is_not_there() {
    let (place, _) = planned(2);
    let fails = |arguments: &str, code: i32, message: &str| {
        place.sharpbench(arguments).assert().code(code).stderr(predicate::str::contains(message)).stdout("");
    };
    fails(&format!("{CELL} --index 4"), 64, "plan.txt has 4 lines, none for index 4");
    fails("cell --run run --plan tiny.toml --index 0", 64, "the run has no cell");
    fails("cell --run run --plan nowhere --index 0", 64, "cannot read nowhere");
    fails("cell --run nowhere --plan plan.txt --index 0", 75, "put the run on storage that all nodes share");
    fails(&format!("{CELL} --index x"), 2, "invalid value 'x'");
    change(&place, |cell| cell["numerics"] = 1_000.into());
    fails(&format!("{CELL} --index 0"), 64, "planned for numerics 1000");
    assert!(notes(&place).is_empty() && !place.path("nowhere").exists());
}

#[test]
fn a_bad_place_is_counted() {
    let (place, _) = planned(2);
    for attempt in 1..=2 {
        let mut command = place.sharpbench(&format!("{CELL} --index 0 --needs-gpu"));
        command.env("CUDA_VISIBLE_DEVICES", "").assert().code(75);
        let note = &notes(&place)[0];
        assert_eq!(
            (&note["class"], &note["exit_code"], &note["attempt"]),
            (&"place".into(), &75.into(), &attempt.into())
        );
        assert_eq!(note["bad_nodes"].as_array().map(Vec::len), Some(attempt));
    }
    place
        .sharpbench("status run")
        .assert()
        .code(3)
        .stdout(predicate::str::contains("0 of 4 cells finished, 1 failed, 3 not submitted"))
        .stdout(predicate::str::contains("a GPU was requested, but none was assigned"));
    let mut command = place.sharpbench(&format!("{CELL} --index 0 --needs-gpu"));
    command.env("CUDA_VISIBLE_DEVICES", "0").assert().success();
    assert!(notes(&place).is_empty(), "the note goes with the record");
}

#[test]
fn a_cell_that_fails_or_panics_leaves_a_note_and_the_next_its_record() {
    let endless = serde_json::json!({"sharpness": "last", "eigenvalues": 1_000_000_000_000_000_000_u64});
    for (key, value, reason) in [
        ("model", serde_json::json!({"name": "resnet8", "depth": 7}), "model.depth does not apply"),
        ("measure", endless, "the program panicked"),
    ] {
        let (place, ids) = planned(2);
        change(&place, |cell| cell[key] = value);
        let first = fs::read_to_string(place.path("plan.txt")).expect("a plan");
        fs::write(place.path("plan.txt"), format!("{first}{}\n", ids[1])).expect("written");
        place
            .sharpbench(&format!("{CELL} --index 0 --cells-per-task 2"))
            .assert()
            .code(1)
            .stderr(predicate::str::contains(reason));
        let note = &notes(&place)[0];
        assert_eq!((&note["class"], &note["exit_code"]), (&"cell".into(), &1.into()));
        assert!(note["reason"].as_str().is_some_and(|text| text.contains(reason)), "{note}");
        assert_eq!(fs::read_dir(place.path("run/cells")).expect("records").count(), 1);
    }
}

#[test]
fn asked_to_stop_a_cell_is_kept() {
    let (place, _) = planned(400);
    let child = place.spawn(&format!("{CELL} --index 0 --checkpoint 1"));
    while fs::read_dir(place.path("run/checkpoints")).map_or(0, Iterator::count) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(child.id(), "TERM");
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(143), "{}", String::from_utf8_lossy(&output.stderr));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("epochs=400 seed=1: epoch 1, loss "), "{log}");
    assert_eq!(fs::read_dir(place.path("run/cells")).expect("records").count(), 0);
    assert!(notes(&place).is_empty(), "that is no failure");
    let child = place.spawn(&format!("{CELL} --index 0 --checkpoint 1"));
    signal(child.id(), "TERM");
    let output = child.wait_with_output().expect("ended");
    // Before it listens it ends by the signal itself.
    assert!(matches!(output.status.code(), Some(143) | None));
}

#[test]
fn options_of_one_executor_are_refused_with_another() {
    let place = Place::new();
    for (options, message) in [
        ("--partition gpu --wait", "--partition, --wait are for --executor slurm; add that, or remove it"),
        (
            "--executor slurm --jobs 2",
            "--jobs is for --executor local; use --cpus, --mem or --array-limit instead, or remove it",
        ),
        (
            "--executor plan --threads 2",
            "--threads is of no use to --executor plan, which trains nothing; use another executor, or remove it",
        ),
        ("--executor slurm --sbatch-arg=--array=0-9", "--sbatch-arg=--array=0-9 cannot be added"),
        ("--executor slurm --sbatch-arg=job.sh", "--sbatch-arg=job.sh cannot be added"),
        ("--executor slurm --poll 1", "--poll is for --wait"),
        ("--executor slurm --setup nowhere", "nowhere does not exist or is not a file; name a shell script"),
    ] {
        place
            .sharpbench(&format!("{RUN} {options}"))
            .env("PATH", "/nowhere")
            .assert()
            .code(2)
            .stderr(predicate::str::contains(message));
    }
}

#[test]
fn without_slurm_a_dry_run_shows_and_a_real_one_is_refused() {
    let place = Place::new();
    let slurm = format!("{RUN} --executor slurm --gres gpu:1 --cells-per-task 3 --array-max 1 --time 5");
    let shown = place.sharpbench(&format!("{slurm} --dry-run")).env("PATH", "/nowhere").assert().success();
    let text = String::from_utf8_lossy(&shown.get_output().stdout).into_owned();
    assert!(text.starts_with("4 of 4 cells, 2 arrays\n"), "{text}");
    for part in
        ["--array=0-0'", "--mem=4G", "--requeue", "--gres=gpu:1", "--time=5", "--needs-gpu", "--cells-per-task=3"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!place.path("run").exists());
    place.sharpbench(&slurm).env("PATH", "/nowhere").assert().code(2).stderr(
        predicate::str::contains("there is no scontrol on this machine")
            .or(predicate::str::contains("there is no sbatch on this machine")),
    );
}
