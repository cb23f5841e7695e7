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

/// So is a model, whose parameters, multiply-adds and shapes between layers come from its layers.
#[test]
fn a_model_of_ones_own_is_trained_by_name() {
    let place = tempfile::tempdir().expect("a folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut own = Command::new(example("own_model"));
    own.current_dir(root).args(["suite", "examples/own_model.toml", "--out"]).arg(place.path().join("run"));
    // By hand: 3x3 convolutions 1 -> 8 -> 8, two BatchNorms, and 8 features to 10 classes.
    let parameters = 72 + 16 + 576 + 16 + 90;
    own.assert()
        .success()
        .stdout(predicate::str::contains(format!("two-convolutions width 8 ({parameters} parameters)")));
    // Its list has it, too.
    let mut list = Command::new(example("own_model"));
    list.arg("list").assert().success().stdout(predicate::str::contains("two convolutions with BatchNorm (width = 8)"));
    let mut plan = Command::new(env!("CARGO_BIN_EXE_sharpbench"));
    plan.current_dir(root).args(["plan", "examples/own_model.toml"]);
    plan.assert()
        .code(2)
        .stderr(predicate::str::contains("model.name = \"two-convolutions\" is not known; use one of mlp"));
}

/// Records are read as the reports read them.
#[test]
fn records_are_read_by_a_program_of_ones_own() {
    let mut own = Command::new(example("read_records"));
    own.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/reference/frontier-quick-mnist-5k"));
    let output = own.assert().success();
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    assert_eq!(text.lines().count(), 1 + 66, "a line for each cell");
    assert!(text.contains("\nsgd,1234,0.707,0.001069077,159847546880\n"), "{text}");
    output.stderr(predicate::str::contains("momentum-sam: keeps 88% of SAM's gain\n"));
}

/// The curvature of a network in candle's own layers: gradient descent settles below its edge.
#[test]
fn the_hessian_of_a_network_of_ones_own_is_measured() {
    let output = Command::new(example("hessian")).assert().success().get_output().stdout.clone();
    let text = String::from_utf8_lossy(&output).into_owned();
    let numbers = |line: &str| -> Vec<f64> {
        let words = line.split([' ', ',', '(', ')']).filter_map(|word| word.parse().ok());
        words.collect()
    };
    let lines: Vec<Vec<f64>> = text.lines().map(|line| numbers(line.split_once(": ").expect("a step").1)).collect();
    assert_eq!(lines.len(), 6, "{text}");
    for line in &lines[1..] {
        // Loss, eigenvalue, products, trace, 2 / eta, SAM's edge.
        let [loss, eigenvalue, _, trace, _, edge, sam_edge] = line[..] else { panic!("{text}") };
        assert!(loss < 0.2 && eigenvalue < edge && trace > eigenvalue && sam_edge < edge, "{text}");
    }
}

#[test]
fn a_folder_of_photographs_is_read() {
    let place = tempfile::tempdir().expect("a folder");
    for (split, class, file) in
        [("train", "a", 0), ("train", "a", 1), ("train", "b", 0), ("test", "a", 0), ("test", "b", 0)]
    {
        let folder = place.path().join(split).join(class);
        std::fs::create_dir_all(&folder).expect("a folder");
        let photograph = image::RgbImage::from_pixel(40, 30, image::Rgb([9, 90, 200]));
        photograph.save(folder.join(format!("{file}.png"))).expect("a file");
    }
    let output = Command::new(example("read_images")).arg(place.path()).assert().success().get_output().stdout.clone();
    let rates: Vec<f64> =
        String::from_utf8(output).expect("text").lines().map(|l| l.parse().expect("a rate")).collect();
    assert!(rates.len() == 3 && rates.iter().all(|rate| *rate > 0.0), "{rates:?}");
    Command::new(example("read_images")).arg(place.path().join("none")).assert().failure();
}
