//! What holds of every entry of every registry: adding one needs no test here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::DType;
use clap::ValueEnum;
use clap_complete::Shell;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;
use sharpbench::Registry;
use sharpbench::data::{self, DATA_SETS, DataSource, Fetch, Input};
use sharpbench::mask::{MaskScore, Pattern, fisher_keep};
use sharpbench::model::{self, ModelSpec, Task};
use sharpbench::random::{Stream, stream, unit};
use sharpbench::record::RunFolder;
use sharpbench::report::{EXPORTERS, Layout, Options, Report, event_files, figures};

use crate::support::Place;

fn committed(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// The cells in a file for programs; none of a format for people.
fn cells_in(format: &str, bytes: &[u8]) -> Option<usize> {
    match format {
        "csv" => Some(csv::Reader::from_reader(bytes).records().filter(|record| record.is_ok()).count()),
        "json" => {
            let report: Value = serde_json::from_slice(bytes).expect("JSON");
            let rows = report["rows"].as_array().expect("rows");
            Some(rows.iter().map(|row| row["cells"].as_array().expect("cells").len()).sum())
        }
        "parquet" => {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(bytes).expect("written");
            let reader = SerializedFileReader::new(file).expect("a parquet file");
            let rows = reader.get_row_iter(None).expect("rows");
            Some(rows.filter(|row| row.is_ok()).count())
        }
        _ => None,
    }
}

#[test]
fn every_exporter_writes_every_committed_run() {
    let runs = ["reports/reference", "reports/baseline"].map(committed).concat();
    let runs: Vec<PathBuf> = runs.into_iter().filter(|path| path.join("run.json").is_file()).collect();
    assert!(runs.len() >= 14, "{runs:?}");
    for path in runs {
        let run = path.display();
        let folder = RunFolder::at(&path);
        let manifest = folder.manifest().expect("a manifest").expect("a run");
        let records = folder.scan().expect("records").records;
        let report = Report::new(&manifest, &records, &Options::default());
        assert_eq!(report.cells_finished, manifest.cells.len(), "{run}");
        let records = Report::of_plan(&manifest, &records);
        let optimizers: BTreeSet<&str> = report.rows.iter().map(|row| row.setting.optimizer.as_str()).collect();
        let mut parsed = BTreeSet::new();
        for exporter in EXPORTERS {
            let name = exporter.name;
            let bytes =
                report.render(exporter, Layout::default(), &records).unwrap_or_else(|e| panic!("{run}: {name}: {e}"));
            if let Some(cells) = cells_in(name, &bytes) {
                assert_eq!(cells, manifest.cells.len(), "{run}: {name}");
                parsed.insert(name);
            }
            if exporter.is_text {
                let text = String::from_utf8(bytes).expect("text");
                for optimizer in &optimizers {
                    assert!(text.contains(optimizer), "{run}: {name} has no {optimizer}");
                }
            }
        }
        assert_eq!(parsed, BTreeSet::from(["csv", "json", "parquet"]));
        let events = event_files(&records);
        let names: BTreeSet<&str> = events.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names.len(), manifest.cells.len(), "{run}: an event file for each cell");
        assert!(events.iter().all(|file| !file.content.is_empty()), "{run}");
        let figures = figures(&report, &records);
        assert!(!figures.is_empty(), "{run}");
        for figure in figures {
            // Drawing it reads the SVG with a parser of its own.
            let picture = image::load_from_memory(&figure.png().expect("a PNG")).expect("a picture").to_rgb8();
            let colours: BTreeSet<[u8; 3]> = picture.pixels().map(|pixel| pixel.0).collect();
            assert!(colours.len() > 5, "{run}: {} is empty", figure.name);
        }
    }
}

/// A few samples of each, of its stand-in where it is not embedded.
#[test]
fn every_data_set_loads_in_small() {
    let fetch = Fetch { offline: true, bar: false, say: &|_| {}, warn: &|_| {} };
    for entry in DATA_SETS {
        let name = entry.name;
        let amount = [Some(6), Some(4)];
        let spec = entry
            .spec(amount, None, None, None)
            .or_else(|_| entry.spec(amount, Some(8), Some(3), None))
            .expect("a specification");
        let load = || data::load(&spec, &DataSource::StandIn, &fetch).unwrap_or_else(|e| panic!("{name}: {e}"));
        let set = load();
        assert!(!entry.about.is_empty(), "{name}");
        assert!(data::find(entry.stand_in).expect("the stand-in").is_embedded(), "{name}");
        assert_eq!(set.provenance.name, entry.stand_in);
        assert_eq!([set.train.len(), set.test.len()], [6, 4], "{name}");
        let used = spec.on(entry.stand_in).expect("a specification");
        assert_eq!((used.input(), used.class_count()), (Ok(set.input), Ok(set.classes)), "{name}");
        for samples in [&set.train, &set.test] {
            let batch = samples.batch(&[0, 1, 2, 3], None).expect("a batch");
            let values: Vec<f32> =
                batch.input.to_dtype(DType::F32).and_then(|x| x.flatten_all()?.to_vec1()).expect("values");
            let (shape, labels) = match set.input {
                Input::Image([channels, height, width]) => (vec![4, channels, height, width], 4),
                Input::Tokens { length, .. } => (vec![4, length], 4 * length),
            };
            assert_eq!((batch.input.dims(), batch.labels.len()), (shape.as_slice(), labels), "{name}");
            assert!(batch.labels.iter().all(|label| (*label as usize) < set.classes), "{name}");
            assert!(values.iter().all(|value| value.is_finite()), "{name}");
            assert!(values.iter().any(|value| *value != values[0]), "{name}: nothing to tell apart");
        }
        assert_eq!(load().provenance.sha256, set.provenance.sha256, "{name}: other samples the second time");
    }
}

/// Scores as a training has them: squares, magnitudes; none where the choice is random.
fn scores(score: MaskScore, n: usize, seed: u64) -> Option<Vec<f32>> {
    let rng = &mut stream(seed, Stream::Mask(7));
    let value = match score {
        MaskScore::Fisher => |x: f32| x * x,
        MaskScore::Gradient | MaskScore::Weight => |x: f32| (2.0 * x - 1.0).abs(),
        MaskScore::Random => return None,
    };
    Some((0..n).map(|_| value(unit(rng))).collect())
}

/// Units are whole, so that a count is exceeded by less than a tensor; a pattern that fixes its sparsity has one count.
#[test]
fn every_pattern_masks_by_every_score() {
    let spec: ModelSpec = serde_json::from_str(r#"{"name": "resnet8", "width": 4}"#).expect("a specification");
    let model = model::build(&spec, Task { input: Input::Image([3, 8, 8]), classes: 10 }).expect("a model");
    let (layout, n) = (model.layout(), model.layout().len());
    let largest = layout.specs().iter().map(|spec| spec.len()).max().expect("tensors");
    let registry = Registry::standard();
    let masks = registry.optimizers().iter().filter_map(|optimizer| optimizer.masks);
    let all: BTreeMap<String, MaskScore> =
        masks.flat_map(|masks| masks.scores).map(|score| (score.to_string(), *score)).collect();
    for pattern in Pattern::EXAMPLES {
        for (name, score) in &all {
            for sparsity in [0.0, 0.5, 0.9, 1.0] {
                let what = format!("{pattern} by {name} at {sparsity}");
                let keep = fisher_keep(n, sparsity);
                let scores = scores(*score, n, 3);
                let choose =
                    |seed, keep| pattern.choose(layout, keep, scores.as_deref(), &mut stream(seed, Stream::Mask(0)));
                let mask = choose(1, keep);
                let live = mask.live_count();
                assert_eq!(mask.flags().len(), n, "{what}");
                match pattern.fixed_sparsity() {
                    Some(fixed) => {
                        // Incomplete groups and tensors of one axis have more.
                        assert!(live as f64 >= (1.0 - fixed) * n as f64 && live < n, "{what}: {live} of {n}");
                        assert_eq!(live, choose(1, n - keep).live_count(), "{what}");
                    }
                    None => assert!((keep..keep + largest).contains(&live) && live <= n, "{what}: {live} for {keep}"),
                }
                if pattern == Pattern::Unstructured {
                    assert_eq!(live, keep, "{what}");
                }
                assert_eq!(choose(1, keep), mask, "{what}: another mask from the same seed");
                let is_choice = 0 < live && live < n;
                if let Some(scores) = &scores {
                    assert_eq!(choose(2, keep), mask, "{what}: scores leave nothing to chance");
                    let share = mask.share_of(scores).expect("a share");
                    assert!(!is_choice || share > mask.live_fraction(), "{what}: {share} of the scores");
                } else if is_choice {
                    assert!((2..6).any(|seed| choose(seed, keep) != mask), "{what}: the seed does not matter");
                }
            }
        }
    }
}

/// What a schema allows in the place of a value: itself, or what it refers to.
fn allowed<'s>(root: &'s Value, schema: &'s Value) -> Vec<&'s Value> {
    let referred = schema["$ref"].as_str().and_then(|path| root.pointer(path.strip_prefix('#')?));
    let choices = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten();
    let others = referred.into_iter().chain(choices).flat_map(|other| allowed(root, other));
    std::iter::once(schema).chain(others).collect()
}

/// Keys in a value that its schema does not have, with where they are.
fn unknown_keys(root: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let allowed = allowed(root, schema);
    let fewest = |schemas: Vec<&Value>, value: &Value, place: &str| {
        let found = schemas.into_iter().map(|schema| unknown_keys(root, schema, value, place));
        found.min_by_key(Vec::len).unwrap_or_else(|| vec![place.to_string()])
    };
    match value {
        Value::Object(fields) => {
            let of_key = |key: &str| {
                let known: Vec<&Value> = allowed.iter().filter_map(|schema| schema["properties"].get(key)).collect();
                let open = || allowed.iter().map(|schema| &schema["additionalProperties"]).filter(|s| s.is_object());
                if known.is_empty() { open().collect() } else { known }
            };
            fields.iter().flat_map(|(key, value)| fewest(of_key(key), value, &format!("{place}.{key}"))).collect()
        }
        Value::Array(items) => {
            let schemas: Vec<&Value> = allowed.iter().filter_map(|schema| schema.get("items")).collect();
            // Plain values have no keys.
            let items = items.iter().filter(|item| item.is_object() || item.is_array());
            items.flat_map(|item| fewest(schemas.clone(), item, place)).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn every_key_of_every_suite_is_in_the_schema() {
    let schema: Value = serde_json::from_str(include_str!("../../suites/suite.schema.json")).expect("JSON");
    let unknown = |text: &str| {
        let suite: Value = toml::from_str(text).expect("TOML");
        unknown_keys(&schema, &schema, &suite, "suite")
    };
    let suites = committed("suites").into_iter().filter(|path| path.extension().is_some_and(|x| x == "toml"));
    let mut seen = 0;
    for path in suites {
        let text = std::fs::read_to_string(&path).expect("a suite");
        assert_eq!(unknown(&text), Vec::<String>::new(), "{}", path.display());
        seen += 1;
    }
    assert_eq!(seen, sharpbench::suite::embedded_names().len());
    let wrong = "name = \"x\"\n[base]\nmodel = { name = \"mlp\", hiden = [1] }\n[profiles.quick]\ngrid = [{ rho = 1, sparcity = 0 }]";
    assert_eq!(unknown(wrong), ["suite.base.model.hiden", "suite.profiles.quick.grid.sparcity"]);
}

/// A command's help, and its subcommands.
fn help(place: &Place, command: &str) -> (String, Vec<String>) {
    let output = place.sharpbench(&format!("{command} --help")).assert().success().get_output().stdout.clone();
    let text = String::from_utf8(output).expect("text");
    let listed = text.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A description goes on in lines that are further in, whose first word is empty here.
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names = names.filter(|name| !["", "help"].contains(name));
    let names = names.map(|name| format!("{command} {name}").trim().to_string()).collect();
    (text, names)
}

#[test]
fn every_subcommand_says_what_it_is() {
    let place = Place::new();
    let (_, mut left) = help(&place, "");
    assert!(left.len() >= 15, "{left:?}");
    while let Some(command) = left.pop() {
        let (text, below) = help(&place, &command);
        let about = text.split("Usage:").next().expect("a text").trim();
        assert!(about.starts_with(|c: char| c.is_uppercase()), "{command}: {about}");
        assert!(!about.contains("such as"), "{command}: no place for examples: {about}");
        assert!(text.contains(&format!("Usage: sharpbench {command}")), "{command}: {text}");
        left.extend(below);
    }
}

#[test]
fn every_shell_completes_every_subcommand() {
    let place = Place::new();
    let (_, commands) = help(&place, "");
    for shell in Shell::value_variants() {
        let script = place.sharpbench(&format!("completions {shell}")).assert().success().get_output().stdout.clone();
        let script = String::from_utf8(script).expect("text");
        assert!(script.contains("sharpbench"), "{shell}");
        for command in &commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}
