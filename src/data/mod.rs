//! Data sets: where images come from, what they are, and how batches reach the trainer.
//!
//! A data set is one file and one line of [`DATA_SETS`]. Images are u8, [n, channels, height, width], exactly
//! as published; everything that a cell does to them comes later ([`augment`]).

pub mod augment;
mod cifar10;
mod digest;
mod hub;
pub mod loader;
mod parquet_images;
mod photo_patches;
mod source;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
pub use digest::{hex, sha256_file};
pub use source::{DataSource, Fetch};

/// Labelled images.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// Pixels, [n, channels, height, width].
    pub pixels: Vec<u8>,
    /// Class of each image.
    pub labels: Vec<u8>,
    /// Channels, height, width.
    pub shape: [usize; 3],
}

impl Images {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes of one image.
    pub fn stride(&self) -> usize {
        self.shape.iter().product()
    }

    /// Pixels of one image, [channels, height, width].
    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels[index * self.stride()..(index + 1) * self.stride()]
    }

    /// Keeps the first `n`.
    fn truncate(&mut self, n: usize) {
        self.pixels.truncate(n * self.stride());
        self.labels.truncate(n);
    }
}

/// A data set ready for training.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// Training images.
    pub train: Images,
    /// Test images.
    pub test: Images,
    /// Number of classes.
    pub classes: usize,
    /// Mean of each channel, in [0, 1], to subtract.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, in [0, 1], to divide by.
    pub std: [f32; 3],
    /// Where it came from.
    pub provenance: Provenance,
}

/// Where a data set came from, as recorded with every cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The set that was used: `cifar10`, or its stand-in `photo-patches`.
    pub name: String,
    /// `hub`, `directory` or `embedded`.
    pub source: String,
    /// Commit of the hub repository, where there is one.
    pub revision: Option<String>,
    /// SHA-256 of every file read.
    pub files: Vec<FileDigest>,
    /// SHA-256 of the images and labels used, whichever way they came.
    pub sha256: String,
}

/// A file and its SHA-256.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Name inside its directory or repository.
    pub file: String,
    /// Lower-case hexadecimal digest.
    pub sha256: String,
}

/// What is known of a data set before any image is read.
pub struct Entry {
    /// The name a suite uses.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// Images there are to train on and to test with.
    pub available: [usize; 2],
    /// What `--data stand-in` uses in its place.
    pub stand_in: &'static str,
    load: fn(&Entry, &Fetch<'_>, &DataSource) -> Result<DataSet>,
}

/// Every data set.
pub const DATA_SETS: &[Entry] = &[cifar10::ENTRY, photo_patches::ENTRY];

/// The entry of a name.
///
/// # Errors
/// In words: which names there are.
pub fn find(name: &str) -> std::result::Result<&'static Entry, String> {
    DATA_SETS.iter().find(|d| d.name == name).ok_or_else(|| {
        let names: Vec<_> = DATA_SETS.iter().map(|d| d.name).collect();
        format!("data.name = \"{name}\" is not known; use one of {}", names.join(", "))
    })
}

/// Loads the data set `name`, or its stand-in where the source says so.
///
/// # Errors
/// When the images cannot be had, are damaged, or are too few.
pub fn load(name: &str, source: &DataSource, fetch: &Fetch<'_>) -> Result<DataSet> {
    let entry = find(name).map_err(Error::Data)?;
    let mut set = match source::resolve(entry, source, fetch)? {
        Some(set) => set,
        None => {
            let stand_in = find(entry.stand_in).map_err(Error::Data)?;
            (stand_in.load)(stand_in, fetch, source)?
        }
    };
    for (split, images, wanted) in [("training", &mut set.train, fetch.train), ("test", &mut set.test, fetch.test)] {
        if images.len() < wanted {
            return Err(Error::Data(format!(
                "{} has {} {split} images, the suite wants {wanted}; lower data.{} or use another source",
                set.provenance.name,
                images.len(),
                if split == "test" { "test" } else { "train" },
            )));
        }
        images.truncate(wanted);
    }
    set.provenance.sha256 = digest::content(&[&set.train, &set.test]);
    Ok(set)
}
