//! The examples, run as a reader would.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;

/// The program of an example, which `cargo test` builds beside the tests.
fn example(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_sharpbench")).parent().expect("a folder").join("examples");
    let program = folder.join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(program.is_file(), "{} is missing; run cargo build --examples", program.display());
    program
}

/// A method of a program of its own is trained in a suite by name, resumed by the records, and reported like any other.
#[test]
fn an_optimizer_of_ones_own_is_compared_by_name() {
    let place = tempfile::tempdir().expect("a folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = || {
        let mut command = Command::new(example("own_optimizer"));
        command.current_dir(root).args(["suite", "examples/own_optimizer.toml", "--out"]).arg(place.path().join("run"));
        command
    };
    own().assert().success().stdout(predicate::str::contains("average-gradient"));
    let before = std::fs::read_dir(place.path().join("run/cells")).expect("records").count();
    assert_eq!(before, 9, "three optimizers, three seeds");
    own().args(["--format", "csv"]).assert().success().stdout(predicate::str::contains("average-gradient").count(3));
    // The program without the method reports the run, but cannot plan the suite.
    let mut report = Command::new(env!("CARGO_BIN_EXE_sharpbench"));
    report
        .arg("report")
        .arg(place.path().join("run"))
        .assert()
        .success()
        .stdout(predicate::str::contains("average-gradient"));
    let mut plan = Command::new(env!("CARGO_BIN_EXE_sharpbench"));
    let refused = "there is no optimizer average-gradient; use one of sgd, adamw, sam";
    plan.current_dir(root).args(["plan", "examples/own_optimizer.toml"]);
    plan.assert().code(2).stderr(predicate::str::contains(refused));
}
