//! Seeds until claims are decided: on this machine, several at once, and resumed.

use predicates::prelude::*;
use serde_json::Value;

use crate::support::Place;

/// Rows whose accuracies are known to differ: the claims about them are decided within a few seeds, but for a row that is as good as
/// the active one by less than few seeds can tell.
pub(crate) const ARMS: &str = r#"
name = "arms"
description = "for tests"

[claims]
placebo = { optimizer = "sgd", lr = 0.0003 }
active = { optimizer = "sgd", lr = 0.05 }
margin = 1.0
max_seeds = 5

[base]
data = { name = "mnist-5k", train = 512, test = 500 }
model = { name = "mlp" }
schedule = { epochs = 2, batch_size = 32 }
seeds = [1, 2]

[profiles.quick]

[[base.grid]]
optimizer = "sgd"
lr = [0.0003, 0.05, 0.045]

[[base.grid]]
optimizer = "ssam-f"
rho = 0.05
sparsity = 0.9
lr = 0.001
fisher_samples = 8
"#;

const RUN: &str = "suite arms.toml --out run --until decided";

fn place() -> Place {
    let place = Place::new();
    std::fs::write(place.path("arms.toml"), ARMS).expect("a suite");
    place
}

fn report(place: &Place) -> Value {
    let output = place.sharpbench("report run --format json").output().expect("a report");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Seeds planned for each row.
fn seeds(report: &Value) -> Vec<u64> {
    report["rows"].as_array().expect("rows").iter().map(|row| row["planned"].as_u64().expect("a number")).collect()
}

#[test]
fn rows_get_seeds_until_they_are_decided() {
    let place = place();
    place
        .sharpbench(RUN)
        .assert()
        .success()
        .stderr(predicate::str::contains("not decided yet: look 2 of at most 4 (3 seeds)"))
        .stdout(predicate::str::contains("INTERIM").not());
    let found = report(&place);
    assert_eq!(found["assay"], "supported");
    assert_eq!(found["look"]["interim"], false);
    let planned = seeds(&found);
    // The row that loses nearly all of the gain is decided before the one that loses next to nothing.
    assert_eq!(planned[0], planned[1]);
    assert!(planned[3] < planned[2] && planned[2] == planned[0], "{planned:?}");
    let row = &found["rows"][3]["claims"];
    assert_eq!((&row["no_loss"]["finding"], &row["retention"]["finding"]), (&"refuted".into(), &"refuted".into()));
    assert_eq!(
        found["rows"][0]["claims"]["no_loss"]["finding"], "refuted",
        "the placebo's, without which nothing is shown"
    );
    // A record tells for which look it was trained.
    let looks: Vec<Value> = place
        .record_files("run")
        .values()
        .map(|text| serde_json::from_slice::<Value>(text).expect("JSON")["look"].clone())
        .collect();
    assert!(looks.contains(&1.into()) && looks.contains(&2.into()) && !looks.contains(&Value::Null), "{looks:?}");
    // Nothing is left to do, and a run without the option does not undo what was decided.
    let records = place.record_files("run");
    place.sharpbench(RUN).assert().success();
    place.sharpbench("suite arms.toml --out run").assert().success();
    assert_eq!(place.record_files("run"), records);
    assert_eq!(seeds(&report(&place)), planned);
}

/// A run that stopped between looks says so, and goes on where it was; several cells at once are the same cells.
#[test]
fn an_interim_run_says_so_and_goes_on() {
    let place = place();
    let whole = ARMS.replace("max_seeds = 5", "max_seeds = 3");
    std::fs::write(place.path("arms.toml"), &whole).expect("a suite");
    place.sharpbench(&format!("{RUN} --jobs 2")).assert().success();
    let all = place.fingerprints("run");
    // As if it had been ended before the last look was complete.
    let last =
        place.record_files("run").into_iter().find(|(_, text)| String::from_utf8_lossy(text).contains("\"look\": 2"));
    std::fs::remove_file(place.path("run/cells").join(last.expect("a record of look 2").0)).expect("removed");
    let output = place.sharpbench("report run").output().expect("a report");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("INTERIM: look 2 of at most 2") && text.contains("interim look 2"), "{text}");
    place.sharpbench(RUN).assert().success().stdout(predicate::str::contains("INTERIM").not());
    assert_eq!(place.fingerprints("run"), all);
}

#[test]
fn what_cannot_be_decided_is_refused() {
    let place = place();
    place
        .sharpbench(&format!("{RUN} --filter optimizer=sgd"))
        .assert()
        .code(2)
        .stderr(predicate::str::contains("--until decided needs every row; remove --filter"));
    for (from, to, message) in [
        ("lr = 0.0003 }", "lr = 0.3 }", "claims.placebo = { lr = 0.3, optimizer = sgd } describes no row of the grid"),
        ("optimizer = \"sgd\", lr = 0.0003 }", "optimizer = \"sgd\" }", "describes 3 rows"),
        (
            "lr = 0.0003 }",
            "lr = 0.05 }",
            "claims.placebo and the active row (claims.active, or the first SAM row) are the same; name two",
        ),
        ("lr = 0.0003 }", "speed = 1 }", "there is no axis speed in this plan"),
        ("max_seeds = 5", "max_seeds = 1", "claims.max_seeds = 1 must be from the number of seeds listed, 2"),
        ("margin = 1.0", "margin = 0.0", "claims.margin = 0 must be above 0"),
        ("margin = 1.0", "retain = 1.5", "claims.retain = 1.5 must be above 0 and at most 1"),
        ("margin = 1.0", "power = 0.8", "unknown field `power`"),
        ("[base]\n", "[base]\nclaims = { margin = 1.0 }\n", "claims of all profiles belong in [claims]"),
    ] {
        std::fs::write(place.path("arms.toml"), ARMS.replacen(from, to, 1)).expect("a suite");
        place.sharpbench(RUN).assert().code(2).stderr(predicate::str::contains(message));
    }
}

/// Claims are part of a plan's hash; a margin given with the report, and seeds added by hand, are said to come after the data.
#[test]
fn what_came_after_the_data_is_said() {
    let place = place();
    let hash = |text: &str| {
        std::fs::write(place.path("arms.toml"), text).expect("a suite");
        place.sharpbench("suite arms.toml --out run").assert().success();
        let manifest: Value =
            serde_json::from_slice(&std::fs::read(place.path("run/run.json")).expect("a plan")).expect("JSON");
        manifest["suite_hash"].clone()
    };
    let first = hash(ARMS);
    let words = |arguments: &str| {
        let output = place.sharpbench(arguments).output().expect("a report");
        String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(!words("report run").contains("after the data"));
    assert!(words("report run --margin 2").contains("the margin was given with the report, after the data"));
    // Nothing is trained again, but the claims are others.
    assert_ne!(first, hash(&ARMS.replace("margin = 1.0", "margin = 2.0")));
    assert!(words("report run").contains("not planned: 8 cells were trained before the suite was changed"));
    hash(&ARMS.replace("seeds = [1, 2]", "seeds = [1, 2, 3]"));
    assert!(words("report run").contains("not planned: 8 cells were trained before the suite was changed"));
    // Who looks first and goes on afterwards has looked once too often.
    hash(ARMS);
    place.sharpbench(RUN).assert().success();
    assert!(words("report run").contains("cells were trained without --until decided"));
    // What was found look after look was found with the suite's margin.
    let refused = place.sharpbench("report run --margin 2").assert().code(2);
    refused.stderr(predicate::str::contains("--margin cannot change it now"));
}

/// Without a placebo that is named, the active row is not its own.
#[test]
fn the_active_row_is_not_its_own_placebo() {
    let place = place();
    let one = ARMS.replace("placebo = { optimizer = \"sgd\", lr = 0.0003 }\n", "");
    std::fs::write(place.path("arms.toml"), one).expect("a suite");
    place.sharpbench(RUN).assert().success().stdout(predicate::str::contains("sgd lr .05 gains"));
    let planned = seeds(&report(&place));
    assert!(planned.iter().all(|seeds| *seeds <= 5), "{planned:?}");
}

/// A suite that lists a single seed goes on to those of the stream.
#[test]
fn one_seed_is_a_beginning() {
    let place = place();
    std::fs::write(place.path("arms.toml"), ARMS.replace("seeds = [1, 2]", "seeds = [1]")).expect("a suite");
    place.sharpbench(RUN).assert().success();
    let found = report(&place);
    assert_eq!(found["assay"], "supported", "{found}");
    assert!(seeds(&found).iter().all(|seeds| *seeds > 1));
}
