//! What the tests of the real binary share.

use std::collections::BTreeMap;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use assert_cmd::Command;
use parquet::basic::{ConvertedType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{PrimitiveTypeBuilder, Type};
use serde_json::Value;
use sharpbench::data::{self, DataSource, Fetch};
use sharpbench::record::EpochMeasures;
use sharpbench::suite::Cell;
use sharpbench::train::{Observer, Trained, train};

/// A suite of four cells, each a second or less.
pub(crate) const TINY: &str = r#"
name = "tiny"
description = "for tests"

[base]
data = { name = "cifar10", train = 40, test = 20 }
model = { name = "resnet8", width = 4 }
schedule = { epochs = 2, batch_size = 10, lr = 0.05 }
augment = { crop = 2, flip = true }
seeds = [1, 2]

[profiles.quick]

[[base.grid]]
optimizer = "sgd"

[[base.grid]]
optimizer = "ssam-f"
rho = 0.05
sparsity = 0.9
fisher_samples = 8
"#;

/// An observer that tells nobody.
pub(crate) struct Silent;

impl Observer for Silent {
    fn step(&mut self, _: usize, _: usize, _: f64) {}
    fn epoch(&mut self, _: usize, _: &EpochMeasures) {}
}

/// A cell trained in this process, on the data that stand in for its own.
pub(crate) fn trained(cell: &Cell) -> Trained {
    let fetch = Fetch { offline: true, bar: false, say: &|_| {}, warn: &|_| {} };
    let data = data::load(&cell.data, &DataSource::StandIn, &fetch).expect("samples");
    train(cell, &data, &mut Silent).expect("a training")
}

/// A folder for one test, with the tiny suite in it.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("tiny.toml"), TINY).expect("a suite");
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The binary, in this folder, cut off from the user's cache, settings and network.
    pub(crate) fn sharpbench(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sharpbench"));
        command.current_dir(self.folder.path());
        isolate(&mut command, self.folder.path());
        command.args(arguments.split_whitespace());
        command
    }

    /// Starts the binary as a process of std, which can be watched; stderr is piped.
    pub(crate) fn spawn(&self, arguments: &str) -> std::process::Child {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        self.spawn_program(env!("CARGO_BIN_EXE_sharpbench"), &arguments)
    }

    /// Starts a program that starts the binary.
    pub(crate) fn spawn_program(&self, program: &str, arguments: &[&str]) -> std::process::Child {
        let mut command = std::process::Command::new(program);
        command.current_dir(self.folder.path()).args(arguments);
        command.env("HF_HOME", self.path("hf")).env("HF_ENDPOINT", "http://127.0.0.1:1");
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
        command.spawn().expect("the program starts")
    }

    /// The path of a record of a run folder.
    pub(crate) fn a_record(&self, run: &str) -> PathBuf {
        let mut entries = std::fs::read_dir(self.path(run).join("cells")).expect("records");
        entries.next().expect("a record").expect("an entry").path()
    }

    /// Makes the tiny suite's cells longer, and has them kept after every epoch.
    pub(crate) fn keep_every_epoch(&self, epochs: usize) {
        let suite = TINY.replace("epochs = 2", &format!("epochs = {epochs}"));
        let suite = suite.replace("seeds = [1, 2]", "seeds = [1, 2]\ncheckpoint = 1");
        std::fs::write(self.path("tiny.toml"), suite).expect("a suite");
    }

    /// Records of a run folder by file name. What a kill left half-written is none.
    pub(crate) fn record_files(&self, run: &str) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.path(run).join("cells")).into_iter().flatten().flatten();
        let records = entries.filter(|e| e.path().extension().is_some_and(|x| x == "json"));
        let named = |e: DirEntry| (e.file_name().to_string_lossy().into_owned(), std::fs::read(e.path()));
        // One that is being set aside is gone by then.
        records.map(named).filter_map(|(name, bytes)| Some((name, bytes.ok()?))).collect()
    }

    /// Records and checkpoints of a run folder with their ages: another answer is progress.
    pub(crate) fn progress(&self, run: &str) -> Vec<(PathBuf, SystemTime)> {
        let entries = ["cells", "checkpoints"].map(|folder| std::fs::read_dir(self.path(run).join(folder)));
        let age = |entry: DirEntry| Some((entry.path(), entry.metadata().ok()?.modified().ok()?));
        let whole =
            |(path, _): &(PathBuf, SystemTime)| path.extension().is_some_and(|x| x == "json" || x == "safetensors");
        let mut files: Vec<_> =
            entries.into_iter().flatten().flatten().flatten().filter_map(age).filter(whole).collect();
        files.sort();
        files
    }

    /// Fingerprints by cell id, from the report of a run folder.
    pub(crate) fn fingerprints(&self, run: &str) -> BTreeMap<String, String> {
        let output = self.sharpbench(&format!("report {run} --format json")).output().expect("the binary runs");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let rows = report["rows"].as_array().expect("rows");
        let cells = rows.iter().flat_map(|r| r["cells"].as_array().expect("cells"));
        let text = |value: &Value| value.as_str().expect("a string").to_string();
        cells.map(|c| (text(&c["id"]), text(&c["fingerprint"]))).collect()
    }
}

/// Numbers that are the same in every run of a test: a linear congruential generator (Knuth's MMIX).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A record without times, memory and what is told of interruptions.
pub(crate) fn timeless(record: &[u8]) -> Value {
    let mut record: Value = serde_json::from_slice(record).expect("JSON");
    for key in ["reference_step_seconds", "resumed", "provenance", "digest"] {
        record.as_object_mut().expect("an object").remove(key);
    }
    let measures = record["measures"].as_object_mut().expect("measures");
    for key in ["train_seconds", "mask_seconds", "step_seconds", "peak_memory_bytes"] {
        measures.remove(key);
    }
    for epoch in measures["epochs"].as_array_mut().expect("epochs") {
        epoch.as_object_mut().expect("an epoch").remove("train_seconds");
    }
    record
}

/// Changes a record as by hand: without the digest, which it no longer has.
pub(crate) fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let text = std::fs::read_to_string(path).expect("a record");
    let mut record: Value = serde_json::from_str(&text).expect("JSON");
    change(&mut record);
    record.as_object_mut().expect("an object").remove("digest");
    std::fs::write(path, record.to_string()).expect("written");
}

/// Sends a signal, such as TERM, to a process.
pub(crate) fn signal(pid: impl std::fmt::Display, name: &str) {
    let sent = std::process::Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
    assert!(sent.expect("a shell").success());
}

fn isolate(command: &mut Command, folder: &Path) {
    command.env("HF_HOME", folder.join("hf")).env("HF_ENDPOINT", "http://127.0.0.1:1");
    for name in
        ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "HF_HUB_CACHE", "HF_TOKEN"]
    {
        command.env_remove(name);
    }
}

/// stderr of a command that must fail with exit code 2, without the temporary folder's name.
pub(crate) fn error(mut command: impl std::borrow::BorrowMut<Command>) -> String {
    let output = command.borrow_mut().assert().code(2).get_output().clone();
    assert!(output.stdout.is_empty(), "an error must not print a result");
    let text = String::from_utf8(output.stderr).expect("text");
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Notes that a test cannot run for want of a tool; where `CI` is set, that is a failure, since nobody would read the note.
pub(crate) fn skipped(why: &str) {
    let is_ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
    assert!(!is_ci, "{why}; under CI this test must run");
    println!("skipped: {why}");
}

/// An image whose pixels tell channel, row, column and index apart: transposed or swapped ones are noticed.
pub(crate) fn pixel(index: usize, channel: usize, row: usize, column: usize) -> u8 {
    ((index * 31 + channel * 67 + row * 5 + column * 3) % 256) as u8
}

/// The class of an image.
pub(crate) fn label(index: usize) -> u8 {
    (index % 10) as u8
}

/// Writes a parquet file of the hub's shape with `n` images, the first having index `first`.
pub(crate) fn write_parquet(path: &Path, first: usize, n: usize) {
    let png = |index: usize| {
        let image = image::RgbImage::from_fn(32, 32, |x, y| {
            image::Rgb(std::array::from_fn(|c| pixel(index, c, y as usize, x as usize)))
        });
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).expect("a PNG");
        ByteArray::from(bytes.into_inner())
    };
    write_columns(
        path,
        (first..first + n).map(png).collect(),
        (first..first + n).map(|i| i64::from(label(i))).collect(),
    );
}

fn optional(name: &str, physical: Physical) -> PrimitiveTypeBuilder<'_> {
    Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL)
}

/// Writes the columns `img { bytes, path }` and `label`.
pub(crate) fn write_columns(path: &Path, images: Vec<ByteArray>, labels: Vec<i64>) {
    write_named_columns(path, ["img", "label"], images, labels);
}

/// Writes the columns `image { bytes, path }` and `label` under names of their own.
pub(crate) fn write_named_columns(path: &Path, [image, label]: [&str; 2], images: Vec<ByteArray>, labels: Vec<i64>) {
    let bytes = optional("bytes", Physical::BYTE_ARRAY).build().expect("a type");
    let file_name =
        optional("path", Physical::BYTE_ARRAY).with_converted_type(ConvertedType::UTF8).build().expect("a type");
    let image = Type::group_type_builder(image)
        .with_repetition(Repetition::OPTIONAL)
        .with_fields(vec![bytes.into(), file_name.into()])
        .build()
        .expect("a type");
    let label = optional(label, Physical::INT64).build().expect("a type");
    let schema =
        Type::group_type_builder("schema").with_fields(vec![image.into(), label.into()]).build().expect("a schema");
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    let file = std::fs::File::create(path).expect("a file");
    let mut writer =
        SerializedFileWriter::new(file, schema.into(), WriterProperties::builder().build().into()).expect("a writer");
    let mut rows = writer.next_row_group().expect("a row group");
    let names: Vec<ByteArray> = (0..images.len()).map(|i| ByteArray::from(format!("{i}.png").into_bytes())).collect();
    for values in [images, names] {
        let mut column = rows.next_column().expect("no error").expect("a column");
        column.typed::<ByteArrayType>().write_batch(&values, Some(&vec![2; values.len()]), None).expect("written");
        column.close().expect("closed");
    }
    let mut column = rows.next_column().expect("no error").expect("a column");
    column.typed::<Int64Type>().write_batch(&labels, Some(&vec![1; labels.len()]), None).expect("written");
    column.close().expect("closed");
    rows.close().expect("closed");
    writer.close().expect("closed");
}
