//! Suites, runs and data of strangers: nothing is written outside the run folder, nothing is waited for, memory is bounded.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use predicates::prelude::*;

use crate::support::{Place, TINY, error, write_columns, write_parquet};

const RUN: &str = "suite tiny.toml --data stand-in --out run --quiet";

/// A file that has a length and takes no place on the disk.
fn sparse(path: &Path, bytes: u64) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    File::create(path).and_then(|file| file.set_len(bytes)).expect("a file");
}

/// Every file below a folder with its bytes; links as where they lead.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_symlink() {
            let target = std::fs::read_link(&path).expect("a link");
            all.insert(path, target.into_os_string().into_encoded_bytes());
        } else if path.is_dir() {
            all.extend(tree(&path));
        } else {
            let bytes = std::fs::read(&path).expect("a file");
            all.insert(path, bytes);
        }
    }
    all
}

/// Suites and profiles name folders; their names lead nowhere else.
#[test]
fn names_of_a_suite_lead_nowhere_else() {
    for evil in ["../out", "/tmp/out", "a/b", "..", ".", "", "a\\\\b", "a\\u0000b", "\\u001b[2J", "~"] {
        for (from, to) in [
            ("\"tiny\"", format!("\"{evil}\"")),
            ("[profiles.quick]", format!("[profiles.quick]\n[profiles.\"{evil}\"]")),
        ] {
            let place = Place::new();
            std::fs::write(place.path("tiny.toml"), TINY.replacen(from, &to, 1)).expect("a suite");
            let before = tree(&place.path(""));
            let message = error(place.sharpbench("suite tiny.toml --data stand-in --quiet"));
            assert!(message.contains("must consist of letters, digits, - and _"), "{message}");
            assert!(!message.contains('\u{1b}'), "{message}");
            assert_eq!(tree(&place.path("")), before, "something was written");
        }
    }
}

/// A record says what it is of, and that becomes no path: what does not fit its own name is no record.
#[test]
fn names_of_a_record_lead_nowhere_else() {
    let place = Place::new();
    place.sharpbench(&format!("{RUN} --filter seed=1")).assert().success();
    let path = place.a_record("run");
    let plan = place.path("run/run.json");
    let [record, manifest] = [&path, &plan].map(|path| {
        let text = std::fs::read_to_string(path).expect("a file");
        let mut json = serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
        json.as_object_mut().expect("an object").remove("digest");
        json
    });
    for part in ["data", "optimizer"] {
        let reason = || predicate::str::contains("does not consist of letters, digits, - and _");
        let mut elsewhere = record.clone();
        elsewhere["cell"][part]["name"] = "../../elsewhere".into();
        std::fs::write(&path, elsewhere.to_string()).expect("written");
        place.sharpbench("report run").assert().code(3).stderr(reason());
        let mut elsewhere = manifest.clone();
        elsewhere["cells"][0][part]["name"] = "../../elsewhere".into();
        std::fs::write(&plan, elsewhere.to_string()).expect("written");
        place.sharpbench("report run").assert().code(2).stderr(reason());
        std::fs::write(&plan, manifest.to_string()).expect("written");
    }
    place.sharpbench(RUN).assert().success();
    assert_eq!(place.fingerprints("run").len(), 4);
    let top: Vec<_> =
        std::fs::read_dir(place.path("")).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
    assert!(top.iter().all(|name| ["run", "tiny.toml", "hf"].iter().any(|known| name == known)), "{top:?}");
}

/// Whatever file of a run is a link: what it leads to is not written, and made if it is not there.
#[test]
fn no_file_is_written_through_a_link() {
    let place = Place::new();
    place.keep_every_epoch(2);
    place.sharpbench(&format!("{RUN} --save-weights")).assert().success();
    std::fs::create_dir_all(place.path("elsewhere")).expect("a folder");
    std::fs::write(place.path("elsewhere/there"), "mine").expect("written");
    let own = tree(&place.path("run"))
        .into_keys()
        .map(|path| path.strip_prefix(place.path("")).expect("below").to_path_buf());
    let own: Vec<PathBuf> = own.collect();
    assert!(own.len() > 15, "{own:?}");
    for file in &own {
        for target in ["there", "new"] {
            let place_of = place.path("").join(file);
            let original = std::fs::read(&place_of).expect("a file");
            std::fs::remove_file(&place_of).expect("removed");
            symlink(place.path("elsewhere").join(target), &place_of).expect("linked");
            let output = place.sharpbench(&format!("{RUN} --save-weights")).output().expect("ended");
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(matches!(output.status.code(), Some(0 | 2)), "{}: {stderr}", file.display());
            let elsewhere: Vec<Vec<u8>> = tree(&place.path("elsewhere")).into_values().collect();
            assert_eq!(elsewhere, [b"mine".to_vec()], "written through {}", file.display());
            std::fs::remove_file(&place_of).ok();
            std::fs::write(&place_of, original).expect("put back");
        }
    }
    // What a report is asked to write is written in place of a link, and not into a folder that is one.
    place.sharpbench("report run --tensorboard events").assert().success();
    let event = tree(&place.path("events")).into_keys().next().expect("an event file");
    std::fs::remove_file(&event).expect("removed");
    symlink(place.path("elsewhere/there"), &event).expect("linked");
    place.sharpbench("report run --tensorboard events").assert().success();
    assert!(event.is_file() && !event.is_symlink());
    let folder = event.parent().expect("a folder");
    std::fs::remove_dir_all(folder).expect("removed");
    symlink(place.path("elsewhere"), folder).expect("linked");
    place
        .sharpbench("report run --tensorboard events")
        .assert()
        .code(2)
        .stderr(predicate::str::contains("it is a symbolic link"));
    assert_eq!(tree(&place.path("elsewhere")).len(), 1);
}

/// Pipes among the files of a run are refused: nobody would ever write to them.
#[test]
fn nothing_waits_for_a_pipe() {
    let place = Place::new();
    place.sharpbench(&format!("{RUN} --filter seed=1")).assert().success();
    let pipe = |path: &Path| {
        std::fs::remove_file(path).ok();
        assert!(std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
    };
    let limit = Duration::from_secs(60);
    let record = place.a_record("run");
    pipe(&record);
    let mut report = place.sharpbench("report run");
    report
        .timeout(limit)
        .assert()
        .code(3)
        .stderr(predicate::str::contains("damaged and left out (it is not a regular file)"));
    let kept = place.path("run/checkpoints").join(record.with_extension("safetensors").file_name().expect("a name"));
    std::fs::create_dir_all(kept.parent().expect("a folder")).expect("a folder");
    pipe(&kept);
    let mut run = place.sharpbench(&format!("{RUN} --filter seed=1"));
    run.timeout(limit).assert().success().stderr(
        predicate::str::contains("is damaged (it is not a regular file)")
            .and(predicate::str::contains("restarts: it is not a regular file")),
    );
    pipe(&place.path("run/run.json"));
    let mut report = place.sharpbench("report run");
    report.timeout(limit).assert().code(2).stderr(predicate::str::contains("run.json: it is not a regular file"));
}

/// What is longer than makes sense is not read (docs/security.md names the limits).
#[test]
fn files_that_are_too_long_are_refused() {
    const GIB: u64 = 1 << 30;
    let place = Place::new();
    place.sharpbench(&format!("{RUN} --filter seed=1")).assert().success();
    let refused = |arguments: &str| error(place.sharpbench(arguments));

    sparse(&place.path("case.safetensors"), 2 * GIB);
    let message = refused("parity case.safetensors");
    assert!(message.contains("case.safetensors: it is longer than 1073741824 bytes"), "{message}");
    sparse(&place.path("gate.toml"), GIB);
    let message = refused("compare run run --gate gate.toml");
    assert!(message.contains("gate.toml: it is longer than"), "{message}");

    let record = place.a_record("run");
    sparse(&record, 65 << 20);
    let kept = place.path("run/checkpoints").join(record.with_extension("safetensors").file_name().expect("a name"));
    sparse(&kept, 1000 * GIB);
    place
        .sharpbench(&format!("{RUN} --filter seed=1"))
        .assert()
        .success()
        .stderr(predicate::str::contains("is damaged (it is longer than 67108864 bytes"))
        .stderr(predicate::str::contains("restarts: it is longer than"));
    let many: Vec<PathBuf> = (0..70).map(|i| place.path(&format!("run/cells/many-{i}.json"))).collect();
    many.iter().for_each(|path| sparse(path, 64 << 20));
    let message = refused("report run");
    assert!(message.contains("its records are longer than 4294967296 bytes in total"), "{message}");
    many.iter().for_each(|path| std::fs::remove_file(path).expect("removed"));
    sparse(&place.path("run/run.json"), GIB);
    let message = refused("report run");
    assert!(message.contains("run.json: it is longer than 268435456 bytes"), "{message}");
}

/// Data have limits too, and so has what unpacks to more than makes sense.
#[test]
fn data_that_would_fill_the_memory_are_refused() {
    let place = Place::new();
    let refused = |arguments: &str| error(place.sharpbench(arguments));
    sparse(&place.path("cifar/data_batch_1.bin"), 1 << 40);
    let message = refused("suite tiny.toml --data cifar");
    assert!(message.contains("data_batch_1.bin: it is longer than 268435456 bytes"), "{message}");

    let zeros = vec![0u8; (64 << 20) + 1];
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &zeros).expect("packed");
    let packed = encoder.finish().expect("packed");
    std::fs::create_dir_all(place.path("mnist")).expect("a folder");
    std::fs::write(place.path("mnist/train-images-idx3-ubyte.gz"), packed).expect("written");
    let message = refused("data verify mnist --data mnist");
    assert!(message.contains("cannot be unpacked (it is longer than 67108864 bytes)"), "{message}");

    // A picture that says it is huge: by the reader of small ones, and by that of photographs.
    let mut png = std::io::Cursor::new(Vec::new());
    image::GrayImage::new(1, 1).write_to(&mut png, image::ImageFormat::Png).expect("a picture");
    let mut png = png.into_inner();
    png[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let checksum = flate2::Crc::new();
    let checksum = {
        let mut crc = checksum;
        crc.update(&png[12..29]);
        crc.sum()
    };
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    write_columns(&place.path("parquet/train.parquet"), vec![png.clone().into()], vec![0]);
    write_parquet(&place.path("parquet/test.parquet"), 0, 20);
    let message = refused("suite tiny.toml --data parquet");
    assert!(message.contains("the image of row 0 is 60000x60000, expected 32x32"), "{message}");
    for class in ["train/a", "train/b", "test/a", "test/b"] {
        std::fs::create_dir_all(place.path("folder").join(class)).expect("a folder");
        std::fs::write(place.path("folder").join(class).join("x.png"), &png).expect("written");
    }
    place
        .sharpbench("data verify folder")
        .assert()
        .code(1)
        .stdout(predicate::str::contains("x.png cannot be read").and(predicate::str::contains("imit")));

    let huge = "name = \"synthetic\", train = 9223372036854775807, test = 20, size = 32, classes = 10";
    std::fs::write(place.path("huge.toml"), TINY.replace("name = \"cifar10\", train = 40, test = 20", huge))
        .expect("a suite");
    let message = refused("suite huge.toml");
    assert!(message.contains("data.train = 9223372036854775807 must be from 1 to 4294967295"), "{message}");
    let large = huge.replace("9223372036854775807", "4294967295");
    std::fs::write(place.path("huge.toml"), TINY.replace("name = \"cifar10\", train = 40, test = 20", &large))
        .expect("a suite");
    let message = refused("suite huge.toml");
    assert!(message.contains("would take 13194 GB of memory"), "{message}");
}

/// Names of files and keys are told, and steer no terminal.
#[test]
fn what_is_told_steers_no_terminal() {
    let place = Place::new();
    place.sharpbench(&format!("{RUN} --filter seed=1")).assert().success();
    std::fs::write(place.path("run/cells/\u{1b}[2J\u{7}.json"), "{\"\u{1b}]0;x\": 1}").expect("written");
    let output = place.sharpbench("report run").output().expect("ended");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("[2J") && !told.contains(['\u{1b}', '\u{7}']), "{told:?}");
    std::fs::write(place.path("evil.toml"), "\"\\u001b[2J\" = 1").expect("written");
    let told = error(place.sharpbench("suite evil.toml"));
    assert!(told.contains("evil.toml") && !told.contains('\u{1b}'), "{told:?}");
}
