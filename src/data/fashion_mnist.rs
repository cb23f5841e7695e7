//! Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017): from the hub, from parquet files as on the hub, or
//! from its idx files.

use super::hub::Repository;
use super::idx::{IdxSet, SIDE};
use super::images::Normalise;
use super::parquet_files::ParquetSet;
use super::{DataSetEntry, Input, originals};

pub(super) const ENTRY: DataSetEntry = DataSetEntry {
    name: "fashion-mnist",
    about: "Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28x28 grey, ten classes",
    input: Input::Image([1, SIDE, SIDE]),
    classes: 10,
    origin: "hub zalando-datasets/fashion_mnist; directory: as mnist",
    available: Some([60_000, 10_000]),
    photographs: false,
    stand_in: "mnist-5k",
    load: |request| Ok(FILES.load(request)?.named(CLASSES)),
    originals: Some(originals::FASHION_MNIST),
    recognises: |directory| FILES.recognises(directory),
};

const CLASSES: [&str; 10] =
    ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];

const FILES: IdxSet = IdxSet {
    parquet: ParquetSet {
        repository: Repository { owner: "zalando-datasets", name: "fashion_mnist", revision: "refs/convert/parquet" },
        files: ["fashion_mnist/train/0000.parquet", "fashion_mnist/test/0000.parquet"],
        label: "label",
        or: "train-images-idx3-ubyte[.gz]",
    },
    sha256: [
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ],
    // Mean and standard deviation of the training pixels.
    normalise: Normalise { mean: [0.2860; 3], std: [0.3530; 3] },
};
