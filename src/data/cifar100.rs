//! CIFAR-100 (Krizhevsky, 2009) with its 100 fine classes: from the hub, from parquet files as on
//! the hub, or from the original binary files.

use super::cifar10;
use super::hub::Repository;
use super::parquet_files::ParquetSet;
use super::pickle::PickleSet;
use super::records::{RecordFile, RecordSet};
use super::{DataSetEntry, Input};

pub(super) const ENTRY: DataSetEntry = DataSetEntry {
    name: "cifar100",
    about: "CIFAR-100: 50,000 training and 10,000 test images, 32x32 RGB, 100 fine classes",
    input: Input::Image([3, 32, 32]),
    classes: 100,
    origin: "hub uoft-cs/cifar100; directory: train.bin, test.bin or the hub's parquet files",
    available: Some([50_000, 10_000]),
    photographs: false,
    stand_in: "synthetic",
    load: |request| cifar10::of(request, &PARQUET, &RECORDS, &PICKLES),
    originals: None,
    recognises: |directory| {
        RECORDS.recognises(directory) || PARQUET.recognises(directory) || PICKLES.directory(directory).is_some()
    },
};

const PARQUET: ParquetSet = ParquetSet {
    repository: Repository { owner: "uoft-cs", name: "cifar100", revision: "refs/convert/parquet" },
    files: ["cifar100/train/0000.parquet", "cifar100/test/0000.parquet"],
    label: "fine_label",
    or: "train.bin (of cifar-100-binary.tar.gz) nor all files of cifar-100-python",
};

/// The Python version, with its fine classes.
const PICKLES: PickleSet =
    PickleSet { folder: "cifar-100-python", files: &[("train", false), ("test", true)], labels: "fine_labels" };

/// A record consists of the coarse class, the fine class and the pixels. Partial sets are accepted.
const RECORDS: RecordSet = RecordSet {
    folder: "cifar-100-binary",
    archive: "cifar-100-binary.tar.gz",
    files: &[
        RecordFile { name: "train.bin", test: false, sha256: None },
        RecordFile { name: "test.bin", test: true, sha256: None },
    ],
    labels: 2,
    records: None,
};
