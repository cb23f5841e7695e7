//! CIFAR-10 (Krizhevsky, 2009): from the hub, from parquet files as on the hub, or from the
//! original binary batches. The images are identical for every source.

use std::path::Path;

use super::hub::Repository;
use super::images::Normalise;
use super::parquet_files::ParquetSet;
use super::pickle::PickleSet;
use super::records::{RecordFile, RecordSet};
use super::{DataSet, DataSetEntry, Input, Request, originals};
use crate::error::Result;

pub(super) const ENTRY: DataSetEntry = DataSetEntry {
    name: "cifar10",
    about: "CIFAR-10: 50,000 training and 10,000 test images, 32x32 RGB, ten classes",
    input: Input::Image([3, 32, 32]),
    classes: 10,
    origin: "hub uoft-cs/cifar10; directory: data_batch_1.bin ... or the hub's parquet files",
    available: Some([50_000, 10_000]),
    photographs: false,
    stand_in: "photo-patches",
    load,
    originals: Some(originals::CIFAR10),
    recognises: |directory| {
        BATCHES.recognises(directory) || PARQUET.recognises(directory) || PICKLES.directory(directory).is_some()
    },
};

const PARQUET: ParquetSet = ParquetSet {
    repository: Repository { owner: "uoft-cs", name: "cifar10", revision: "refs/convert/parquet" },
    files: ["plain_text/train/0000.parquet", "plain_text/test/0000.parquet"],
    label: "label",
    or: "data_batch_1.bin (of cifar-10-binary.tar.gz) nor all files of cifar-10-batches-py",
};

const BATCHES: RecordSet = RecordSet {
    folder: "cifar-10-batches-bin",
    archive: "cifar-10-binary.tar.gz",
    files: &[
        batch("data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
        batch("data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
        batch("data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
        batch("data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
        batch("data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
        RecordFile {
            test: true,
            ..batch("test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b")
        },
    ],
    labels: 1,
    records: Some(10_000),
};

/// The Python version.
const PICKLES: PickleSet = PickleSet {
    folder: "cifar-10-batches-py",
    files: &[
        ("data_batch_1", false),
        ("data_batch_2", false),
        ("data_batch_3", false),
        ("data_batch_4", false),
        ("data_batch_5", false),
        ("test_batch", true),
    ],
    labels: "labels",
};

const fn batch(name: &'static str, sha256: &'static str) -> RecordFile {
    RecordFile { name, test: false, sha256: Some(sha256) }
}

/// The papers' normalisation of CIFAR-10 and CIFAR-100 (their code divides by 255).
pub(super) const NORMALISE: Normalise =
    Normalise { mean: [125.3 / 255.0, 123.0 / 255.0, 113.9 / 255.0], std: [63.0 / 255.0, 62.1 / 255.0, 66.7 / 255.0] };

fn load(request: &Request<'_>) -> Result<DataSet> {
    const CLASSES: [&str; 10] =
        ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
    Ok(of(request, &PARQUET, &BATCHES, &PICKLES)?.named(CLASSES))
}

/// Loads a CIFAR set in whichever form the source has.
pub(super) fn of(
    request: &Request<'_>,
    parquet: &ParquetSet,
    records: &RecordSet,
    pickles: &PickleSet,
) -> Result<DataSet> {
    let own = |path: &Path| match records.directory(path) {
        Some(directory) => Some(records.read(request, &directory)),
        None => Some(pickles.read(request, &pickles.directory(path)?)),
    };
    let (splits, provenance) = parquet.load(request, own)?;
    Ok(DataSet::of_images(splits, request.entry.classes, NORMALISE, provenance))
}
