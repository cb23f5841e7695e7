//! The real binary: the main job, what it prints, and how it refuses.

use std::path::Path;

use predicates::prelude::*;

use crate::support::{Place, TINY, error};

#[test]
fn a_suite_trains_reports_and_resumes() {
    let place = Place::new();
    let run = "suite tiny.toml --data stand-in --format json";
    let first = place.sharpbench(run).assert().success();
    let json: serde_json::Value = serde_json::from_slice(&first.get_output().stdout).expect("only JSON on stdout");
    assert_eq!(
        (&json["suite"], &json["profile"], &json["data"]),
        (&"tiny".into(), &"quick".into(), &"photo-patches".into())
    );
    assert_eq!(json["stand_in"], true);
    assert_eq!(json["rows"].as_array().map(Vec::len), Some(2));
    assert_eq!(json["rows"][1]["test_accuracy_last"]["n"], 2);
    assert_eq!((&json["rows"][1]["sparsity"], &json["rows"][1]["fisher_samples"]), (&0.9.into(), &8.into()));
    let folder = "reports/tiny-quick-photo-patches";
    for name in ["md", "csv", "json"] {
        assert!(place.path(&format!("{folder}/report-tiny-quick-photo-patches.{name}")).is_file());
    }
    // The same command again trains nothing and prints the same.
    place
        .sharpbench(run)
        .assert()
        .success()
        .stderr(predicate::str::contains("4 of 4 cells already have records").and(predicate::str::contains("[").not()))
        .stdout(String::from_utf8(first.get_output().stdout.clone()).expect("text"));
    // --fresh trains all again, to the same bits with any number of threads.
    let fingerprints = place.fingerprints(folder);
    assert_eq!(fingerprints.len(), 4);
    for threads in [1, 2] {
        place.sharpbench(&format!("{run} --fresh --threads {threads} --quiet")).assert().success().stderr("");
        assert_eq!(place.fingerprints(folder), fingerprints, "{threads} threads");
    }
}

/// Output without its line breaks and indentation.
fn unwrapped(output: &[u8]) -> String {
    String::from_utf8_lossy(output).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Runs of two machines, or of one at two times, as one; and what other programs read.
#[test]
fn runs_are_reported_together_and_exported() {
    let place = Place::new();
    for (run, filter) in [("a", "seed=1"), ("b", "seed=2"), ("c", "optimizer=sgd")] {
        place
            .sharpbench(&format!("suite tiny.toml --data stand-in --out {run} --filter {filter} --quiet"))
            .assert()
            .success();
    }
    place
        .sharpbench("report a b c --format markdown")
        .assert()
        .success()
        .stdout(predicate::str::contains("3 runs together: a (2 records), b (2 records), c (2 records)"))
        .stdout(predicate::str::contains("cells that several runs have, with the same weights: 2 (counted once"));
    let other = TINY.replace("train = 40", "train = 30");
    std::fs::write(place.path("tiny.toml"), other).expect("a suite");
    place.sharpbench("suite tiny.toml --data stand-in --out d --filter seed=1 --quiet").assert().success();
    let refused = error(place.sharpbench("report a d"));
    assert!(refused.contains("only runs of one suite, profile and data set can be reported together"), "{refused}");

    let parquet = place.sharpbench("report a b --format parquet").assert().success().get_output().stdout.clone();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    place.sharpbench("report a b --tensorboard events").assert().success();
    let folders: Vec<_> = std::fs::read_dir(place.path("events")).expect("a folder").collect();
    assert_eq!(folders.len(), 4);
    for folder in folders {
        let file = std::fs::read_dir(folder.expect("a cell").path())
            .expect("a folder")
            .next()
            .expect("a file")
            .expect("a file");
        assert!(file.file_name().to_string_lossy().starts_with("events.out.tfevents."));
    }
}

#[test]
fn a_filter_trains_a_part_and_the_rest_follows() {
    let place = Place::new();
    place
        .sharpbench("suite tiny.toml --data stand-in --out run --filter optimizer=ssam-f,sparsity=.90,seed=2")
        .assert()
        .success()
        .stdout(predicate::str::contains("part of the profile: 1 of its 4 cells were selected"))
        .stdout(predicate::str::contains("nothing to compare with"));
    assert_eq!(place.fingerprints("run").len(), 1);
    assert!(!place.path("run/weights").exists());
    place
        .sharpbench("suite tiny.toml --data stand-in --out run --save-weights")
        .assert()
        .success()
        .stderr(predicate::str::contains("1 of 4 cells already"));
    assert_eq!(place.fingerprints("run").len(), 4);
    assert_eq!(std::fs::read_dir(place.path("run/weights")).expect("weights").count(), 3);
}

/// A default written out is the same cell as the default.
#[test]
fn equal_settings_are_one_cell() {
    let place = Place::new();
    let ids = |place: &Place| {
        let output = place.sharpbench("plan tiny.toml --json").assert().success().get_output().stdout.clone();
        let cells: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
        cells.as_array().expect("cells").iter().map(|c| c["id"].to_string()).collect::<Vec<_>>()
    };
    let written = |place: &Place, model: &str| {
        let suite = TINY.replace("name = \"resnet8\", width = 4", model);
        std::fs::write(place.path("tiny.toml"), suite).expect("a suite");
        ids(place)
    };
    assert_eq!(written(&place, "name = \"resnet8\""), written(&place, "name = \"resnet8\", width = 16"));
    assert_ne!(written(&place, "name = \"resnet8\""), written(&place, "name = \"resnet8\", width = 8"));
}

#[test]
fn an_unfinished_run_is_reported_with_exit_code_3() {
    let place = Place::new();
    place.sharpbench("suite tiny.toml --data stand-in --out run --quiet").assert().success();
    let record = place.a_record("run");
    std::fs::remove_file(record).expect("removed");
    let report = place.sharpbench("report run").assert().code(3);
    let report = report.stderr(predicate::str::contains("incomplete: 3 of 4 cells are finished"));
    let text = unwrapped(&report.get_output().stdout);
    assert!(text.contains("INCOMPLETE: 3 of 4 cells"), "{text}");
}

#[test]
fn a_damaged_record_is_named_kept_aside_and_trained_again() {
    let place = Place::new();
    place.sharpbench("suite tiny.toml --data stand-in --out run --quiet").assert().success();
    let fingerprints = place.fingerprints("run");
    let record = place.a_record("run");
    let text = std::fs::read_to_string(&record).expect("text");
    std::fs::write(&record, &text[..100]).expect("written");
    place.sharpbench("report run").assert().code(3).stderr(predicate::str::contains("is damaged and left out"));
    place
        .sharpbench("suite tiny.toml --data stand-in --out run")
        .assert()
        .success()
        .stderr(predicate::str::contains("and the cell is trained again"));
    assert_eq!(place.fingerprints("run"), fingerprints);
}

/// A suite with one change.
fn refused(from: &str, to: &str) -> String {
    let place = Place::new();
    assert!(TINY.contains(from), "{from}");
    std::fs::write(place.path("tiny.toml"), TINY.replacen(from, to, 1)).expect("a suite");
    error(place.sharpbench("suite tiny.toml --data stand-in"))
}

#[test]
fn a_wrong_suite_is_refused_naming_file_key_value_and_remedy() {
    insta::assert_snapshot!(refused("rho = 0.05", "rho = 0.05\nsparcity = 0.9"), @"error: suite tiny.toml: base: grid[1].sparcity is not a key; use optimizer, epochs_factor, lr, momentum, weight_decay, nesterov, beta2, base, rho, rho_decay, batch_norm, pattern, budget, sparsity, mask, refresh, mask_interval, fisher_samples, fisher_mode, norm, perturbation, group_axis, drop_rate, grow, eta, alpha, sam_interval, beta, gamma, delta, threshold, lambda, sigma, live, shard, from");
    insta::assert_snapshot!(refused("rho = 0.05", "rho = -0.1"), @"error: suite tiny.toml: profile quick: grid[1].rho = -0.1 must be 0 or more");
    insta::assert_snapshot!(refused("rho = 0.05", ""), @"error: suite tiny.toml: profile quick: grid[1].rho is missing for ssam-f; add rho = 0.1");
    insta::assert_snapshot!(refused("sparsity = 0.9", "sparsity = 1.5"), @"error: suite tiny.toml: profile quick: grid[1].sparsity = 1.5 must be from 0 to 1");
    insta::assert_snapshot!(refused("sparsity = 0.9", "sparsity = [0.9, 0.5, 0.9]"), @"error: suite tiny.toml: profile quick: grid[1] repeats a cell of grid[1] (ssam-f sparsity=0.9 mask=fisher fisher_samples=8 rho=0.05 lr=0.05 weight_decay=0.0005 epochs=2 seed=1); remove one of them");
    insta::assert_snapshot!(refused("optimizer = \"sgd\"", "optimizer = \"adam\""), @"error: suite tiny.toml: profile quick: grid[0].optimizer: there is no optimizer adam; use one of sgd, adamw, sam, ssam-f, ssam-d, ssam, asam, gsam, looksam, esam, ae-sam, f-sam, sam-on, sam-layers, m-sam, momentum-sam, s2-sam, late-sam");
    insta::assert_snapshot!(refused("rho = 0.05", "rho = \"far\""), @r#"error: suite tiny.toml: profile quick: grid[1].rho = "far" must be a number"#);
    insta::assert_snapshot!(refused("optimizer = \"sgd\"", "optimizer = \"sgd\"\nrho = 0.1"), @"error: suite tiny.toml: profile quick: grid[0].rho does not apply to sgd, only to sam, ssam-f, ssam-d, ssam, asam, gsam, looksam, esam, ae-sam, f-sam, sam-on, sam-layers, m-sam, momentum-sam, s2-sam, late-sam; remove it");
    let ssam = |keys: &str| refused("optimizer = \"ssam-f\"", &format!("optimizer = \"ssam\"\n{keys}"));
    insta::assert_snapshot!(ssam("refresh = \"dynamic\""), @r#"error: suite tiny.toml: profile quick: grid[1].refresh = "dynamic" drops and grows by the scores of the current batch, and fisher is not a per-batch score; use mask = "gradient", "weight" or "random", or refresh = "interval""#);
    insta::assert_snapshot!(ssam("pattern = \"2:4\""), @r#"error: suite tiny.toml: profile quick: grid[1].sparsity does not apply to pattern = "2:4", which fixes it; give the pattern an entry of its own"#);
    insta::assert_snapshot!(ssam("pattern = \"4:2\""), @r#"error: suite tiny.toml: profile quick: grid[1].pattern: unknown pattern "4:2"; use unstructured, tensor, channel or N:M with N < M <= 64, such as 2:4"#);
    insta::assert_snapshot!(ssam("perturbation = \"implicit\"\nnorm = \"masked\""), @r#"error: suite tiny.toml: profile quick: grid[1].perturbation = "implicit" perturbs all weights, so its norm is the full gradient's; remove norm"#);
    insta::assert_snapshot!(ssam("refresh = \"static\"\nmask_interval = 2"), @r#"error: suite tiny.toml: profile quick: grid[1].mask_interval does not apply to refresh = "static"; remove it"#);
    insta::assert_snapshot!(ssam("mask = \"weight\""), @r#"error: suite tiny.toml: profile quick: grid[1].fisher_samples requires mask = "fisher", which this entry lacks; remove it"#);
    insta::assert_snapshot!(ssam("drop_rate = 0.3"), @r#"error: suite tiny.toml: profile quick: grid[1].drop_rate requires refresh = "dynamic", which this entry lacks; remove it"#);
    insta::assert_snapshot!(refused("optimizer = \"ssam-f\"", "optimizer = \"ssam-f\"\nmask = \"random\""), @r#"error: suite tiny.toml: profile quick: grid[1].mask = "random" cannot be used with ssam-f; use fisher, or optimizer ssam"#);
    insta::assert_snapshot!(refused("optimizer = \"sgd\"", "optimizer = \"m-sam\"\nrho = 0.1\nshard = 3"), @"error: suite tiny.toml: profile quick: grid[0].shard = 3 must divide schedule.batch_size = 10");
    insta::assert_snapshot!(refused("optimizer = \"sgd\"", "optimizer = \"esam\"\nrho = 0.1\nbeta = 0"), @"error: suite tiny.toml: profile quick: grid[0].beta = 0 must be above 0 and at most 1");
    insta::assert_snapshot!(refused("width = 4", "width = 5"), @"error: suite tiny.toml: profile quick: model.width = 5 must be even and from 2 to 1024 (channels are padded on both sides)");
    insta::assert_snapshot!(refused("train = 40", "train = 60000"), @"error: suite tiny.toml: profile quick: data.train = 60000 must be from 1 to 50000, the samples cifar10 has");
    insta::assert_snapshot!(refused("batch_size = 10", "batch_size = 50"), @"error: suite tiny.toml: profile quick: schedule.batch_size = 50 must be from 1 to 40");
    insta::assert_snapshot!(refused("lr = 0.05", "lr = nan"), @"error: suite tiny.toml: profile quick: schedule.lr = NaN must be a number above 0");
    insta::assert_snapshot!(refused("seeds = [1, 2]", "seeds = [1, 1]"), @"error: suite tiny.toml: profile quick: seeds names 1 twice; remove one of them");
    insta::assert_snapshot!(refused("seeds = [1, 2]", "seeds = []"), @"error: suite tiny.toml: profile quick: seeds is missing or empty; give at least one, such as seeds = [1234, 4321, 6789]");
    insta::assert_snapshot!(refused("\"tiny\"", "\"../tiny\""), @r#"error: suite tiny.toml: the name "../tiny" must consist of letters, digits, - and _, at most 64 (it names a folder)"#);
    insta::assert_snapshot!(refused("name = \"cifar10\"", "name = \"cifar11\""), @r#"error: suite tiny.toml: profile quick: data.name = "cifar11" is not known; use one of cifar10, cifar100, mnist, fashion-mnist, shakespeare, imagenet, image-folder, photo-patches, mnist-5k, synthetic, synthetic-text"#);
}

/// What would fill the memory is refused at once: grids of astronomical size, files that are no suite, plan or record.
#[test]
fn what_is_too_large_is_refused() {
    let many = format!("[{}]", (1..200).map(|i| format!("0.{i:03}")).collect::<Vec<_>>().join(", "));
    let grid = format!("rho = {many}\nsparsity = {many}\nweight_decay = {many}\nmomentum = {many}");
    let refused = refused("rho = 0.05\nsparsity = 0.9", &grid);
    assert!(refused.contains("the grid describes more than 100000 cells (1568239202 settings, 2 seeds)"), "{refused}");
    let place = Place::new();
    std::fs::write(place.path("long.toml"), vec![b' '; (1 << 20) + 1]).expect("written");
    let refused = error(place.sharpbench("suite long.toml --data stand-in"));
    assert!(refused.contains("it is longer than 1048576 bytes, the limit for such files"), "{refused}");
}

#[test]
fn wrong_usage_is_refused() {
    let place = Place::new();
    let run = |arguments: &str| error(place.sharpbench(arguments));
    insta::assert_snapshot!(run("suite nope"), @"error: suite nope: there is no such suite; use cifar10, cifar100, controls, convergence, edge-cifar10, edge-mnist, edge-quadratic, edge-shakespeare, fashion-mnist, frontier, imagenet, label-noise, mnist, patterns, shakespeare, sparsity, speed-gate, variants, vit-cifar10 or the path of a .toml file");
    insta::assert_snapshot!(run("suite nope.toml"), @"error: cannot read nope.toml: No such file or directory (os error 2)");
    insta::assert_snapshot!(run("suite cifar10 --profile huge"), @"error: suite suites/cifar10.toml: there is no profile huge; use one of full, he2016, paper, paper-sweep, paper-vgg11, paper-wideresnet, quick, smoke, speed");
    insta::assert_snapshot!(run("suite tiny.toml --data stand-in --filter speed=9"), @"error: there is no axis speed in this plan; use optimizer, sparsity, mask, pattern, group_axis, budget, refresh, mask_interval, fisher_samples, fisher_mode, drop_rate, grow, rho, norm, perturbation, rho_decay, batch_norm, lr, base, beta2, momentum, nesterov, weight_decay, epochs, label_noise, label_smoothing, seed");
    insta::assert_snapshot!(run("suite tiny.toml --data stand-in --quiet --filter sparsity=0.3"), @"error: no cell passes the filter; these axes vary: optimizer: sgd ssam-f; seed: 1 2");
    insta::assert_snapshot!(run("suite tiny.toml --data stand-in --threads 0"), @"error: --threads 0 cannot compute anything; use at least 1");
    insta::assert_snapshot!(run("report tiny"), @"error: run tiny: there is no such folder; give the folder that `sharpbench suite` wrote");
    std::fs::write(place.path("file"), "").expect("written");
    insta::assert_snapshot!(run("suite tiny.toml --data stand-in --quiet --out file/run"), @"error: cannot create file/run: Not a directory (os error 20)");
    insta::assert_snapshot!(run("parity file"), @"error: parity case file: not a safetensors file (header too small)");
}

/// Whatever this program was built for: a device that is not there is named with the remedy, and doctor tells the same.
#[test]
fn a_missing_device_is_named_and_doctor_explains() {
    let place = Place::new();
    let missing = error(place.sharpbench("suite tiny.toml --data stand-in --device cuda:99"));
    assert!(missing.contains("device cuda:99") && missing.contains("--device cpu"), "{missing}");
    let wrong = error(place.sharpbench("suite tiny.toml --device gpu"));
    assert!(wrong.contains("gpu is no device; there are auto, cpu, cuda:N and metal"), "{wrong}");
    let doctor = place.sharpbench("doctor").env("HF_TOKEN", "hf_secret").assert().success();
    let text = String::from_utf8(doctor.get_output().stdout.clone()).expect("text");
    for name in ["program", "installed", "CPU", "threads", "cuda:0", "metal", "auto", "hub cache", "hub token", "Slurm"]
    {
        assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} in {text}");
    }
    assert!(text.contains("installed   built by cargo in a clone ("), "{text}");
    assert!(text.contains("hub token   there is one (only") && !text.contains("hf_secret"), "{text}");
    if !cfg!(feature = "cuda") {
        assert!(text.contains("this program was built without CUDA; build it with --features cuda"), "{text}");
    }
}

#[test]
fn a_run_folder_of_other_data_is_refused() {
    let place = Place::new();
    place.sharpbench("suite tiny.toml --data stand-in --out run --quiet").assert().success();
    std::fs::write(place.path("tiny.toml"), TINY.replace("\"tiny\"", "\"other\"")).expect("a suite");
    insta::assert_snapshot!(error(place.sharpbench("suite tiny.toml --data stand-in --out run --quiet")), @"error: run run: it holds tiny-quick-photo-patches, not other-quick-photo-patches; use another --out, or --fresh to start over");
}

#[test]
fn the_plan_shows_cells_costs_and_measured_times() {
    let place = Place::new();
    insta::assert_snapshot!(String::from_utf8_lossy(&place.sharpbench("plan tiny.toml").assert().success().get_output().stdout), @"
    tiny quick on cifar10: 4 cells
    resnet8 width 4, 40 training and 20 test samples, 2 epochs, batch 10, 2 seeds
    shared settings: lr 0.05; weight_decay 0.0005; epochs 2
    by optimizer, unless the row says otherwise: sparsity 0.9 (ssam-f); mask fisher (ssam-f);
      fisher_samples 8 (ssam-f); rho 0.05 (ssam-f)

    setting  seeds  steps each  GFLOPs  theoretical GFLOPs  time
    sgd          2           8    0.81                0.81     -
    ssam-f       2           8    1.63                1.38     -
    sum          4                2.44                2.20     -

    FLOPs: of all seeds, nominal and theoretical: (5 + (1 - s)) / 3 x SGD per step: pass-1 dW scaled by
      mask density
    no times have been measured yet: run the suite once; every cell: --wide
    ");
    place.sharpbench("suite tiny.toml --data stand-in --quiet --filter seed=1").assert().success();
    let output = place.sharpbench("plan tiny.toml --json").assert().success().get_output().stdout.clone();
    let cells: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
    assert_eq!(cells.as_array().map(Vec::len), Some(4));
    assert!(cells[3]["expected_seconds"].as_f64() > Some(0.0), "{cells}");
    assert!(
        place.fingerprints("reports/tiny-quick-photo-patches").contains_key(cells[0]["id"].as_str().expect("an id"))
    );
    insta::assert_snapshot!(error(place.sharpbench("plan tiny.toml --out mistyped")), @"error: run mistyped: it holds no run (no run.json)");
}

#[test]
fn every_embedded_suite_expands_and_says_what_it_is() {
    let list = unwrapped(&Place::new().sharpbench("list").assert().success().get_output().stdout);
    for name in sharpbench::suite::embedded_names() {
        let suite = sharpbench::suite::Suite::read(&name).expect("a valid suite");
        assert_eq!(suite.file.name, name);
        assert!(!suite.file.description.is_empty() && list.contains(&suite.file.description));
        let profiles = suite.profiles();
        // A suite that times steps is no experiment.
        let needed: &[&str] =
            if name == "speed-gate" { &["smoke", "quick"] } else { &["smoke", "quick", "full", "paper"] };
        assert!(needed.iter().all(|p| profiles.contains(p)), "{name} has {profiles:?}");
        for profile in profiles {
            let data = suite.data(profile).expect("a data set");
            let plan = suite.plan(profile, &data.name).expect("a plan");
            assert!(suite.file.profiles[profile].description.is_some() && !plan.cells.is_empty());
        }
    }
}

/// Keys of data sets, augmentation and profiles that do not fit one another are named with the remedy.
#[test]
fn data_sets_and_profiles_that_do_not_fit_are_explained() {
    let place = Place::new();
    let refused = |changes: &[(&str, &str)]| {
        let suite = changes.iter().fold(TINY.to_string(), |suite, (from, to)| suite.replace(from, to));
        std::fs::write(place.path("other.toml"), suite).expect("a suite");
        error(place.sharpbench("plan other.toml"))
    };
    let data = "name = \"cifar10\", train = 40, test = 20";
    let folder = "name = \"image-folder\", train = 40, test = 20";
    let augment = "augment = { crop = 2, flip = true }";
    insta::assert_snapshot!(refused(&[(data, folder)]), @"error: suite other.toml: profile quick: data.size is missing; image-folder has no value of its own, so add one");
    insta::assert_snapshot!(refused(&[(data, &format!("{folder}, size = 32, classes = 1"))]), @"error: suite other.toml: profile quick: data.classes = 1 must be from 2 to 100000");
    insta::assert_snapshot!(refused(&[(data, &format!("{data}, size = 32"))]), @"error: suite other.toml: profile quick: data.size does not apply to cifar10, which has its own; remove it");
    insta::assert_snapshot!(refused(&[(data, &format!("{data}, unreadable = \"skip\""))]), @"error: suite other.toml: profile quick: data.unreadable applies to imagenet and image-folder, not to cifar10; remove it");
    insta::assert_snapshot!(refused(&[(data, "name = \"image-folder\", size = 32, classes = 2, test = 20")]), @"error: suite other.toml: profile quick: data.train is missing; give the number of samples to use (`data verify DIR` counts the files of image-folder)");
    insta::assert_snapshot!(refused(&[(augment, "augment = { resized_crop = {} }")]), @"error: suite other.toml: profile quick: augment.resized_crop applies to imagenet and image-folder, not to cifar10; remove it");
    let sized = format!("{folder}, size = 32, classes = 3");
    insta::assert_snapshot!(refused(&[(data, &sized), (augment, "augment = { resized_crop = { scale = [0.5, 0.1] } }")]), @"error: suite other.toml: profile quick: augment.resized_crop.scale = [0.5, 0.1] must rise, from above 0 to 1");
    let text = "name = \"shakespeare\", train = 40, test = 20";
    let model = "model = { name = \"resnet8\", width = 4 }";
    let transformer = "model = { name = \"transformer\", width = 16, depth = 1, heads = 2 }";
    insta::assert_snapshot!(refused(&[(data, text)]), @r#"error: suite other.toml: profile quick: model resnet8 reads images, the data are text; use model.name = "transformer""#);
    insta::assert_snapshot!(refused(&[(data, text), (model, transformer)]), @"error: suite other.toml: profile quick: augment does not apply to shakespeare, whose samples are text; remove it");
    insta::assert_snapshot!(refused(&[("[profiles.quick]", "[profiles.quick]\nlike = \"quick\"")]), @r#"error: suite other.toml: profile quick: like = "quick" forms a cycle; remove one like"#);
    insta::assert_snapshot!(refused(&[("[profiles.quick]", "[profiles.quick]\nlike = \"paper\"")]), @"error: suite other.toml: there is no profile paper; use one of quick");
    insta::assert_snapshot!(refused(&[("[base]", "[base]\nlike = \"quick\"")]), @"error: suite other.toml: profile quick: like belongs to a profile, not to base; remove it");
    place
        .sharpbench("suite imagenet --profile smoke")
        .assert()
        .code(2)
        .stderr(predicate::str::contains("give --data DIR, or --data stand-in"));
}

/// A profile that is like another has its settings where it says nothing, and the common ones behind them.
#[test]
fn a_profile_may_be_like_another() {
    let place = Place::new();
    let more = "\n[profiles.long]\nlike = \"mid\"\nschedule = { epochs = 7 }\n\n[profiles.mid]\nseeds = [5]\n\
                schedule = { epochs = 3, lr = 0.5 }\n";
    std::fs::write(place.path("like.toml"), TINY.to_string() + more).expect("a suite");
    let suite = sharpbench::suite::Suite::read(&place.path("like.toml").display().to_string()).expect("a suite");
    let cells = suite.plan("long", "cifar10").expect("a plan").cells;
    assert_eq!(cells.len(), 2);
    assert!(cells.iter().all(|c| (c.seed, c.epochs, c.lr, c.batch_size) == (5, 7, 0.5, 10)));
}

/// The suite that `new` writes does what its comments say, and replaces no file.
#[test]
fn a_new_suite_validates_trains_and_tunes() {
    let place = Place::new();
    insta::assert_snapshot!(String::from_utf8_lossy(&place.sharpbench("new mine").assert().success().get_output().stdout), @"
    wrote mine.toml, and suite.schema.json beside it
      sharpbench plan mine.toml                   what it trains, and at what cost
      sharpbench suite mine.toml --profile smoke  every row, in seconds
      sharpbench suite mine.toml                  the comparison, in about a minute
    ");
    assert_eq!(
        std::fs::read_to_string(place.path("suite.schema.json")).expect("a schema"),
        include_str!("../../suites/suite.schema.json")
    );
    let plan = place.sharpbench("plan mine.toml").assert().success();
    plan.stdout(predicate::str::contains(
        "mine quick on mnist-5k: 15 cells\nmlp, 4000 training and 1000 test samples, 20 epochs, batch 64, 3 seeds",
    ));
    let smoke = place.sharpbench("suite mine.toml --profile smoke --offline --quiet").assert().success();
    smoke.stdout(predicate::str::contains("mine smoke on mnist-5k with 40% symmetric label noise"));
    // As its comments say.
    let mut tuned = place.sharpbench("tune mine.toml --profile smoke --offline --quiet --trials 2 --range lr=0.05");
    tuned.assert().success();
    assert!(place.path("mine-tuned.toml").is_file());
    insta::assert_snapshot!(error(place.sharpbench("new mine")), @"error: mine.toml exists; choose another name, or remove it");
    insta::assert_snapshot!(error(place.sharpbench("new ../mine")), @r#"error: the name "../mine" must consist of letters, digits, - and _, at most 64 (it names a folder)"#);
    insta::assert_snapshot!(error(place.sharpbench("new cifar10")), @"error: cifar10 is a suite of this program; choose another name");
    insta::assert_snapshot!(error(place.sharpbench("new -- -mine")), @"error: the name -mine would be an option on the command line; begin it with a letter");
    // Each setting that a comment suggests is one.
    let suite = std::fs::read_to_string(place.path("mine.toml")).expect("a suite");
    let suggested = suite.lines().filter_map(|line| line.strip_prefix("#     ")).filter(|line| line.contains(" = "));
    let suggested: Vec<&str> = suggested.collect();
    assert_eq!(suggested.len(), 2, "{suggested:?}");
    for line in suggested {
        let key = line.split(" = ").next().expect("a key");
        let others = suite.lines().filter(|other| !other.starts_with(&format!("{key} = ")));
        let other: Vec<&str> = others.collect();
        std::fs::write(place.path("other.toml"), other.join("\n").replace("[base]", &format!("[base]\n{line}")))
            .expect("written");
        place.sharpbench("plan other.toml --profile quick").assert().success();
    }
    std::fs::remove_file(place.path("other.toml")).expect("removed");
    std::fs::write(place.path("suite.schema.json"), "{}").expect("written");
    insta::assert_snapshot!(error(place.sharpbench("new other")), @"error: suite.schema.json exists and is no schema of suites; rename it, or use --folder");
    place
        .sharpbench("new other --folder bench/suites")
        .assert()
        .success()
        .stdout(predicate::str::contains("wrote bench/suites/other.toml"));
}

/// Every command has a man page, and its options are in it.
#[test]
fn man_pages_are_of_every_command() {
    let place = Place::new();
    place.sharpbench("man pages").assert().success();
    let page = |name: &str| std::fs::read_to_string(place.path(&format!("pages/{name}.1"))).expect("a page");
    let help = place.sharpbench("help").assert().success().get_output().stdout.clone();
    let help = String::from_utf8(help).expect("text");
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands = listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let commands: Vec<&str> = commands.filter(|command| *command != "help").collect();
    assert!(commands.len() >= 18, "{help}");
    for command in commands {
        assert!(page(&format!("sharpbench-{command}")).starts_with(".ie"), "{command}");
    }
    assert!(
        page("sharpbench-data-fetch").contains("data\\-fetch") && page("sharpbench").contains("sharpbench\\-suite")
    );
    assert!(page("sharpbench-report").contains("push\\-to\\-hub"), "{}", page("sharpbench-report"));
    // What only the program itself calls has none.
    assert!(!place.path("pages/sharpbench-work.1").exists());
}

/// suites/suite.schema.json is what `sharpbench schema` prints.
#[test]
fn the_committed_schema_is_current() {
    let committed = include_str!("../../suites/suite.schema.json");
    Place::new().sharpbench("schema").assert().success().stdout(committed);
}

#[test]
fn parity_exits_with_1_above_the_tolerance() {
    let place = Place::new();
    let case = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/cases/mlp-sam.safetensors");
    place
        .sharpbench(&format!("parity {case}"))
        .assert()
        .success()
        .stdout(predicate::str::contains("agrees with PyTorch"));
    let mut bytes = std::fs::read(case).expect("the case");
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..header]).expect("a header");
    let start = header + json["expected.fc2.weight"]["data_offsets"][0].as_u64().expect("an offset") as usize;
    bytes[start..start + 4].copy_from_slice(&9f32.to_le_bytes());
    std::fs::write(place.path("wrong.safetensors"), bytes).expect("written");
    place
        .sharpbench("parity wrong.safetensors")
        .assert()
        .code(1)
        .stdout(predicate::str::contains("DISAGREES").and(predicate::str::contains("fc2.weight")));
}

#[test]
fn a_bench_shows_how_the_time_of_a_step_grows() {
    let place = Place::new();
    let run = "bench --scaling --model mlp --hidden 8 --input 1x8x8 --steps 2 --warmup 0 --threads 2";
    let shown = place.sharpbench(&format!("{run} --json --figures pictures")).assert().success();
    let sweeps: Vec<serde_json::Value> = serde_json::from_slice(&shown.get_output().stdout).expect("JSON");
    // An MLP has no width to vary.
    assert_eq!(sweeps.iter().map(|sweep| &sweep["varied"]).collect::<Vec<_>>(), ["threads", "batch_size"]);
    let values = |sweep: &serde_json::Value, key: &str| -> Vec<u64> {
        sweep["points"].as_array().expect("points").iter().map(|p| p[key].as_u64().expect("a number")).collect()
    };
    assert_eq!(values(&sweeps[0], "threads"), values(&sweeps[0], "value"));
    assert_eq!(values(&sweeps[1], "batch_size"), [16, 32, 64, 128, 256, 512]);
    assert_eq!(values(&sweeps[1], "steps"), [2; 6]);
    assert!(std::fs::read_to_string(place.path("pictures/scaling.svg")).expect("SVG").contains("ms per step"));
    let table = place.sharpbench(run).assert().success();
    let table = String::from_utf8(table.get_output().stdout.clone()).expect("text");
    for column in ["threads", "batch size", "of peak", "of best"] {
        assert!(table.contains(column), "{table}");
    }
    place.sharpbench("bench --figures pictures").assert().code(2).stderr(predicate::str::contains("--scaling"));
}

#[test]
fn bench_measures_a_step_and_its_parts() {
    let place = Place::new();
    let run = "bench --model resnet8 --width 4 --input 3x16x16 --batch-size 8 --steps 3 --warmup 1 --optimizer ssam-f";
    let output = place.sharpbench(&format!("{run} --json")).assert().success().get_output().stdout.clone();
    let json: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
    assert_eq!((&json["steps"], &json["step_seconds"]["n"], &json["input"]), (&3.into(), &3.into(), &"3x16x16".into()));
    let median = |part: &str| json["parts"][part]["median"].as_f64().expect("a part");
    let parts: f64 = ["pass1", "perturb", "pass2", "update"].into_iter().map(median).sum();
    let step = json["step_seconds"]["max"].as_f64().expect("a time");
    assert!(parts > 0.0 && parts <= 2.0 * step, "{json}");
    assert!(json["flops_executed"].as_f64() > Some(1e6) && json["gemm_peak_gflops_per_second"].as_f64() > Some(0.1));
    place.sharpbench(run).assert().success().stdout(predicate::str::contains("matrix-product peak"));
    let ratio = format!("{run} --against sgd,momentum=0").replace("ssam-f", "sam-layers,live=fc");
    place
        .sharpbench(&ratio)
        .assert()
        .success()
        .stdout(predicate::str::contains("sam-layers over sgd: step").and(predicate::str::contains("executed FLOPs")));
    let large = "bench --model mlp --hidden 8 --input 3x4096x4096 --batch-size 128 --steps 1";
    insta::assert_snapshot!(error(place.sharpbench(large)), @"error: 128 samples of 50331648 bytes exceed 4000000000 bytes; make the input or the batch smaller");
    let alone = large.replace("--batch-size 128", "--batch-size 1");
    place.sharpbench(&alone).assert().code(2).stderr(predicate::str::contains("128 samples of 50331648 bytes exceed"));
    // Steps beyond the different batches.
    let long = "bench --model mlp --hidden 8 --input 1x8x8 --batch-size 4 --steps 40 --warmup 3 --json";
    let output = place.sharpbench(long).assert().success().get_output().stdout.clone();
    let json: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
    assert_eq!((&json["steps"], &json["step_seconds"]["n"]), (&40.into(), &40.into()));
    insta::assert_snapshot!(error(place.sharpbench("bench --optimizer sam,sparsity=0.5")), @"error: --optimizer sam,sparsity=0.5: sparsity does not apply to sam, only to ssam-f, ssam-d, ssam; remove it");
    insta::assert_snapshot!(error(place.sharpbench("bench --optimizer sam,colour=red")), @"error: --optimizer sam,colour=red: colour is not a key; use optimizer, epochs_factor, lr, momentum, weight_decay, nesterov, beta2, base, rho, rho_decay, batch_norm, pattern, budget, sparsity, mask, refresh, mask_interval, fisher_samples, fisher_mode, norm, perturbation, group_axis, drop_rate, grow, eta, alpha, sam_interval, beta, gamma, delta, threshold, lambda, sigma, live, shard, from");
    insta::assert_snapshot!(error(place.sharpbench("bench --optimizer sam-layers,live=nothing")), @r#"error: --optimizer sam-layers,live=nothing: live names "nothing", but no parameter starts with it; the parameters are bn1.bias, bn1.weight, conv1.weight, fc.bias, fc.weight, layer1.0.bn1.bias, layer1.0.bn1.weight, layer1.0.bn2.bias, layer1.0.bn2.weight, layer1.0.conv1.weight, layer1.0.conv2.weight, layer1.1.bn1.bias, layer1.1.bn1.weight, layer1.1.bn2.bias, layer1.1.bn2.weight, layer1.1.conv1.weight, layer1.1.conv2.weight, layer1.2.bn1.bias, layer1.2.bn1.weight, layer1.2.bn2.bias, layer1.2.bn2.weight, layer1.2.conv1.weight, layer1.2.conv2.weight, layer2.0.bn1.bias, layer2.0.bn1.weight, layer2.0.bn2.bias, layer2.0.bn2.weight, layer2.0.conv1.weight, layer2.0.conv2.weight, layer2.1.bn1.bias, layer2.1.bn1.weight, layer2.1.bn2.bias, layer2.1.bn2.weight, layer2.1.conv1.weight, layer2.1.conv2.weight, layer2.2.bn1.bias, layer2.2.bn1.weight, layer2.2.bn2.bias, layer2.2.bn2.weight, layer2.2.conv1.weight, layer2.2.conv2.weight, layer3.0.bn1.bias, layer3.0.bn1.weight, layer3.0.bn2.bias, layer3.0.bn2.weight, layer3.0.conv1.weight, layer3.0.conv2.weight, layer3.1.bn1.bias, layer3.1.bn1.weight, layer3.1.bn2.bias, layer3.1.bn2.weight, layer3.1.conv1.weight, layer3.1.conv2.weight, layer3.2.bn1.bias, layer3.2.bn1.weight, layer3.2.bn2.bias, layer3.2.bn2.weight, layer3.2.conv1.weight, layer3.2.conv2.weight"#);
    insta::assert_snapshot!(error(place.sharpbench("bench --input 32x32")), @"
    error: invalid value '32x32' for '--input <CxHxW|64>': 32x32 is not of the form CxHxW with 1 to 3 channels, such as 3x32x32, nor 64

    For more information, try '--help'.
    ");
}

/// Cells keep their ids, so that kept runs stay readable: each reference run is complete by its own plan.
#[test]
fn reference_runs_are_still_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/reference");
    let runs: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder")
        .filter_map(|entry| Some(entry.ok()?.path()).filter(|path| path.join("run.json").is_file()))
        .collect();
    assert!(runs.len() >= 2);
    for run in runs {
        Place::new()
            .sharpbench(&format!("report {}", run.display()))
            .assert()
            .success()
            .stdout(predicate::str::contains("INCOMPLETE").not());
    }
}
