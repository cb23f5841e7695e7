//! Everything that parses what may be a stranger's, each as a function of bytes that panics only where the program is wrong. The
//! fuzzers (`fuzz_targets`) and the tests (`tests/it/seeds.rs`) call the same functions.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, LazyLock, Once};

use safetensors::SafeTensors;
use sha2::{Digest, Sha256};
use sharpbench::Registry;
use sharpbench::compare::{Allowed, ComparisonFormat, Gate, Side, compare};
use sharpbench::compute::Compute;
use sharpbench::data::{self, DataSet, DataSource, Fetch, sha256_file};
use sharpbench::exec::slurm::{parse_squeue, phase, stuck};
use sharpbench::model::{self, Task};
use sharpbench::nn::{ParamLayout, from_safetensors};
use sharpbench::parity;
use sharpbench::record::{EpochMeasures, Record, RunManifest};
use sharpbench::report::{EXPORTERS, Layout, Options, Report, event_files, figures};
use sharpbench::suite::file::Settings;
use sharpbench::suite::{Cell, Filter, Plan, Suite};
use sharpbench::train::{Checkpoint, KeepNothing, Observer, Setup, identity, train_from};

/// Cells that are expanded at most, so that a fuzzer tries more than a suite a second.
const MOST_CELLS: usize = 256;

/// A suite file, up to the cells of its profiles.
pub fn suite(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let named = |error: sharpbench::Error| assert!(error.to_string().contains("a-suite.toml"), "{error}");
    let suite = match Suite::parse("a-suite.toml".into(), text) {
        Ok(suite) => suite,
        Err(error) => return named(error),
    };
    if most_cells(&suite) > MOST_CELLS {
        return;
    }
    for profile in suite.profiles() {
        let plan = suite.data(profile).and_then(|data| suite.plan(profile, &data.name));
        let cells = match plan {
            Ok(plan) => plan.cells,
            Err(error) => return named(error),
        };
        let ids: HashSet<String> = cells.iter().map(Cell::id).collect();
        assert_eq!(ids.len(), cells.len(), "a cell is planned twice");
        for cell in cells {
            let text = serde_json::to_vec(&cell).expect("a cell can be written");
            let read: Cell = serde_json::from_slice(&text).expect("what was written can be read");
            assert_eq!(read.id(), cell.id(), "a cell changes when it is read back: {}", cell.label());
        }
    }
}

/// No fewer cells than any profile has.
fn most_cells(suite: &Suite) -> usize {
    let all = || suite.file.profiles.values().chain([&suite.file.base]);
    let seeds = |s: &Settings| s.seeds.as_ref().map_or(0, Vec::len);
    let settings = |s: &Settings| {
        let grid = s.grid.iter().flatten().map(|entry| entry.combinations(&Registry::standard()));
        grid.fold(0, usize::saturating_add)
    };
    let most = |of: &dyn Fn(&Settings) -> usize| all().map(of).max().unwrap_or(0);
    most(&seeds).saturating_mul(most(&settings)).saturating_mul(suite.file.profiles.len())
}

/// The plan of an embedded suite.
static SMOKE: LazyLock<Plan> = LazyLock::new(|| {
    let suite = Suite::read("patterns").expect("an embedded suite");
    suite.plan("smoke", "photo-patches").expect("a plan")
});

/// `--filter`.
pub fn filter(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut plan = SMOKE.clone();
    let applied = match text.parse::<Filter>() {
        Ok(filter) => filter.apply(&mut plan).map_err(|e| e.to_string()),
        Err(error) => Err(error),
    };
    assert!(applied.is_ok_and(|()| !plan.cells.is_empty()) || plan.cells.len() <= SMOKE.cells.len());
}

/// What squeue prints: rows come back from their own words.
pub fn squeue(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for row in parse_squeue(text) {
        let (_, _) = (phase(&row.state), stuck(&row.reason));
        assert_eq!(parse_squeue(&row.to_string()), [row]);
    }
}

/// The rules of a gate.
pub fn gate(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Gate::parse(text, "a-gate.toml") {
        Ok(gate) => {
            let rules = [gate.accuracy, gate.time];
            assert!(rules.iter().flatten().all(|rule| rule.margin.is_finite() && rule.level > 0.0));
        }
        Err(error) => assert!(error.to_string().contains("a-gate.toml"), "{error}"),
    }
}

/// A record: as it is, and, for what a stranger can make, with the id of its cell.
pub fn record(bytes: &[u8]) {
    let forged = serde_json::from_slice(bytes).ok().and_then(|mut record: serde_json::Value| {
        let cell: Cell = serde_json::from_value(record.get("cell")?.clone()).ok()?;
        record.as_object_mut()?.insert("id".into(), cell.id().into());
        serde_json::to_vec(&record).ok()
    });
    for bytes in [Some(bytes), forged.as_deref()].into_iter().flatten() {
        match Record::parse(bytes) {
            Ok(record) => reported(record),
            Err(reason) => assert!(!reason.is_empty()),
        }
    }
}

/// Every report of a record.
fn reported(record: Record) {
    let written = serde_json::to_vec(&record).expect("a record can be written");
    let read = Record::parse(&written);
    assert!(read.is_ok(), "what was written cannot be read: {read:?}");
    let manifest = RunManifest {
        schema: record.schema,
        suite: record.suite.clone(),
        profile: record.profile.clone(),
        data: record.cell.data.name.clone(),
        stand_in: record.stand_in,
        data_sha256: record.data.sha256.clone(),
        suite_hash: record.suite_hash.clone(),
        profile_cells: None,
        claims: None,
        looks: None,
        cells: vec![record.cell.clone()],
    };
    let records = [record];
    render(&manifest, &records);
    let of_plan = Report::of_plan(&manifest, &records);
    event_files(&of_plan);
    let side = Side { manifest: &manifest, records: &of_plan };
    if let Ok(found) = compare(side, side, &Gate::default(), Allowed::default()) {
        use ComparisonFormat as F;
        for format in [F::Table, F::Markdown, F::Json, F::Junit, F::Github] {
            assert!(found.render(format).is_ok_and(|text| !text.is_empty()) || format == F::Junit);
        }
    }
}

fn render(manifest: &RunManifest, records: &[Record]) {
    let report = Report::new(manifest, records, &Options::default());
    let records = Report::of_plan(manifest, records);
    assert!(figures(&report, &records).iter().all(|figure| !figure.svg().is_empty()));
    for format in EXPORTERS {
        report
            .render(format, Layout { width: Some(80), ..Layout::default() }, &records)
            .map(drop)
            .unwrap_or_else(|e| assert!(!e.to_string().is_empty()));
    }
}

/// The plan of a run folder, and the report of a run without records.
pub fn plan(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match RunManifest::parse(text) {
        Ok(manifest) => render(&manifest, &[]),
        Err(reason) => assert!(!reason.is_empty()),
    }
}

/// A folder in memory, where the system has one.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder")
}

/// Writes files with the sums of what they hold, so that what is wrong in them is found by their readers.
fn write(directory: &Path, files: &[(&str, &[u8])]) {
    let mut sums = String::new();
    for (name, bytes) in files {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, bytes).expect("written");
        sums += &format!("{}  {name}\n", sha256_file(&path).expect("a digest"));
    }
    std::fs::write(directory.join("SHA256SUMS"), sums).expect("written");
}

/// Loads `train` and `test` samples of a set from a directory; what fails must name a file of it.
fn load(directory: &Path, name: &str, told: [Option<usize>; 4]) -> Option<DataSet> {
    let [train, test, size, classes] = told;
    let entry = data::find(name).expect("a data set");
    let spec = entry.spec([train, test], size, classes, None).expect("a specification");
    let fetch = Fetch { offline: true, bar: false, say: &|_| {}, warn: &|_| {} };
    match data::load(&spec, &DataSource::Directory(directory.into()), &fetch) {
        Ok(set) => Some(set),
        Err(error) => {
            let text = error.to_string();
            let place = directory.display().to_string();
            assert!([place.as_str(), name, "the text of"].iter().any(|named| text.contains(named)), "{text}");
            None
        }
    }
}

/// Four idx files. The first byte says which of them the others are, whether it is packed, and whether they are the sums.
pub fn idx(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    let images = [[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28].as_slice(), &[7; 2 * 28 * 28]].concat();
    let labels = [0, 0, 8, 1, 0, 0, 0, 2, 3, 9];
    let mut files: [(&str, &[u8]); 4] = [
        ("train-images-idx3-ubyte", &images),
        ("train-labels-idx1-ubyte", &labels),
        ("t10k-images-idx3-ubyte", &images),
        ("t10k-labels-idx1-ubyte", &labels),
    ];
    let packed = format!("{}.gz", files[usize::from(first & 3)].0);
    if first & 8 == 0 {
        let file = &mut files[usize::from(first & 3)];
        *file = (if first & 4 == 0 { file.0 } else { &packed }, body);
    }
    let folder = folder();
    write(folder.path(), &files);
    if first & 8 != 0 {
        std::fs::write(folder.path().join("SHA256SUMS"), body).expect("written");
    }
    load(folder.path(), "mnist", [Some(2), Some(2), None, None]);
}

/// The two binary files of CIFAR-100: what lies before and after the middle.
pub fn cifar(bytes: &[u8]) {
    let (train, test) = bytes.split_at(bytes.len() / 2);
    let folder = folder();
    write(folder.path(), &[("train.bin", train), ("test.bin", test)]);
    load(folder.path(), "cifar100", [Some(1), Some(1), None, None]);
}

/// A file of CIFAR-100's Python version.
pub fn pickle(bytes: &[u8]) {
    let folder = folder();
    write(folder.path(), &[("train", bytes), ("test", bytes)]);
    load(folder.path(), "cifar100", [Some(1), Some(1), None, None]);
}

/// Panics of the parquet crate are caught by the program; a fuzzer would end at them.
static QUIET: Once = Once::new();

/// A parquet file, of images or, after an odd first byte, of texts.
pub fn parquet(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    QUIET.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.location().is_some_and(|place| place.file().contains("/parquet-")) {
                before(info);
            }
        }));
    });
    let folder = folder();
    if first & 1 == 0 {
        write(folder.path(), &[("train.parquet", body), ("test.parquet", body)]);
        load(folder.path(), "cifar10", [Some(4), Some(2), None, None]);
    } else {
        let name = |split: &str| format!("default/{split}/0000.parquet");
        let names = ["train", "validation", "test"].map(name);
        write(folder.path(), &names.each_ref().map(|name| (name.as_str(), body)));
        load(folder.path(), "shakespeare", [Some(1), Some(1), None, None]);
    }
}

/// A photograph of an image folder.
pub fn photograph(bytes: &[u8]) {
    let folder = folder();
    let names = ["train/a/x.png", "train/b/x.jpg", "test/a/x.png", "test/b/x.png"];
    write(folder.path(), &names.map(|name| (name, bytes)));
    let Some(set) = load(folder.path(), "image-folder", [Some(2), Some(2), Some(16), Some(2)]) else { return };
    if let Err(error) = set.train.batch(&[0], None) {
        assert!(error.to_string().contains("x.png"), "{error}");
    }
}

/// A layout with weights, biases and running statistics.
static LAYOUT: LazyLock<Arc<ParamLayout>> = LazyLock::new(|| {
    let spec = serde_json::from_str(r#"{"name": "resnet8", "width": 2}"#).expect("a specification");
    let task = Task { input: data::Input::Image([3, 8, 8]), classes: 2 };
    model::build(&spec, task).expect("a model").layout().clone()
});

/// Weights in a safetensors file.
pub fn weights(bytes: &[u8]) {
    match from_safetensors(&LAYOUT, bytes) {
        Ok((weights, _)) => assert_eq!(weights.len(), LAYOUT.len()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A cell that is trained in no time, and its data.
static TINY: LazyLock<(Cell, DataSet)> = LazyLock::new(|| {
    let text = r#"
        name = "tiny"
        description = "for a checkpoint"
        [profiles.quick]
        data = { name = "synthetic", train = 4, test = 2, size = 2, classes = 2 }
        model = { name = "mlp", hidden = [2] }
        schedule = { epochs = 2, batch_size = 2, lr = 0.1 }
        measure = { edge = 3, gradient_norm = 3 }
        seeds = [1]
        grid = [{ optimizer = "ssam-d", rho = 0.1, sparsity = 0.5, momentum = 0.0, weight_decay = 0.0 }]
    "#;
    let suite = Suite::parse("tiny.toml".into(), text).expect("a suite");
    let cell = suite.plan("quick", "synthetic").expect("a plan").cells.swap_remove(0);
    let fetch = Fetch { offline: true, bar: false, say: &|_| {}, warn: &|_| {} };
    let data = data::load(&cell.data, &DataSource::StandIn, &fetch).expect("samples");
    (cell, data)
});

struct Silent;

impl Observer for Silent {
    fn step(&mut self, _: usize, _: usize, _: f64) {}
    fn epoch(&mut self, _: usize, _: &EpochMeasures) {}
}

/// A checkpoint: as it is, and, for what a stranger can make, with the digest and the identity that are looked for; what is taken
/// for one is gone on with.
pub fn checkpoint(bytes: &[u8]) {
    let forged = forged(bytes);
    for bytes in [Some(bytes), forged.as_deref()].into_iter().flatten() {
        match Checkpoint::from_bytes(bytes) {
            Err(reason) => assert!(!reason.is_empty()),
            Ok(checkpoint) => {
                let (cell, data) = &*TINY;
                let setup = Setup { compute: Compute::CPU, registry: &Registry::standard() };
                match train_from(cell, data, &setup, Some(checkpoint), &mut Silent, &mut KeepNothing) {
                    Ok(trained) => assert!(trained.is_some()),
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
            }
        }
    }
}

fn forged(bytes: &[u8]) -> Option<Vec<u8>> {
    let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
    let tensors = SafeTensors::deserialize(bytes).ok()?;
    let text = header.metadata().as_ref()?.get("sharpbench")?;
    let mut state: serde_json::Value = serde_json::from_str(text.split_once(' ')?.1).ok()?;
    let (cell, data) = &*TINY;
    state.as_object_mut()?.insert("identity".into(), identity(cell, data, Compute::CPU).into());
    let state = state.to_string();
    let mut views = tensors.tensors();
    views.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut sha = Sha256::new();
    sha.update(state.as_bytes());
    for (name, view) in &views {
        sha.update([0]);
        sha.update(name.as_bytes());
        sha.update((view.data().len() as u64).to_le_bytes());
        sha.update(view.data());
    }
    let metadata = HashMap::from([("sharpbench".to_string(), format!("{} {state}", data::hex(&sha.finalize())))]);
    safetensors::serialize(views, Some(metadata)).ok()
}

/// A parity case.
pub fn parity(bytes: &[u8]) {
    let folder = folder();
    let path = folder.path().join("a-case.safetensors");
    std::fs::write(&path, bytes).expect("written");
    if let Err(error) = parity::replay(&path, Compute::CPU, &Registry::standard()) {
        assert!(!error.to_string().is_empty());
    }
}
