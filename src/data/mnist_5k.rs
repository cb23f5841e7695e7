//! mnist-5k: the embedded stand-in for MNIST, with 5,000 of its digits (data/mnist-5k/README.md).

use std::io::Read;

use flate2::read::GzDecoder;

use super::idx::{self, SIDE};
use super::{DataSet, DataSetEntry, FileDigest, Images, Input, Provenance, Request, mnist};
use crate::digest;
use crate::error::{Error, Result};

pub(super) const ENTRY: DataSetEntry = DataSetEntry {
    name: "mnist-5k",
    about: "embedded part of MNIST: 4,000 training and 1,000 test digits, 28x28 grey",
    input: Input::Image([1, SIDE, SIDE]),
    classes: 10,
    origin: "embedded",
    available: Some([TRAIN, 1_000]),
    photographs: false,
    stand_in: "mnist-5k",
    load,
    originals: None,
    recognises: |_| false,
};

/// The classes alternate, so every prefix is balanced.
const TRAIN: usize = 4_000;
const FILES: [(&str, &[u8]); 2] = [
    ("images-idx3-ubyte.gz", include_bytes!("../../data/mnist-5k/images-idx3-ubyte.gz")),
    ("labels-idx1-ubyte.gz", include_bytes!("../../data/mnist-5k/labels-idx1-ubyte.gz")),
];

fn load(request: &Request<'_>) -> Result<DataSet> {
    let mut unpacked = Vec::new();
    let mut files = Vec::new();
    for (name, bytes) in FILES {
        let mut content = Vec::new();
        GzDecoder::new(bytes).read_to_end(&mut content).map_err(Error::io("unpack", name))?;
        files.push(FileDigest { file: name.into(), sha256: digest::sha256_bytes(bytes) });
        unpacked.push(content);
    }
    let damaged = |what| Error::Data(format!("embedded mnist-5k: {what}"));
    let pixels = idx::images(&unpacked[0]).map_err(damaged)?;
    let labels = idx::labels(&unpacked[1]).map_err(damaged)?;
    let split = |range: std::ops::Range<usize>| Images {
        pixels: pixels[range.start * SIDE * SIDE..range.end * SIDE * SIDE].to_vec(),
        labels: labels[range].to_vec(),
        shape: [1, SIDE, SIDE],
    };
    let provenance = Provenance::made(request.entry.name, "embedded", files);
    let splits = [split(0..TRAIN), split(TRAIN..labels.len())];
    Ok(DataSet::of_images(splits, request.entry.classes, mnist::NORMALISE, provenance))
}
