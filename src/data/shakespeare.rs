//! tiny_shakespeare (Karpathy, 2015): 40,000 lines of Shakespeare, the last 10,000 for testing
//! (Long and Bartlett, 2024, section 4). From a file or from the hub.

use std::path::{Path, PathBuf};

use super::hub::{self, Repository};
use super::parquet_files::{MOST_TEXT, read_texts};
use super::text::{LENGTH, VOCABULARY, sequences};
use super::{DataSet, DataSetEntry, DataSource, FileDigest, Input, Provenance, Request, checksums};
use crate::bounded;
use crate::digest;
use crate::error::{Error, Result};

pub(super) const ENTRY: DataSetEntry = DataSetEntry {
    name: "shakespeare",
    about: "tiny_shakespeare: 13,358 training and 4,069 test sequences of 64 characters",
    input: Input::Tokens { length: LENGTH, vocabulary: VOCABULARY },
    classes: VOCABULARY,
    origin: "hub karpathy/tiny_shakespeare; directory: input.txt or the hub's parquet files",
    available: Some([sequences(TRAIN_CHARACTERS), sequences(CHARACTERS - TRAIN_CHARACTERS)]),
    photographs: false,
    stand_in: "synthetic-text",
    load,
    originals: None,
    recognises: |directory| file(directory).is_some() || directory.join(PARQUET[0]).is_file(),
};

const REPOSITORY: Repository =
    Repository { owner: "karpathy", name: "tiny_shakespeare", revision: "refs/convert/parquet" };
/// Parts of the text in order. The hub splits it differently.
const PARQUET: [&str; 3] =
    ["default/train/0000.parquet", "default/validation/0000.parquet", "default/test/0000.parquet"];
const NAMES: [&str; 3] = ["tinyshakespeare.txt", "tiny_shakespeare.txt", "input.txt"];
const SHA256: &str = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed";
const CHARACTERS: usize = 1_115_394;
const TRAIN_LINES: usize = 30_000;
/// Characters in the first 30,000 lines.
const TRAIN_CHARACTERS: usize = 854_959;

/// The text file in a directory.
fn file(directory: &Path) -> Option<PathBuf> {
    NAMES.iter().map(|name| directory.join(name)).find(|path| path.is_file())
}

fn load(request: &Request<'_>) -> Result<DataSet> {
    let (bytes, provenance) = match request.source {
        DataSource::Directory(directory) => from_directory(directory)?,
        DataSource::Auto | DataSource::Hub | DataSource::StandIn => from_hub(request)?,
    };
    split(bytes, provenance)
}

fn from_directory(directory: &Path) -> Result<(Vec<u8>, Provenance)> {
    let Some(path) = file(directory) else {
        let paths: Vec<PathBuf> = PARQUET.iter().map(|name| directory.join(name)).collect();
        if !paths[0].is_file() {
            return Err(Error::Data(format!(
                "{} holds neither {} nor {}; point --data at one of them",
                directory.display(),
                NAMES.join(" nor "),
                PARQUET[0]
            )));
        }
        return from_parquet(&paths, "directory", None);
    };
    let bytes = bounded::read(&path, MOST_TEXT).map_err(Error::io("read", &path))?;
    let sha256 = digest::sha256_bytes(&bytes);
    let remedy = "fetch input.txt of tiny_shakespeare again";
    checksums::check(&path.display().to_string(), &sha256, SHA256, remedy)?;
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let files = vec![FileDigest { file: name, sha256 }];
    Ok((bytes, Provenance::made(ENTRY.name, "directory", files)))
}

fn from_hub(request: &Request<'_>) -> Result<(Vec<u8>, Provenance)> {
    let files = hub::files(&REPOSITORY, &PARQUET, request.fetch)?;
    let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
    from_parquet(&paths, "hub", files[0].commit.clone())
}

fn from_parquet(paths: &[PathBuf], source: &str, revision: Option<String>) -> Result<(Vec<u8>, Provenance)> {
    let (mut text, mut files) = (Vec::new(), Vec::new());
    for (path, name) in paths.iter().zip(PARQUET) {
        text.extend(read_texts(path)?);
        files.push(FileDigest { file: name.into(), sha256: digest::sha256_file(path)? });
    }
    let remedy = "it may have been split differently there; use --data DIR with input.txt";
    checksums::check("the text of the three parquet files", &digest::sha256_bytes(&text), SHA256, remedy)?;
    Ok((text, Provenance { revision, ..Provenance::made(ENTRY.name, source, files) }))
}

/// Splits the text: the first 30,000 lines for training, the rest for testing.
pub(super) fn split(mut bytes: Vec<u8>, provenance: Provenance) -> Result<DataSet> {
    let end = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(TRAIN_LINES - 1);
    let test = bytes.split_off(end.map_or(bytes.len(), |(at, _)| at + 1));
    DataSet::of_text([bytes, test], provenance)
}
