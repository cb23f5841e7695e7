//! MNIST (LeCun, Cortes, Burges, 1998): from the hub, from parquet files as on the hub, or from its
//! idx files.

use super::hub::Repository;
use super::idx::{IdxSet, SIDE};
use super::images::Normalise;
use super::parquet_files::ParquetSet;
use super::{DataSetEntry, Input, originals};

pub(super) const ENTRY: DataSetEntry = DataSetEntry {
    name: "mnist",
    about: "MNIST: 60,000 training and 10,000 test digits, 28x28 grey",
    input: Input::Image([1, SIDE, SIDE]),
    classes: 10,
    origin: "hub ylecun/mnist; directory: train-images-idx3-ubyte[.gz] ... or the hub's parquet files",
    available: Some([60_000, 10_000]),
    photographs: false,
    stand_in: "mnist-5k",
    load: |request| FILES.load(request),
    originals: Some(originals::MNIST),
    recognises: |directory| FILES.recognises(directory),
};

/// Mean and standard deviation of the training pixels.
pub(super) const NORMALISE: Normalise = Normalise { mean: [0.1307; 3], std: [0.3081; 3] };

const FILES: IdxSet = IdxSet {
    parquet: ParquetSet {
        repository: Repository { owner: "ylecun", name: "mnist", revision: "refs/convert/parquet" },
        files: ["mnist/train/0000.parquet", "mnist/test/0000.parquet"],
        label: "label",
        or: "train-images-idx3-ubyte[.gz]",
    },
    sha256: [
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ],
    normalise: NORMALISE,
};
