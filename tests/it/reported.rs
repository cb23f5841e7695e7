//! Faults that users of similar tools reported, tried on the real binary.

use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use parquet::data_type::ByteArray;
use predicates::prelude::*;
use serde_json::Value;

use sharpbench::record::Record;

use crate::support::{Place, TINY, edit, error, signal, skipped, write_columns, write_named_columns, write_parquet};

const ONE: &str = "--filter optimizer=sgd,seed=1 --data stand-in";

/// A place with a suite of its own in place of the tiny one.
fn place_with(change: impl FnOnce(String) -> String) -> Place {
    let place = Place::new();
    std::fs::write(place.path("tiny.toml"), change(TINY.to_string())).expect("a suite");
    place
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

/// A gate without a baseline to compare with does not pass, whatever is left of it.
#[test]
fn a_baseline_without_records_passes_nothing() {
    let place = Place::new();
    for run in ["base", "run"] {
        place.sharpbench(&format!("suite tiny.toml --data stand-in --quiet --out {run}")).assert().success();
    }
    let gate = place.path("gate.toml");
    std::fs::write(&gate, "[time]\njudge = false\n").expect("a gate");
    let compare = || {
        let output = place.sharpbench("compare base run --gate gate.toml").output().expect("ended");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(compare().0, Some(0));
    let record = place.a_record("base");
    let whole = std::fs::read(&record).expect("a record");
    for damage in ["", "{", "not JSON at all"] {
        std::fs::write(&record, damage).expect("written");
        let (code, text) = compare();
        assert_eq!(code, Some(3), "{damage}: {text}");
        assert!(text.contains("no readable record of 1 of its 4 cells"), "{text}");
    }
    // Of other images, renamed, removed.
    std::fs::write(&record, &whole).expect("written");
    edit(&record, |record| {
        record["data"]["sha256"] = "other".into();
    });
    assert_eq!(compare().0, Some(3));
    std::fs::rename(&record, place.path("base/cells/elsewhere.json")).expect("renamed");
    assert_eq!(compare().0, Some(3));
    std::fs::remove_dir_all(place.path("base/cells")).expect("removed");
    let (code, text) = compare();
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("no readable record of 4 of its 4 cells"), "{text}");
    // A plan of nothing.
    edit(&place.path("base/run.json"), |run| run["cells"] = Value::Array(Vec::new()));
    let (code, text) = compare();
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("plans no cell"), "{text}");
}

/// Another type of machine is refused, and accepted only where that is said.
#[test]
fn other_machines_are_refused_as_documented() {
    let place = Place::new();
    for run in ["base", "run"] {
        place.sharpbench(&format!("suite tiny.toml {ONE} --quiet --out {run}")).assert().success();
    }
    edit(&place.a_record("base"), |record| {
        record["provenance"]["machine"]["cpu"] = "another".into();
    });
    let message = error(place.sharpbench("compare base run"));
    assert!(message.contains("add --allow machine"), "{message}");
    place.sharpbench("compare base run --allow machine").assert().success();
}

/// A training on nothing, or on much less than was asked for, is no result.
#[test]
fn nothing_readable_is_an_error() {
    let place = place_with(|suite| {
        suite
            .replace(
                "name = \"cifar10\", train = 40, test = 20",
                "name = \"image-folder\", size = 16, classes = 2, train = 40, test = 20, unreadable = \"skip\"",
            )
            .replace("crop = 2, flip = true", "flip = true")
    });
    let write = |split: &str, readable: usize, n: usize| {
        for class in ["a", "b"] {
            let folder = place.path("set").join(split).join(class);
            std::fs::create_dir_all(&folder).expect("a folder");
            for i in 0..n {
                let path = folder.join(format!("{i:02}.png"));
                if i < readable {
                    image::RgbImage::from_pixel(16, 16, image::Rgb([i as u8; 3])).save(path).expect("saved");
                } else {
                    std::fs::write(path, "no image").expect("written");
                }
            }
        }
    };
    let run = |out: &str| {
        let mut command =
            place.sharpbench(&format!("suite tiny.toml --filter optimizer=sgd,seed=1 --data set --out {out}"));
        command.env_remove("RUST_BACKTRACE");
        command.output().expect("ended")
    };
    for (train, test, what) in
        [(0, 10, "training samples"), (20, 0, "test samples"), (15, 10, "training samples"), (20, 8, "test samples")]
    {
        write("train", train, 20);
        write("test", test, 10);
        let output = run(&format!("refused-{train}-{test}"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{train} {test}: {stderr}");
        assert!(stderr.contains(what) && stderr.contains("more than the tenth"), "{stderr}");
    }
    write("train", 19, 20);
    write("test", 10, 10);
    assert!(run("accepted").status.success());
}

/// Seeds have 64 bits in every export.
#[test]
fn large_seeds_stay_exact_everywhere() {
    const SEEDS: [u64; 2] = [9_007_199_254_740_993, i64::MAX as u64];
    let place = place_with(|suite| suite.replace("[1, 2]", &format!("{SEEDS:?}")));
    place.sharpbench("suite tiny.toml --filter optimizer=sgd --data stand-in --quiet --out run").assert().success();
    let export = |format: &str| {
        let output = place.sharpbench(&format!("report run --format {format}")).assert().success();
        output.get_output().stdout.clone()
    };
    for format in ["csv", "json", "html"] {
        let text = String::from_utf8(export(format)).expect("text");
        assert!(SEEDS.iter().all(|seed| text.contains(&seed.to_string())), "{format}");
    }
    // What JavaScript would round is text on the page.
    let page = String::from_utf8(export("html")).expect("text");
    let embedded = page.split("id=\"report\">").nth(1).and_then(|rest| rest.split("</script>").next()).expect("JSON");
    let report = json(embedded.as_bytes());
    assert_eq!(report["rows"][0]["cells"][0]["seed"], SEEDS[0].to_string().as_str());
    // Parquet says unsigned.
    use parquet::file::reader::{FileReader, SerializedFileReader};
    std::fs::write(place.path("cells.parquet"), export("parquet")).expect("written");
    let file = std::fs::File::open(place.path("cells.parquet")).expect("a file");
    let file = SerializedFileReader::new(file).expect("parquet");
    let seeds: Vec<String> = file
        .get_row_iter(None)
        .expect("rows")
        .map(|row| {
            let row = row.expect("a row");
            row.get_column_iter().filter(|(name, _)| *name == "seed").map(|(_, seed)| seed.to_string()).collect()
        })
        .collect();
    assert_eq!(seeds, SEEDS.map(|seed| seed.to_string()));
    // A filter means one seed.
    let message = error(place.sharpbench("suite tiny.toml --filter seed=9007199254740992 --data stand-in --out none"));
    assert!(message.contains("seed"), "{message}");
}

fn png(index: usize) -> ByteArray {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let image = image::RgbImage::from_pixel(32, 32, image::Rgb([index as u8, 1, 2]));
    image.write_to(&mut bytes, image::ImageFormat::Png).expect("a PNG");
    bytes.into_inner().into()
}

/// The layouts in which tools leave CIFAR-10 are read, and give the same images.
#[test]
fn layouts_of_the_hubs_tools_are_read() {
    let place = Place::new();
    let run = |data: &str, out: &str| {
        place.sharpbench(&format!("suite tiny.toml --filter optimizer=sgd,seed=1 --data {data} --quiet --out {out}"))
    };
    write_parquet(&place.path("as-served/plain_text/train/0000.parquet"), 0, 40);
    write_parquet(&place.path("as-served/plain_text/test/0000.parquet"), 100, 20);
    run("as-served", "hub-run").assert().success();
    // These are not CIFAR-10's images, and the record says so.
    let record = json(&std::fs::read(place.a_record("hub-run")).expect("a record"));
    assert_eq!(record["data"]["original"], false);
    let report = place.sharpbench("report hub-run").assert().success().get_output().stdout.clone();
    assert!(String::from_utf8_lossy(&report).contains("images that are not the published ones of cifar10"));
    // `hf download uoft-cs/cifar10`, and a folder `data`.
    for folder in ["download/plain_text", "data-folder/data", "flat"] {
        write_parquet(&place.path(&format!("{folder}/train-00000-of-00001.parquet")), 0, 40);
        write_parquet(&place.path(&format!("{folder}/test-00000-of-00001.parquet")), 100, 20);
    }
    // In parts.
    write_parquet(&place.path("parts/train-00000-of-00002.parquet"), 0, 30);
    write_parquet(&place.path("parts/train-00001-of-00002.parquet"), 30, 10);
    write_parquet(&place.path("parts/test-00000-of-00001.parquet"), 100, 20);
    write_parquet(&place.path("numbers/train/0000.parquet"), 0, 25);
    write_parquet(&place.path("numbers/train/0001.parquet"), 25, 15);
    write_parquet(&place.path("numbers/test/0000.parquet"), 100, 20);
    for layout in ["download", "download/plain_text", "data-folder", "flat", "parts", "numbers"] {
        let out = format!("run-{}", layout.replace('/', "-"));
        run(layout, &out).assert().success();
        assert_eq!(place.fingerprints(&out), place.fingerprints("hub-run"), "{layout}");
    }
    std::fs::remove_file(place.path("parts/train-00001-of-00002.parquet")).expect("removed");
    let message = error(run("parts", "refused"));
    assert!(message.contains("holds 1 of the 2 parts of a split; fetch the others"), "{message}");
    // Columns under other names are read; what is missing is named.
    let labels = || (0..40).map(|i| i % 10).collect::<Vec<i64>>();
    for [image, label] in [["image", "labels"], ["img", "label"]] {
        let folder = place.path("named");
        write_named_columns(&folder.join("train.parquet"), [image, label], (0..40).map(png).collect(), labels());
        write_named_columns(&folder.join("test.parquet"), [image, label], (0..40).map(png).collect(), labels());
        run("named", label).assert().success();
    }
    write_named_columns(&place.path("named/train.parquet"), ["picture", "label"], (0..40).map(png).collect(), labels());
    let message = error(run("named", "refused"));
    assert!(message.contains("its columns are picture, label: rename them"), "{message}");
    write_columns(&place.path("named/train.parquet"), (0..40).map(png).collect(), vec![-1; 40]);
    let message = error(run("named", "refused"));
    assert!(message.contains("has a label outside 0..10"), "{message}");
}

/// tiny-imagenet's folders, file names that are no UTF-8, and pictures of other formats.
#[test]
fn image_folders_as_they_are_found() {
    let place = place_with(|suite| {
        suite
            .replace(
                "name = \"cifar10\", train = 40, test = 20",
                "name = \"image-folder\", size = 16, classes = 2, train = 10, test = 2",
            )
            .replace("crop = 2, flip = true", "flip = true")
    });
    let image = |i: usize| image::RgbImage::from_pixel(16, 16, image::Rgb([i as u8, 9, 9]));
    let mut annotations = String::new();
    for (n, class) in ["n01", "n02"].iter().enumerate() {
        let train = place.path(&format!("tiny/train/{class}/images"));
        std::fs::create_dir_all(&train).expect("a folder");
        std::fs::write(place.path(&format!("tiny/train/{class}/{class}_boxes.txt")), "0\t0\n").expect("written");
        (0..5).for_each(|i| {
            image(i + 10 * n)
                .save_with_format(train.join(format!("{i}.JPEG")), image::ImageFormat::Jpeg)
                .expect("saved")
        });
        annotations += &format!("val_{n}.JPEG\t{class}\t0\t0\t1\t1\n");
    }
    let val = place.path("tiny/val/images");
    std::fs::create_dir_all(&val).expect("a folder");
    (0..2).for_each(|n| {
        image(n).save_with_format(val.join(format!("val_{n}.JPEG")), image::ImageFormat::Jpeg).expect("saved")
    });
    std::fs::write(place.path("tiny/val/val_annotations.txt"), annotations).expect("written");
    let run = |data: &str, out: &str| {
        place.sharpbench(&format!("suite tiny.toml --filter optimizer=sgd,seed=1 --data {data} --out {out}"))
    };
    run("tiny", "tiny-run").assert().success();

    // The same pictures in plain folders, one of them under a name that is no UTF-8, beside others that are not read.
    for (split, class, n) in [("train", "n01", 5), ("train", "n02", 5), ("test", "n01", 1), ("test", "n02", 1)] {
        let folder = place.path(&format!("plain/{split}/{class}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        (0..n).for_each(|i| image(i).save(folder.join(format!("{i}.png"))).expect("saved"));
    }
    let folder = place.path("plain/train/n01");
    std::fs::rename(folder.join("0.png"), folder.join(std::ffi::OsStr::from_bytes(b"caf\xe9.png"))).expect("renamed");
    std::fs::write(folder.join("a.webp"), "x").expect("written");
    std::fs::write(folder.join("b.bmp"), "x").expect("written");
    run("plain", "plain-run")
        .assert()
        .success()
        .stderr(predicate::str::contains("holds pictures that are not read (1 .bmp, 1 .webp); convert them").count(1));
}

/// What cannot end well is refused before anything is trained.
#[test]
fn names_too_long_for_files_are_refused_at_once() {
    let place = place_with(|suite| suite.replace("name = \"tiny\"", &format!("name = \"{}\"", "x".repeat(250))));
    let message = error(place.sharpbench("suite tiny.toml --data stand-in --out run"));
    assert!(message.contains("must consist of letters, digits, - and _, at most 64"), "{message}");
    assert!(!place.path("run").exists());
}

#[test]
fn more_threads_than_cpus_are_not_started() {
    let place = Place::new();
    for (what, mut command) in [
        ("--threads", place.sharpbench(&format!("suite tiny.toml {ONE} --out a --threads 5000"))),
        ("RAYON_NUM_THREADS", place.sharpbench(&format!("suite tiny.toml {ONE} --out b"))),
        ("--jobs", place.sharpbench("suite tiny.toml --data stand-in --out c --jobs 300")),
    ] {
        command.env("RAYON_NUM_THREADS", "9999").timeout(Duration::from_secs(60));
        command
            .assert()
            .success()
            .stderr(predicate::str::contains(format!("warning: {what} ")).and(predicate::str::contains(" is used")));
    }
}

/// A closed terminal and the signals of batch systems stop a training as SIGTERM does; `nohup` is respected.
#[test]
fn every_request_to_stop_keeps_the_training() {
    let place = Place::new();
    place.keep_every_epoch(100_000);
    for (name, number) in [("HUP", 1), ("USR1", 10), ("USR2", 12), ("XCPU", 24)] {
        // Under nohup the tests' own processes are started to ignore SIGHUP, which a stop respects.
        if name == "HUP" && ignores_hangup() {
            skipped("these tests were started to ignore SIGHUP");
            continue;
        }
        let mut child = place.spawn(&format!("suite tiny.toml {ONE} --out run-{name}"));
        let since = Instant::now();
        while place.progress(&format!("run-{name}")).is_empty() {
            assert!(since.elapsed() < Duration::from_secs(60), "{name}: no checkpoint");
            std::thread::sleep(Duration::from_millis(20));
        }
        signal(child.id(), name);
        let status = child.wait().expect("ended");
        assert_eq!(status.code(), Some(128 + number), "{name}");
    }
    let mut child = place.spawn_program(
        "sh",
        &["-c", &format!("trap '' HUP; exec {} suite tiny.toml {ONE} --out nohup", env!("CARGO_BIN_EXE_sharpbench"))],
    );
    let since = Instant::now();
    while place.progress("nohup").is_empty() {
        assert!(since.elapsed() < Duration::from_secs(60), "no checkpoint");
        std::thread::sleep(Duration::from_millis(20));
    }
    signal(child.id(), "HUP");
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().expect("a child").is_none(), "nohup was not respected");
    signal(child.id(), "TERM");
    assert_eq!(child.wait().expect("ended").code(), Some(143));
}

/// Whether this process ignores SIGHUP, and so do those that it starts.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1)
}

/// The incomplete last batch is left out, which the plan says, or kept.
#[test]
fn the_last_batch_is_told_or_kept() {
    let plan = |place: &Place| {
        let output = place.sharpbench("plan tiny.toml").assert().success();
        String::from_utf8_lossy(&output.get_output().stdout).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let place =
        place_with(|suite| suite.replace("train = 40", "train = 63").replace("batch_size = 10", "batch_size = 32"));
    assert!(plan(&place).contains("each epoch leaves out 31 of 63 training samples"), "{}", plan(&place));
    place.sharpbench(&format!("suite tiny.toml {ONE} --quiet --out dropped")).assert().success();
    let measures =
        |place: &Place, run: &str| json(&std::fs::read(place.a_record(run)).expect("a record"))["measures"].clone();
    let dropped = measures(&place, "dropped");
    let suite = std::fs::read_to_string(place.path("tiny.toml")).expect("a suite");
    std::fs::write(place.path("tiny.toml"), suite.replace("batch_size = 32", "batch_size = 32, drop_last = false"))
        .expect("written");
    assert!(!plan(&place).contains("leaves out"), "{}", plan(&place));
    place.sharpbench(&format!("suite tiny.toml {ONE} --quiet --out kept")).assert().success();
    let kept = measures(&place, "kept");
    assert_eq!((dropped["steps"].as_u64(), kept["steps"].as_u64()), (Some(2), Some(4)));
    // FLOPs are those of the samples: 2 x 32 and 2 x 63.
    let ratio = kept["flops_nominal"].as_f64().expect("FLOPs") / dropped["flops_nominal"].as_f64().expect("FLOPs");
    assert!((ratio - 63.0 / 32.0).abs() < 1e-12, "{ratio}");
}

/// A variance of one value is no variance.
#[test]
fn batch_norm_of_one_value_is_refused() {
    let place = place_with(|suite| {
        suite
            .replace("name = \"cifar10\", train = 40", "name = \"image-folder\", size = 2, classes = 2, train = 8")
            .replace("batch_size = 10", "batch_size = 1")
            .replace("crop = 2, flip = true", "flip = true")
    });
    let message = error(place.sharpbench(&format!("suite tiny.toml {ONE} --quiet --out run")));
    assert!(message.contains("BatchNorm in training needs more than one value per channel"), "{message}");
}

/// `bench` refuses what `suite` refuses.
#[test]
fn bench_refuses_sam_on_without_normalisation() {
    let message = error(Place::new().sharpbench("bench --optimizer sam-on --model mlp --hidden 8 --steps 1"));
    assert!(message.contains("normalisation"), "{message}");
}

/// Records say what they hold; what no training can have is not printed.
#[test]
fn edited_records_are_not_believed() {
    let place = Place::new();
    place.sharpbench(&format!("suite tiny.toml {ONE} --quiet --out run")).assert().success();
    let path = place.a_record("run");
    let whole = std::fs::read(&path).expect("a record");
    let report = || {
        let output = place.sharpbench("report run").output().expect("ended");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    assert_eq!(report().0, Some(0));
    // With the digest that it was written with.
    let mut changed = json(&whole);
    changed["measures"]["test_accuracy_last"] = 0.9.into();
    std::fs::write(&path, changed.to_string()).expect("written");
    let (code, stderr, _) = report();
    assert_eq!(code, Some(3));
    assert!(stderr.contains("it was changed after it was written"), "{stderr}");
    // Without one: older records have none.
    type Change = (&'static str, fn(&mut Value));
    let changes: [Change; 7] = [
        ("fraction", |r| r["measures"]["test_accuracy_last"] = 2.5.into()),
        ("fraction", |r| r["measures"]["epochs"][0]["test_accuracy"] = (-0.1).into()),
        ("a time or a number of FLOPs", |r| r["measures"]["train_seconds"] = (-1.0).into()),
        ("a time or a number of FLOPs", |r| r["measures"]["step_seconds"]["min"] = (-1.0).into()),
        ("a time or a number of FLOPs", |r| r["measures"]["flops_executed"] = (-1.0).into()),
        ("more than the", |r| r["measures"]["steps"] = 1_000_000.into()),
        ("threads, jobs or parameters are 0", |r| r["provenance"]["threads"] = 0.into()),
    ];
    for (reason, change) in changes {
        std::fs::write(&path, &whole).expect("written");
        edit(&path, change);
        let (code, stderr, _) = report();
        assert_eq!(code, Some(3), "{reason}: {stderr}");
        assert!(stderr.contains("is damaged and left out") && stderr.contains(reason), "{reason}: {stderr}");
    }
    std::fs::write(&path, &whole).expect("written");
    edit(&path, |_| {});
    let (code, _, stdout) = report();
    assert_eq!(code, Some(0));
    assert!(stdout.contains("records without a digest"), "{stdout}");
}

/// A result is printed where its folder cannot be written, and what the program prints can be pasted.
#[test]
fn a_result_comes_before_its_files() {
    let place = Place::new();
    let output =
        place.sharpbench(&format!("suite tiny.toml {ONE} --out")).arg("a b's").assert().success().get_output().clone();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("sharpbench report \"a b's\" --wide"), "{stderr}");
    // A folder in the place of a report cannot be overwritten, even by root.
    let page = place.path("a b's/report-tiny-quick-photo-patches.html");
    std::fs::remove_file(&page).expect("removed");
    std::fs::create_dir(&page).expect("a folder");
    let output = place.sharpbench("gather").arg("a b's").output().expect("ended");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("tiny quick on photo-patches"));
    std::os::unix::fs::symlink("/nonexistent/disk", place.path("link")).expect("a link");
    let message = error(place.sharpbench(&format!("suite tiny.toml {ONE} --quiet --out link")));
    assert!(message.contains("perhaps a link whose target is missing"), "{message}");
}

/// Numbers that trainings cannot use are refused, and the two zeros are one.
#[test]
fn numbers_that_vanish_or_overflow_are_refused() {
    for (what, value) in [("lr = 0.05", "lr = 1e-50"), ("lr = 0.05", "lr = 1e39"), ("rho = 0.05", "rho = 1e200")] {
        let place = place_with(|suite| suite.replace(what, value));
        let message = error(place.sharpbench("suite tiny.toml --data stand-in --out run"));
        assert!(message.contains("trainings compute with 32 bits"), "{message}");
    }
    let place =
        place_with(|suite| suite.replace("optimizer = \"sgd\"", "optimizer = \"sgd\"\nweight_decay = [0.0, -0.0]"));
    let message = error(place.sharpbench("suite tiny.toml --data stand-in --out run"));
    assert!(message.contains("repeats a cell"), "{message}");
}

/// A table without rows has a header.
#[test]
fn an_empty_table_has_a_header() {
    let place = Place::new();
    place.sharpbench("suite tiny.toml --data stand-in --executor plan --out run").assert().success();
    let output = place.sharpbench("report run --format csv").assert().code(3).get_output().stdout.clone();
    assert!(String::from_utf8_lossy(&output).starts_with("suite,profile,data,"));
}

/// A limit on the size of files is an error like a full disk.
#[test]
fn a_limit_on_files_is_reported() {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_sharpbench");
    let child = place
        .spawn_program("sh", &["-c", &format!("ulimit -f 1; exec {program} suite tiny.toml {ONE} --quiet --out run")]);
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("raise the limit on the size of files"), "{stderr}");
}

/// Theoretical FLOPs follow the masks that were used: from the first step on with implicit perturbation, whose mask is chosen before it;
/// from the second with explicit perturbation.
#[test]
fn theoretical_flops_follow_the_masks() {
    let grid = |perturbation: &str| {
        format!(
            "[[base.grid]]\noptimizer = \"ssam\"\nmask = \"random\"\npattern = \"tensor\"\nrefresh = \"static\"\n\
             rho = 0.05\nsparsity = 0.7\nperturbation = \"{perturbation}\"\n"
        )
    };
    for (perturbation, first) in [("implicit", 1.0), ("explicit", 0.0)] {
        let place = place_with(|suite| suite + &grid(perturbation));
        place
            .sharpbench("suite tiny.toml --filter optimizer=ssam,seed=1 --data stand-in --quiet --out run")
            .assert()
            .success();
        let measures = json(&std::fs::read(place.a_record("run")).expect("a record"))["measures"].clone();
        let number = |key: &str| measures[key].as_f64().expect("a number");
        let live = measures["mask_refreshes"][0]["live_fraction"].as_f64().expect("a fraction");
        assert_eq!(measures["mask_refreshes"].as_array().map(Vec::len), Some(1));
        assert!(live > 0.0 && (live - 0.3).abs() > 1e-3, "whole tensors do not hold exactly .3 of the weights: {live}");
        let steps = number("steps");
        let density = live * (steps - 1.0 + first) / steps;
        let expected = (5.0 + density) / 6.0;
        let found = number("flops_theoretical") / number("flops_nominal");
        assert!((found - expected).abs() < 1e-9, "{perturbation}: {found}, {expected}");
    }
}

/// A record has a bit per test sample, and what follows from them is reported.
#[test]
fn predictions_of_test_samples_are_kept() {
    let place = Place::new();
    place.sharpbench("suite tiny.toml --data stand-in --out run").assert().success();
    for text in place.record_files("run").values() {
        let record = Record::parse(text).expect("a record");
        let samples = record.measures.test_samples.expect("samples");
        let right = samples.unpack().expect("bits").iter().filter(|right| **right).count();
        assert_eq!(Some(right as f64 / samples.n as f64), record.measures.test_accuracy_last);
        assert_eq!(samples.nll, record.measures.epochs.last().and_then(|epoch| epoch.test_loss));
        assert!(samples.ece.is_some_and(|ece| (0.0..=1.0).contains(&ece)));
    }
    let wide = place.sharpbench("report run --wide").output().expect("a report").stdout;
    let wide = String::from_utf8_lossy(&wide);
    assert!(["NLL", "ECE %", "vs SGD, other samples"].iter().all(|column| wide.contains(column)), "{wide}");
    let csv = place.sharpbench("report run --format csv").output().expect("a report").stdout;
    assert!(String::from_utf8_lossy(&csv).lines().next().is_some_and(|header| header.contains("test_nll,test_ece")));
}

/// The worked example of docs/statistics.md, recomputed there with NumPy and SciPy.
#[test]
fn the_worked_example_is_what_the_report_says() {
    let run = concat!(env!("CARGO_MANIFEST_DIR"), "/reports/reference/cifar10-full-cifar10");
    let output = Place::new().sharpbench("report --format json").arg(run).output().expect("a report").stdout;
    let report: Value = serde_json::from_slice(&output).expect("JSON");
    let longer = &report["rows"][2];
    assert_eq!((&longer["name"], &report["reference"]), (&"sgd 2x epochs".into(), &"sgd wd .001".into()));
    let number = |key: &str| longer["to_sgd"][key].as_f64().expect("a number");
    for (key, expected) in [
        ("mean", 0.034_233_333_333),
        ("standard_error", 0.003_359_526_716),
        ("freedom", 4.587_207_921_682),
        ("p", 0.000_253_374_282),
    ] {
        assert!((number(key) - expected).abs() < 1e-9, "{key}: {}", number(key));
    }
    assert_eq!(report["assay"], "undecided");
    let words = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/statistics.md")).expect("a page");
    assert!(["+3.42", "4.59", ".00025", ".0046"].iter().all(|figure| words.contains(figure)));
}

/// With `measure = { test = N }` only every N-th epoch and the last are evaluated, and the weights are the same.
#[test]
fn epochs_may_go_untested() {
    let [every, some] = [Place::new(), Place::new()];
    let suite = TINY.replace("epochs = 2", "epochs = 3");
    std::fs::write(every.path("tiny.toml"), &suite).expect("a suite");
    std::fs::write(some.path("tiny.toml"), suite.replace("[base]\n", "[base]\nmeasure = { test = 2 }\n"))
        .expect("a suite");
    for place in [&every, &some] {
        place.sharpbench("suite tiny.toml --data stand-in --out run").assert().success();
    }
    let records = |place: &Place| -> Vec<Record> {
        let mut all: Vec<Record> =
            place.record_files("run").values().map(|text| Record::parse(text).expect("a record")).collect();
        all.sort_by_key(|r| (r.cell.optimizer.name.clone(), r.cell.seed));
        all
    };
    for (every, some) in records(&every).iter().zip(&records(&some)) {
        assert_eq!(every.measures.fingerprint, some.measures.fingerprint);
        let tested = |r: &Record| r.measures.epochs.iter().map(|e| e.test_accuracy).collect::<Vec<_>>();
        assert_eq!(tested(some), [None, tested(every)[1], tested(every)[2]]);
        assert_eq!(some.measures.test_accuracy_last, every.measures.test_accuracy_last);
    }
    let json = some.sharpbench("report run --format json").output().expect("a report").stdout;
    let json: Value = serde_json::from_slice(&json).expect("JSON");
    let epochs: Vec<u64> = json["rows"][0]["test_accuracy_by_epoch"]
        .as_array()
        .expect("epochs")
        .iter()
        .filter_map(|e| e["epoch"].as_u64())
        .collect();
    assert_eq!(epochs, [2, 3]);
}
