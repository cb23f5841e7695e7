//! Whether images are those that were published, whatever file they come from: re-encoding as JPEG changes them, and results with them are
//! results on another set.
//!
//! A table holds four bytes for every [`BLOCK`] images of a split: the beginning of the SHA-256 of their pixels, [height, width, RGB],
//! and classes.

use sha2::{Digest, Sha256};

use super::{DataSet, Samples};
use crate::error::Result;

/// Images of an entry.
const BLOCK: usize = 20;
/// Bytes of an entry.
const ENTRY: usize = 4;

/// The tables of a set: training and test split.
pub(super) type Originals = [&'static [u8]; 2];

pub(super) const CIFAR10: Originals =
    [include_bytes!("../../data/originals/cifar10-train"), include_bytes!("../../data/originals/cifar10-test")];
pub(super) const MNIST: Originals =
    [include_bytes!("../../data/originals/mnist-train"), include_bytes!("../../data/originals/mnist-test")];
pub(super) const FASHION_MNIST: Originals = [
    include_bytes!("../../data/originals/fashion-mnist-train"),
    include_bytes!("../../data/originals/fashion-mnist-test"),
];

/// Whether all whole blocks of a set are the published ones; `None` if there is none.
///
/// # Errors
/// When a sample cannot be read.
pub(super) fn is_original(set: &DataSet, originals: &Originals) -> Result<Option<bool>> {
    let mut blocks = 0;
    for (split, table) in [&set.train, &set.test].into_iter().zip(originals) {
        let found = entries(split.as_ref())?;
        if table.get(..found.len()) != Some(&found) {
            return Ok(Some(false));
        }
        blocks += found.len() / ENTRY;
    }
    Ok((blocks > 0).then_some(true))
}

/// The entries of a split's whole blocks.
fn entries(split: &dyn Samples) -> Result<Vec<u8>> {
    let mut entries = Vec::new();
    for block in 0..split.len() / BLOCK {
        let mut digest = Sha256::new();
        for index in block * BLOCK..(block + 1) * BLOCK {
            if let (Some(picture), Some(label)) = (split.picture(index)?, split.label(index)) {
                digest.update(picture.as_raw());
                digest.update([label as u8]);
            }
        }
        entries.extend_from_slice(&digest.finalize()[..ENTRY]);
    }
    Ok(entries)
}
