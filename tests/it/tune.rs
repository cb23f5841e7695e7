//! Tuning on validation samples: the same points for every method, the best one chosen, and a suite that says so.

use std::collections::HashMap;

use predicates::prelude::*;
use sharpbench::record::Record;
use sharpbench::suite::Suite;

use crate::support::Place;

pub(crate) const SUITE: &str = r#"
name = "small"
description = "for tests"

[claims]
placebo = { optimizer = "sgd", weight_decay = 1e-3 }
margin = 0.5

[base]
data = { name = "mnist-5k", train = 400, test = 50 }
model = { name = "mlp" }
schedule = { epochs = 1, batch_size = 32, lr = 0.05 }
seeds = [1, 2]

[[base.grid]]
optimizer = "sgd"
weight_decay = [5e-4, 1e-3]

[[base.grid]]
optimizer = "ssam-f"
rho = 0.1
sparsity = 0.9
fisher_samples = 8

[[base.grid]]
optimizer = "gsam"
rho = 0.1

[profiles.quick]
like = "long"
schedule = { epochs = 2 }

[profiles.long]
description = "longer"
schedule = { batch_size = 16 }
"#;

const TUNE: &str = "tune small.toml --trials 4 --seeds 2 --range alpha=0..0.8 --out run";

fn place() -> Place {
    let place = Place::new();
    std::fs::write(place.path("small.toml"), SUITE).expect("a suite");
    place
}

fn tuned(place: &Place) -> String {
    std::fs::read_to_string(place.path("small-tuned.toml")).expect("a tuned suite")
}

#[test]
fn the_best_point_of_each_method_becomes_a_suite() {
    let place = place();
    place.sharpbench(TUNE).assert().success().stdout(predicate::str::contains("validation %"));
    let text = tuned(&place);
    // Every method has the same points, seeds of its own, and accuracies of samples held out of the training set.
    let records: Vec<Record> =
        place.record_files("run").values().map(|text| Record::parse(text).expect("a record")).collect();
    assert_eq!(records.len(), 3 * 4 * 2);
    assert!(records.iter().all(|r| r.cell.data.validation && (r.cell.data.train, r.cell.data.test) == (360, 40)));
    assert!(records.iter().all(|r| ![1, 2].contains(&r.cell.seed) && r.cell.epochs == 2 && r.cell.batch_size == 16));
    let mut points: HashMap<&str, Vec<String>> = HashMap::new();
    for r in &records {
        points
            .entry(r.cell.optimizer.name.as_str())
            .or_default()
            .push(format!("{} {}", r.cell.lr, r.cell.optimizer.weight_decay));
    }
    points.values_mut().for_each(|of| of.sort());
    assert_eq!(points["sgd"], points["gsam"]);
    // What was chosen is the best mean, and the suite has exactly that.
    let mut means: HashMap<(String, String), f64> = HashMap::new();
    for r in &records {
        let key = (r.cell.optimizer.name.clone(), r.cell.setting_label());
        *means.entry(key).or_default() += r.measures.test_accuracy_last.expect("an accuracy") / 2.0;
    }
    let suite = Suite::parse("tuned".into(), &text).expect("an ordinary suite");
    let plan = suite.plan("quick", "mnist-5k").expect("a plan");
    assert_eq!(plan.cells.len(), 3 * 2);
    for cell in &plan.cells {
        let best = means
            .iter()
            .filter(|((name, _), _)| *name == cell.optimizer.name)
            .map(|(_, mean)| *mean)
            .fold(0.0, f64::max);
        let chosen = means[&(cell.optimizer.name.clone(), cell.setting_label())];
        assert!(chosen >= best - 1e-12, "{}: {chosen} {best}", cell.label());
        assert!(!cell.data.validation && [1, 2].contains(&cell.seed) && cell.data.test == 50);
    }
    for said in
        ["held out of the training set of mnist-5k", "24 trainings", "The test set was not read", "alpha 0 to 0.8"]
    {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(suite.file.claims.margin, Some(0.5));
    let placebo = suite.file.claims.placebo.clone().expect("a placebo");
    assert!(plan.cells.iter().all(|cell| placebo.matches(cell) == (cell.optimizer.name == "sgd")), "{text}");
    // It goes on where it was, several cells at once are the same, and the suite is trained like any other.
    place.sharpbench(TUNE).assert().success().stderr(predicate::str::contains("24 of 24 cells already"));
    assert_eq!(tuned(&place), text);
    place.sharpbench(&TUNE.replace("run", "jobs")).args(["--jobs", "2"]).assert().success();
    assert_eq!(place.fingerprints("jobs"), place.fingerprints("run"));
    place
        .sharpbench("suite small-tuned.toml --out tuned")
        .assert()
        .success()
        .stdout(predicate::str::contains("50 test samples"));
    // A report of the tuning run itself says what its accuracies are.
    let report = place.sharpbench("report run").output().expect("a report").stdout;
    assert!(String::from_utf8_lossy(&report).contains("40 validation samples"));
}

#[test]
fn what_cannot_be_tuned_is_refused() {
    let place = place();
    for (arguments, message) in [
        ("--range rho=a", "rho=a is not of the form key=low..high"),
        ("--range rho=1..0.5", "the range of rho must rise, from 0 or more"),
        ("--range speed=1..2", "--range speed: no row of the grid accepts such values of it"),
        ("--trials 0", "--trials 0 must be from 1 to 1000"),
        ("--validation 400", "data.validation = 400 must be from 1 to 399"),
        ("--range rho=0..1 --profile fast", "there is no profile fast"),
        ("--range fisher_samples=1..9999", "fisher_samples"),
    ] {
        place
            .sharpbench(&format!("tune small.toml {arguments}"))
            .assert()
            .code(2)
            .stderr(predicate::str::contains(message));
    }
    std::fs::write(place.path("mine.toml"), "name = \"mine\"\n").expect("a file");
    place
        .sharpbench("tune small.toml --trials 1 --out one --write mine.toml")
        .assert()
        .code(2)
        .stderr(predicate::str::contains("mine.toml is not a suite that tune wrote"));
    std::fs::write(place.path("binary.toml"), [0xff, 0xfe]).expect("a file");
    place
        .sharpbench("tune small.toml --trials 1 --out one --write binary.toml")
        .assert()
        .code(2)
        .stderr(predicate::str::contains("binary.toml cannot be read"));
    assert!(!place.path("one").exists(), "said before anything is trained");
    // Where a learning rate is hopeless throughout, there is nothing to choose.
    place
        .sharpbench("tune small.toml --trials 2 --range lr=1e20..1e25 --out run")
        .assert()
        .code(2)
        .stderr(predicate::str::contains("diverged at every point; narrow the ranges with --range"));
}

/// Grids of SGD alone, rows that fix a key, lists as values, rows that are the same in other words, and profiles that hold samples out.
#[test]
fn all_kinds_of_grids_are_tuned() {
    let place = Place::new();
    let head = "name = \"kinds\"\ndescription = \"for tests\"\n[profiles.quick]\n[base]\ndata = { name = \"mnist-5k\", train = 200, test = 50, validation = 40 }\n\
                model = { name = \"mlp\" }\nschedule = { epochs = 1, batch_size = 32, lr = 0.05 }\nseeds = [1]\n";
    let tune = |grid: &str, arguments: &str| {
        std::fs::write(place.path("kinds.toml"), format!("{head}{grid}")).expect("a suite");
        place.sharpbench(&format!("tune kinds.toml --fresh --out run --trials 2 {arguments}")).assert().success();
        let text = std::fs::read_to_string(place.path("kinds-tuned.toml")).expect("a tuned suite");
        let plan =
            Suite::parse("tuned".into(), &text).and_then(|suite| suite.plan("quick", "mnist-5k")).expect("a plan");
        assert!(plan.cells.iter().all(|cell| !cell.data.validation && cell.data.train == 200), "{text}");
        plan.cells.len()
    };
    assert_eq!(tune("[[base.grid]]\noptimizer = \"sgd\"\n", ""), 1);
    let same =
        "[[base.grid]]\noptimizer = \"sgd\"\nweight_decay = 1e-3\n[[base.grid]]\noptimizer = \"sgd\"\nmomentum = 0.9\n";
    assert_eq!(tune(same, ""), 1);
    let fixed = "[[base.grid]]\noptimizer = \"ssam\"\nrho = 0.1\npattern = \"2:4\"\n\
                 [[base.grid]]\noptimizer = \"ssam\"\nrho = 0.1\nsparsity = 0.5\n";
    assert_eq!(tune(fixed, "--range sparsity=0.3..0.6"), 2);
    let lists = "[[base.grid]]\noptimizer = \"sam\"\nrho = 0.1\n[[base.grid]]\noptimizer = \"ae-sam\"\nrho = 0.1\n\
                 threshold = [[1.0, -1.0], [0.5, -0.5]]\n";
    assert_eq!(tune(lists, ""), 3);
}
