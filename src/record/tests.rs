//! Tests of the guarantees of a run folder.

use std::collections::BTreeMap;

use super::{CellState, GradientNorm, MaskRefresh, Published, Record, RunFolder, RunLock, RunManifest, SCHEMA};
use crate::suite::{Cell, Suite};

fn cells() -> Vec<Cell> {
    Suite::read("cifar10").and_then(|s| s.plan("smoke", "photo-patches")).expect("the embedded suite").cells
}

/// Plan of a smoke run with these cells.
pub(crate) fn manifest(cells: &[Cell]) -> RunManifest {
    RunManifest {
        schema: SCHEMA,
        suite: "cifar10".into(),
        profile: "smoke".into(),
        data: "photo-patches".into(),
        stand_in: true,
        data_sha256: "sha".into(),
        suite_hash: "hash".into(),
        profile_cells: Some(18),
        claims: None,
        looks: None,
        cells: cells.to_vec(),
    }
}

/// A record with these weights.
pub(crate) fn record(cell: &Cell, fingerprint: &str) -> Record {
    let json = serde_json::json!({
        "schema": SCHEMA, "id": cell.id(), "suite": "cifar10", "profile": "smoke", "suite_hash": "hash", "cell": cell,
        "status": "completed",
        "measures": {
            "test_accuracy_last": 0.5, "test_accuracy_best": 0.5, "best_epoch": 0, "epochs": [], "steps": 1,
            "parameters": 1, "train_seconds": 1.0, "mask_seconds": 0.0, "step_seconds": null,
            "peak_memory_bytes": null, "flops_nominal": 1.0, "flops_theoretical": 1.0,
            "flops_theoretical_formula": "", "flops_executed": null, "mask_refreshes": [], "fingerprint": fingerprint,
        },
        "stand_in": true,
        "data": {"name": "photo-patches", "source": "embedded", "revision": null, "files": [], "sha256": "sha"},
        "provenance": {
            "sharpbench": "0", "git_revision": null, "crates": {}, "threads": 1, "finished_unix": 0,
            "machine": {"cpu": "", "features": [], "cpus": 1, "platform": ""},
        },
    });
    serde_json::from_value(json).expect("a record")
}

/// Path of the folder's only record.
fn only_record(folder: &RunFolder) -> std::path::PathBuf {
    let mut entries = std::fs::read_dir(folder.path().join("cells")).expect("a folder");
    entries.next().expect("a record").expect("an entry").path()
}

struct Fixture {
    _temporary: tempfile::TempDir,
    lock: RunLock,
    folder: RunFolder,
    cells: Vec<Cell>,
}

fn fixture() -> Fixture {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = RunFolder::at(temporary.path().join("run"));
    let cells = cells();
    let lock = folder.claim(false).expect("an empty folder can be claimed");
    folder.open(&manifest(&cells), &cells).expect("an empty folder opens");
    Fixture { _temporary: temporary, lock, folder, cells }
}

#[test]
fn the_first_writer_wins_and_nothing_temporary_stays() {
    let Fixture { folder, cells, .. } = &fixture();
    assert_eq!(folder.state(&cells[0], "sha").expect("a state"), CellState::Open);
    assert_eq!(folder.publish(&record(&cells[0], "first")).expect("published"), Published::First);
    assert_eq!(folder.publish(&record(&cells[0], "second")).expect("no error"), Published::AlreadyThere);
    let scan = folder.scan().expect("a scan");
    assert_eq!(scan.records.len(), 1);
    assert_eq!(scan.records[0].measures.fingerprint, "first");
    assert_eq!(std::fs::read_dir(folder.path().join("cells")).expect("a folder").count(), 1);
}

#[test]
fn a_damaged_record_is_named_and_can_be_set_aside() {
    let Fixture { folder, cells, .. } = &fixture();
    folder.publish(&record(&cells[0], "good")).expect("published");
    let path = only_record(folder);
    let text = std::fs::read_to_string(&path).expect("text");
    for broken in [text[..text.len() / 2].to_string(), text.replace("\"seed\": 1234", "\"seed\": 7"), String::new()] {
        std::fs::write(&path, broken).expect("written");
        let scan = folder.scan().expect("a scan");
        assert!(scan.records.is_empty() && scan.damaged.len() == 1);
        assert!(matches!(folder.state(&cells[0], "sha").expect("a state"), CellState::Damaged(_)));
    }
    folder.set_aside(&cells[0]).expect("renamed");
    assert!(folder.scan().expect("a scan").damaged.is_empty());
    assert_eq!(folder.publish(&record(&cells[0], "again")).expect("published"), Published::First);
}

#[test]
fn a_cell_is_locked_by_one_holder_at_a_time() {
    let Fixture { folder, cells, .. } = &fixture();
    let lock = folder.lock(&cells[0]).expect("no error");
    assert!(lock.is_some());
    assert!(folder.lock(&cells[0]).expect("no error").is_none());
    assert!(folder.lock(&cells[1]).expect("no error").is_some());
    drop(lock);
    assert!(folder.lock(&cells[0]).expect("no error").is_some());
}

#[test]
fn a_folder_keeps_to_one_run() {
    let Fixture { folder, cells, .. } = &fixture();
    let open = |plan: &RunManifest, selected: &[Cell]| folder.open(plan, selected);
    let error = |changed: RunManifest| open(&changed, cells).expect_err("refused").to_string();
    let other_data = RunManifest { data: "cifar10".into(), ..manifest(cells) };
    assert!(error(other_data).contains("it holds cifar10-smoke-photo-patches, not cifar10-smoke-cifar10"));
    let other_images = RunManifest { data_sha256: "another".into(), ..manifest(cells) };
    assert!(error(other_images).contains("made with other photo-patches images"));
    // A filtered run changes neither the plan nor its order, since reports compare with the plan's
    // first SGD cell.
    open(&manifest(cells), &cells[3..5]).expect("opens");
    assert_eq!(folder.manifest().expect("readable").expect("there").cells, *cells);
    // An edited suite replaces the plan.
    let edited = RunManifest { suite_hash: "edited".into(), ..manifest(&cells[..4]) };
    open(&edited, &cells[1..3]).expect("opens");
    assert_eq!(folder.manifest().expect("readable").expect("there").cells, cells[1..3]);
    let longer = Cell { data: crate::data::DataSpec { train: 300, ..cells[0].data.clone() }, ..cells[0].clone() };
    let longer = [longer];
    let more_images =
        RunManifest { data_sha256: "more".into(), suite_hash: "edited again".into(), ..manifest(&longer) };
    let error = open(&more_images, &longer).expect_err("refused").to_string();
    assert!(error.contains("no cell in common"), "{error}");
}

#[test]
fn a_record_of_other_images_is_not_taken() {
    let Fixture { folder, cells, .. } = &fixture();
    folder.publish(&record(&cells[0], "good")).expect("published");
    assert_eq!(folder.state(&cells[0], "sha").expect("a state"), CellState::Finished);
    let CellState::Damaged(reason) = folder.state(&cells[0], "another").expect("a state") else {
        panic!("taken for finished")
    };
    assert!(reason.contains("made with other images"), "{reason}");
    let aside = [folder.set_aside(&cells[0]).expect("renamed"), {
        folder.publish(&record(&cells[0], "again")).expect("published");
        folder.set_aside(&cells[0]).expect("renamed")
    }];
    assert!(aside[0] != aside[1] && aside.iter().all(|p| p.exists()), "an older one was overwritten: {aside:?}");
}

#[test]
fn fresh_removes_the_run_and_nothing_else() {
    let Fixture { _temporary: _kept, folder, cells, lock } = fixture();
    folder.publish(&record(&cells[0], "old")).expect("published");
    std::fs::write(folder.path().join("cells/notes.txt"), "mine").expect("written");
    let error = folder.claim(true).err().expect("refused while a process works on it").to_string();
    assert!(error.contains("another process is using it"), "{error}");
    drop(lock);
    drop(folder.claim(true).expect("cleared"));
    assert!(folder.manifest().expect("readable").is_none());
    assert_eq!(folder.state(&cells[0], "sha").expect("a state"), CellState::Open);
    assert!(folder.path().join("cells/notes.txt").exists());
    drop(folder.claim(true).expect("an empty folder may be cleared again, as after a kill before run.json"));
    std::fs::write(folder.path().join("cells/theirs.json"), "{}").expect("written");
    let error = folder.claim(true).err().expect("refused without run.json").to_string();
    assert!(error.contains("it holds no run.json"), "{error}");
}

#[test]
fn a_folder_with_other_things_is_not_made_a_run() {
    let temporary = tempfile::tempdir().expect("a folder");
    std::fs::write(temporary.path().join("thesis.tex"), "").expect("written");
    let error = RunFolder::at(temporary.path()).claim(false).err().expect("refused").to_string();
    assert!(error.contains("it holds thesis.tex and no run.json"), "{error}");
    assert_eq!(std::fs::read_dir(temporary.path()).expect("a folder").count(), 1, "nothing was put into it");
}

#[test]
fn a_copied_record_is_not_counted_twice() {
    let Fixture { folder, cells, .. } = &fixture();
    folder.publish(&record(&cells[0], "good")).expect("published");
    let cells_folder = folder.path().join("cells");
    let path = only_record(folder);
    std::fs::copy(&path, cells_folder.join("copy.json")).expect("copied");
    let scan = folder.scan().expect("a scan");
    assert_eq!((scan.records.len(), scan.damaged.len()), (1, 1));
    assert!(scan.damaged[0].1.contains("it is a copy"), "{:?}", scan.damaged);
}

#[cfg(unix)]
#[test]
fn records_can_be_read_by_whom_the_umask_lets() {
    use std::os::unix::fs::PermissionsExt;
    let Fixture { folder, cells, .. } = &fixture();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "").expect("written");
    folder.publish(&record(&cells[0], "good")).expect("published");
    let path = only_record(folder);
    let mode = |p: &std::path::Path| std::fs::metadata(p).expect("metadata").permissions().mode();
    assert_eq!(mode(&path), mode(&plain));
}

/// Files of an older or newer program must be reported as such, with the remedy, and not be read as
/// this program's.
#[test]
fn other_schemas_are_refused_with_the_remedy() {
    let Fixture { folder, cells, .. } = &fixture();
    folder.publish(&record(&cells[0], "good")).expect("published");
    let path = only_record(folder);
    let text = std::fs::read_to_string(&path).expect("a record");
    let reason = |schema: u32| {
        let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        json["schema"] = schema.into();
        json["a key of another time"] = 1.into();
        std::fs::write(&path, json.to_string()).expect("written");
        let scan = folder.scan().expect("a scan");
        assert_eq!((scan.records.len(), scan.damaged.len()), (0, 1));
        scan.damaged[0].1.clone()
    };
    insta::assert_snapshot!(reason(0), @"it has schema 0, older than this program's 1: read it with the version that wrote it (sharpbench 0), or retrain");
    insta::assert_snapshot!(reason(SCHEMA + 1), @"it has schema 2, newer than this program's 1: update sharpbench to the version that wrote it (sharpbench 0)");
    let manifest = folder.path().join("run.json");
    let text = std::fs::read_to_string(&manifest).expect("a plan").replacen(
        &format!("\"schema\": {SCHEMA}"),
        "\"schema\": 0",
        1,
    );
    std::fs::write(&manifest, text).expect("written");
    let error = folder.manifest().expect_err("refused").to_string();
    assert!(error.contains("it has schema 0, older than this program's 1"), "{error}");
}

/// A plan from an untrusted source must not name a file outside the run folder.
#[test]
fn names_that_lead_elsewhere_are_refused() {
    let Fixture { folder, .. } = &fixture();
    let path = folder.path().join("run.json");
    let text = std::fs::read_to_string(&path).expect("a plan");
    for evil in ["../../x", "/etc/x", "a\\\\b", ""] {
        std::fs::write(&path, text.replace("\"name\": \"photo-patches\"", &format!("\"name\": \"{evil}\"")))
            .expect("written");
        let error = folder.manifest().expect_err("refused").to_string();
        assert!(error.contains("does not consist of letters, digits"), "{error}");
    }
}

/// Texts of a record are printed, so untrusted ones must not contain terminal control characters.
#[test]
fn words_that_steer_a_terminal_are_refused() {
    let mut record = record(&cells()[0], "good");
    assert!(Record::parse(&serde_json::to_vec(&record).expect("JSON")).is_ok());
    record.provenance.machine.cpu = "\u{1b}[2J".into();
    let error = Record::parse(&serde_json::to_vec(&record).expect("JSON")).expect_err("refused");
    assert_eq!(error, "its text contains a control character");
}

/// Numbers of an untrusted record or plan are such as a training can have: others would overflow in a report.
#[test]
fn numbers_beyond_any_training_are_refused() {
    let refused = |change: fn(&mut Record)| {
        let mut record = record(&cells()[0], "good");
        change(&mut record);
        record.id = record.cell.id();
        Record::parse(&serde_json::to_vec(&record).expect("JSON")).expect_err("refused")
    };
    let contains = |change: fn(&mut Record), what: &str| {
        let error = refused(change);
        assert!(error.contains(what), "{error}");
    };
    contains(|r| r.measures.train_seconds = 1e30, "a time of 1000000000000000000000000000000 seconds");
    contains(|r| r.cell.data.size = Some(10_000_000_000), "data.size = 10000000000, which must be from 2 to 1024");
    contains(|r| r.cell.full_batch_steps = Some(usize::MAX), "which no suite has");
    contains(|r| r.cell.warmup_epochs = usize::MAX, "which no suite has");
    contains(|r| r.cell.batch_size = usize::MAX, "which no suite has");
    contains(|r| r.cell.model.name = "mlp\u{1b}[2J".into(), "does not consist of letters");
    let refresh = |epoch| MaskRefresh {
        epoch,
        live_fraction: 0.5,
        live_by_tensor: BTreeMap::new(),
        overlap: None,
        fisher_share: None,
    };
    let mut record = record(&cells()[0], "good");
    record.measures.mask_refreshes = vec![refresh(record.cell.epochs - 1)];
    assert!(Record::parse(&serde_json::to_vec(&record).expect("JSON")).is_ok());
    record.measures.mask_refreshes = vec![refresh(usize::MAX)];
    let error = Record::parse(&serde_json::to_vec(&record).expect("JSON")).expect_err("refused");
    assert!(error.contains("it measured something in epoch 18446744073709551615"), "{error}");
    record.measures.mask_refreshes.clear();
    record.measures.gradient_norms = vec![GradientNorm { step: u64::MAX, squared: 1.0 }];
    let error = Record::parse(&serde_json::to_vec(&record).expect("JSON")).expect_err("refused");
    assert!(error.contains("it measured something before step 18446744073709551615"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_link_to_elsewhere_is_no_part_of_a_run() {
    let elsewhere = tempfile::tempdir().expect("a folder");
    std::fs::write(elsewhere.path().join("mine.json"), "{}").expect("written");
    let Fixture { folder, lock, _temporary, .. } = fixture();
    drop(lock);
    std::fs::remove_dir(folder.path().join("cells")).expect("removed");
    std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("cells")).expect("linked");
    let error = folder.claim(true).err().expect("refused").to_string();
    assert!(error.contains("its folder cells is a symbolic link"), "{error}");
    assert!(elsewhere.path().join("mine.json").exists());
}
