//! CIFAR-10 (Krizhevsky, 2009): from the hub, from parquet files of the hub's shape, or from the original
//! binary batches. The images are the same whichever way they came.

use std::path::{Path, PathBuf};

use super::digest;
use super::hub::{self, Repository};
use super::source::Fetch;
use super::{DataSet, DataSource, Entry, FileDigest, Images, Provenance, parquet_images};
use crate::error::{Error, Result};

pub(super) const ENTRY: Entry = Entry {
    name: "cifar10",
    about: "CIFAR-10: 50,000 training and 10,000 test images, 32x32 RGB, ten classes",
    shape: [3, 32, 32],
    classes: 10,
    available: [50_000, 10_000],
    stand_in: "photo-patches",
    load,
};

const REPOSITORY: Repository = Repository { owner: "uoft-cs", name: "cifar10", revision: "refs/convert/parquet" };
const PARQUET: [&str; 2] = ["plain_text/train/0000.parquet", "plain_text/test/0000.parquet"];

/// Files of `cifar-10-binary.tar.gz` and their SHA-256.
const BATCHES: [(&str, &str); 6] = [
    ("data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
    ("data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
    ("data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
    ("data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
    ("data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
    ("test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
];
/// 10,000 records of a label and 3,072 pixels.
const BATCH_BYTES: usize = 30_730_000;

// The papers' normalisation (their code divides by 255).
const MEAN: [f32; 3] = [125.3 / 255.0, 123.0 / 255.0, 113.9 / 255.0];
const STD: [f32; 3] = [63.0 / 255.0, 62.1 / 255.0, 66.7 / 255.0];

fn load(entry: &Entry, fetch: &Fetch<'_>, source: &DataSource) -> Result<DataSet> {
    let (train, test, provenance) = match source {
        DataSource::Directory(directory) => match binary_directory(directory) {
            Some(directory) => from_batches(entry, &directory, fetch)?,
            None => from_parquet_directory(entry, directory, fetch)?,
        },
        DataSource::Auto | DataSource::Hub | DataSource::StandIn => from_hub(entry, fetch)?,
    };
    Ok(DataSet { train, test, classes: entry.classes, mean: MEAN, std: STD, provenance })
}

fn provenance(source: &str, revision: Option<String>, files: Vec<FileDigest>) -> Provenance {
    Provenance { name: ENTRY.name.into(), source: source.into(), revision, files, sha256: String::new() }
}

fn from_hub(entry: &Entry, fetch: &Fetch<'_>) -> Result<(Images, Images, Provenance)> {
    let files = hub::files(&REPOSITORY, &PARQUET, fetch)?;
    let digests = PARQUET.iter().zip(&files);
    let digests = digests.map(|(name, f)| FileDigest { file: (*name).into(), sha256: f.sha256.clone() }).collect();
    let train = parquet_images::read(&files[0].path, entry.shape, entry.classes, fetch.train)?;
    let test = parquet_images::read(&files[1].path, entry.shape, entry.classes, fetch.test)?;
    Ok((train, test, provenance("hub", files[0].commit.clone(), digests)))
}

/// The directory that holds the binary batches: the given one or the archive's inside it.
fn binary_directory(directory: &Path) -> Option<PathBuf> {
    [directory.to_path_buf(), directory.join("cifar-10-batches-bin")]
        .into_iter()
        .find(|d| BATCHES.iter().any(|(file, _)| d.join(file).exists()))
}

/// Read here and not by candle-datasets, which takes five seconds and 1.5 GB to the same images (the tests' oracle).
fn from_batches(entry: &Entry, directory: &Path, fetch: &Fetch<'_>) -> Result<(Images, Images, Provenance)> {
    let mut files = Vec::new();
    let empty = || Images { pixels: Vec::new(), labels: Vec::new(), shape: entry.shape };
    let (mut train, mut test) = (empty(), empty());
    for (file, original) in BATCHES {
        let path = directory.join(file);
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        if bytes.len() != BATCH_BYTES {
            return Err(Error::Data(format!(
                "{} has {} bytes, expected {BATCH_BYTES}: it is truncated or another file; unpack \
                 cifar-10-binary.tar.gz anew",
                path.display(),
                bytes.len()
            )));
        }
        let sha256 = digest::sha256_bytes(&bytes);
        let expected = digest::listed(directory, file)?.unwrap_or_else(|| original.to_string());
        let remedy = "unpack cifar-10-binary.tar.gz anew (for changed images of your own, add a SHA256SUMS file)";
        digest::check(&path.display().to_string(), &sha256, &expected, remedy)?;
        files.push(FileDigest { file: file.into(), sha256 });
        let (images, limit) =
            if file.starts_with("test") { (&mut test, fetch.test) } else { (&mut train, fetch.train) };
        append(entry, images, limit, &bytes).map_err(|e| Error::Data(format!("{}: {e}", path.display())))?;
    }
    Ok((train, test, provenance("directory", None, files)))
}

/// Appends records of a label and its pixels [3, 32, 32] until `images` has `limit`.
fn append(entry: &Entry, images: &mut Images, limit: usize, records: &[u8]) -> std::result::Result<(), String> {
    let wanted = limit.saturating_sub(images.len());
    for (index, record) in records.chunks_exact(1 + images.stride()).take(wanted).enumerate() {
        let (label, pixels) = (record[0], &record[1..]);
        if usize::from(label) >= entry.classes {
            return Err(format!("image {index} has label {label}, outside 0..{}; the batch is damaged", entry.classes));
        }
        images.labels.push(label);
        images.pixels.extend_from_slice(pixels);
    }
    Ok(())
}

fn from_parquet_directory(entry: &Entry, directory: &Path, fetch: &Fetch<'_>) -> Result<(Images, Images, Provenance)> {
    let mut files = Vec::new();
    let mut splits = Vec::new();
    for (split, name, limit) in [("train", PARQUET[0], fetch.train), ("test", PARQUET[1], fetch.test)] {
        let (path, name) = parquet_file(directory, split, name)?;
        let sha256 = digest::sha256_file(&path)?;
        if let Some(expected) = digest::listed(directory, &name)? {
            let remedy = "fetch it anew or correct SHA256SUMS";
            digest::check(&path.display().to_string(), &sha256, &expected, remedy)?;
        }
        splits.push(parquet_images::read(&path, entry.shape, entry.classes, limit)?);
        files.push(FileDigest { file: name, sha256 });
    }
    let (Some(test), Some(train)) = (splits.pop(), splits.pop()) else {
        return Err(Error::Data("a split is missing".into()));
    };
    Ok((train, test, provenance("directory", None, files)))
}

/// `plain_text/train/0000.parquet` as on the hub, or the one file whose name starts with the split.
fn parquet_file(directory: &Path, split: &str, hub_name: &str) -> Result<(PathBuf, String)> {
    if directory.join(hub_name).is_file() {
        return Ok((directory.join(hub_name), hub_name.to_string()));
    }
    let entries = std::fs::read_dir(directory).map_err(Error::io("list", directory))?;
    let mut found: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    let name = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    found.retain(|p| name(p).starts_with(split) && name(p).ends_with(".parquet"));
    found.sort();
    match found.as_slice() {
        [one] => Ok((one.clone(), name(one))),
        [] => Err(Error::Data(format!(
            "{} holds neither data_batch_1.bin nor {hub_name} nor {split}*.parquet; point --data at the unpacked \
             cifar-10-binary.tar.gz or at parquet files of the hub's shape",
            directory.display()
        ))),
        _ => Err(Error::Data(format!(
            "{} holds several files {split}*.parquet; keep the one to use",
            directory.display()
        ))),
    }
}
