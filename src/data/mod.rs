//! Data sets: where samples come from, what they are, and how batches reach the trainer.
//!
//! A data set is one file and one line of [`DATA_SETS`]. What a cell does to its samples comes later ([`augment`]).

pub mod augment;
mod checksums;
mod cifar10;
mod cifar100;
mod contact_sheet;
mod fashion_mnist;
mod hub;
mod idx;
mod image_folder;
mod imagenet;
mod images;
pub mod loader;
mod mnist;
mod mnist_5k;
mod parquet_files;
mod photo_patches;
mod records;
mod resize;
mod secrets;
mod shakespeare;
mod source;
mod synthetic;
mod synthetic_text;
pub mod text;
pub mod verify;

use std::sync::Arc;

use image::RgbImage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

pub use crate::digest::{hex, sha256_file};
use crate::error::{Error, Result};
use augment::{Augment, Draw};
pub use images::{ImageSet, Images, Normalise};
use loader::Batch;
pub use source::{DataSource, Fetch};

/// What a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Channels, height, width.
    Image([usize; 3]),
    /// A sequence of characters, each with the one to predict.
    Tokens {
        /// Characters of a sequence.
        length: usize,
        /// Different characters.
        vocabulary: usize,
    },
}

/// The data set of a cell: which, and how much of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// The set really used: a stand-in's name where it stands in.
    pub name: String,
    /// Training samples.
    pub train: usize,
    /// Test samples.
    pub test: usize,
    /// Height and width of the images, of a set that leaves them to the suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Number of classes, of a set that leaves it to the suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// What is done about images that cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<OnUnreadable>,
    /// Whether images are centred by pixel, in place of the set's normalisation by channel.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub centre_pixels: bool,
}

/// What is done about images that cannot be read, of a set whose images are read while it trains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnreadable {
    /// The run ends.
    #[default]
    Error,
    /// Those that cannot be decoded are left out of their batches, counted on stderr and named in the record.
    Skip,
}

/// The samples of a split. Those held in memory are ready; others are read, in parallel, when a batch wants them.
pub trait Samples: Send + Sync {
    /// Number of samples.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples `indices`, augmented as drawn, or as they are; without those that cannot be read and are to be left
    /// out, which may be all.
    ///
    /// # Errors
    /// When one cannot be read.
    fn batch(&self, indices: &[u32], augmented: Option<(&Augment, &[Draw])>) -> Result<Batch>;

    /// The class of a sample; none where it is a text.
    fn label(&self, index: usize) -> Option<u32>;

    /// A sample as people see it; none where it is a text, or left out.
    ///
    /// # Errors
    /// When it cannot be read.
    fn picture(&self, index: usize) -> Result<Option<RgbImage>>;

    /// Keeps the first `n`.
    fn truncate(&mut self, n: usize);

    /// Adds what tells these samples from others: contents where they are in memory, else names and sizes.
    fn digest(&self, digest: &mut Sha256);

    /// The mean over the samples of every pixel / 256; none where they are no images in memory.
    fn pixel_means(&self) -> Option<Arc<[f32]>> {
        None
    }

    /// Has these means subtracted from then on, in place of the set's normalisation.
    fn centre(&mut self, _means: &Arc<[f32]>) {}

    /// Files that could not be read since the last time this was asked.
    fn take_unreadable(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A data set ready for training.
pub struct DataSet {
    /// Training samples.
    pub train: Box<dyn Samples>,
    /// Test samples.
    pub test: Box<dyn Samples>,
    /// What a sample is.
    pub input: Input,
    /// Number of classes.
    pub classes: usize,
    /// Names of the classes, where they have some.
    pub class_names: Vec<String>,
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
    /// SHA-256 of every file read (of idx files, unpacked); of an image folder, none.
    pub files: Vec<FileDigest>,
    /// SHA-256 of the samples used, whichever way they came; of an image folder, of the names and sizes of its files.
    pub sha256: String,
    /// Files that were left out because they could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

/// A file and its SHA-256.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Name inside its directory or repository.
    pub file: String,
    /// Lower-case hexadecimal digest.
    pub sha256: String,
}

/// What is known of a data set before any sample is read.
pub struct DataSetEntry {
    /// The name a suite uses.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// What a sample is, where the suite does not say.
    input: Input,
    /// Number of classes, where the suite does not say.
    classes: usize,
    /// Where it can be had, for people.
    pub origin: &'static str,
    /// Samples there are to train on and to test with; none where the suite says how many, of what size and how many
    /// classes.
    available: Option<[usize; 2]>,
    /// Whether images come in sizes of their own and are read while it trains.
    pub photographs: bool,
    /// What `--data stand-in` uses in its place.
    pub stand_in: &'static str,
    load: fn(&Request<'_>) -> Result<DataSet>,
    /// Whether a directory holds this set in its own form.
    recognises: fn(&std::path::Path) -> bool,
}

/// Samples of a split, at most: they are numbered in 32 bits.
const MOST_SAMPLES: usize = u32::MAX as usize;

/// Every data set.
pub const DATA_SETS: &[DataSetEntry] = &[
    cifar10::ENTRY,
    cifar100::ENTRY,
    mnist::ENTRY,
    fashion_mnist::ENTRY,
    shakespeare::ENTRY,
    imagenet::ENTRY,
    image_folder::ENTRY,
    photo_patches::ENTRY,
    mnist_5k::ENTRY,
    synthetic::ENTRY,
    synthetic_text::ENTRY,
];

/// What is to be loaded, and from where.
struct Request<'a> {
    entry: &'static DataSetEntry,
    spec: &'a DataSpec,
    source: &'a DataSource,
    fetch: &'a Fetch<'a>,
}

impl Request<'_> {
    /// Channels, height and width of the images that are wanted.
    fn image_shape(&self) -> Result<[usize; 3]> {
        match self.spec.input().map_err(Error::Data)? {
            Input::Image(shape) => Ok(shape),
            Input::Tokens { .. } => Err(Error::Data(format!("{} has no images", self.spec.name))),
        }
    }
}

/// The entry of a name.
///
/// # Errors
/// In words: which names there are.
pub fn find(name: &str) -> std::result::Result<&'static DataSetEntry, String> {
    DATA_SETS.iter().find(|d| d.name == name).ok_or_else(|| {
        let names: Vec<_> = DATA_SETS.iter().map(|d| d.name).collect();
        format!("data.name = \"{name}\" is not known; use one of {}", names.join(", "))
    })
}

impl DataSetEntry {
    /// Whether the suite says how many samples of which size there are, in how many classes.
    fn as_told(&self) -> bool {
        self.available.is_none()
    }

    /// Whether it needs no source.
    pub fn is_embedded(&self) -> bool {
        self.stand_in == self.name
    }

    /// The specification of so many samples, all where not said, checked.
    ///
    /// # Errors
    /// In words: which key is missing, impossible, or not one of this set.
    pub fn spec(
        &self,
        [train, test]: [Option<usize>; 2],
        size: Option<usize>,
        classes: Option<usize>,
        unreadable: Option<OnUnreadable>,
    ) -> std::result::Result<DataSpec, String> {
        let name = self.name;
        let amount = |key: &str, asked: Option<usize>, split: usize| match (asked, self.available) {
            (None, Some(available)) => Ok(available[split]),
            (None, None) => Err(format!(
                "data.{key} is missing; say how many samples to use (`data verify DIR` counts the files of {name})"
            )),
            (Some(n), None) if (1..=MOST_SAMPLES).contains(&n) => Ok(n),
            (Some(n), None) => Err(format!("data.{key} = {n} must be from 1 to {MOST_SAMPLES}")),
            (Some(n), Some(available)) if (1..=available[split]).contains(&n) => Ok(n),
            (Some(n), Some(available)) => {
                Err(format!("data.{key} = {n} must be from 1 to {}, the samples {name} has", available[split]))
            }
        };
        let told = |key: &str, asked: Option<usize>, most: usize| match (asked, self.as_told()) {
            (None, false) => Ok(None),
            (Some(_), false) => Err(format!("data.{key} does not apply to {name}, which has its own; remove it")),
            (None, true) => Err(format!("data.{key} is missing; {name} leaves it to the suite, so say it")),
            (Some(n), true) if (2..=most).contains(&n) => Ok(Some(n)),
            (Some(n), true) => Err(format!("data.{key} = {n} must be from 2 to {most}")),
        };
        if unreadable.is_some() && !self.photographs {
            return Err(format!("data.unreadable applies to imagenet and image-folder, not to {name}; remove it"));
        }
        Ok(DataSpec {
            centre_pixels: false,
            train: amount("train", train, 0)?,
            test: amount("test", test, 1)?,
            size: told("size", size, 1024)?,
            classes: told("classes", classes, 100_000)?,
            unreadable,
            name: name.into(),
        })
    }
}

impl DataSpec {
    fn entry(&self) -> std::result::Result<&'static DataSetEntry, String> {
        find(&self.name)
    }

    /// The same with images centred by pixel.
    ///
    /// # Errors
    /// When the set has no images in memory.
    pub fn with_centred_pixels(self) -> std::result::Result<Self, String> {
        let entry = self.entry()?;
        if entry.photographs || matches!(entry.input, Input::Tokens { .. }) {
            return Err(format!(
                "data.centre_pixels is of images held in memory, which {} has not; remove it",
                self.name
            ));
        }
        Ok(Self { centre_pixels: true, ..self })
    }

    /// What a sample is.
    ///
    /// # Errors
    /// When there is no such data set.
    pub fn input(&self) -> std::result::Result<Input, String> {
        let entry = self.entry()?;
        Ok(match (entry.input, self.size) {
            (Input::Image([channels, ..]), Some(size)) => Input::Image([channels, size, size]),
            (input, _) => input,
        })
    }

    /// Number of classes.
    ///
    /// # Errors
    /// When there is no such data set.
    pub fn class_count(&self) -> std::result::Result<usize, String> {
        Ok(self.classes.unwrap_or(self.entry()?.classes))
    }

    /// The same amount of the data set `name`, which stands in for this one: of the same size and as many classes where
    /// that is open.
    ///
    /// # Errors
    /// When one of the two is not known.
    pub fn on(&self, name: &str) -> std::result::Result<Self, String> {
        if name == self.name {
            return Ok(self.clone());
        }
        let entry = find(name)?;
        let size = match self.input()? {
            Input::Image([_, height, _]) => Some(height),
            Input::Tokens { .. } => None,
        };
        let classes = Some(self.class_count()?);
        Ok(Self {
            name: name.into(),
            size: size.filter(|_| entry.as_told()),
            classes: classes.filter(|_| entry.as_told()),
            unreadable: self.unreadable.filter(|_| entry.photographs),
            ..self.clone()
        })
    }
}

impl DataSet {
    /// A data set of images in memory.
    pub fn of_images([train, test]: [Images; 2], classes: usize, normalise: Normalise, provenance: Provenance) -> Self {
        let input = Input::Image(train.shape);
        let set = |images| Box::new(ImageSet { images, normalise, centre: None });
        Self { train: set(train), test: set(test), input, classes, class_names: Vec::new(), provenance }
    }

    /// A data set of two texts, in sequences of [`text::LENGTH`] characters.
    pub(crate) fn of_text([train, test]: [Vec<u8>; 2], provenance: Provenance) -> Result<Self> {
        let text = |bytes| text::Text::new(bytes).map_err(|e| Error::Data(format!("{}: {e}", provenance.name)));
        Ok(Self {
            train: Box::new(text(train)?),
            test: Box::new(text(test)?),
            input: Input::Tokens { length: text::LENGTH, vocabulary: text::VOCABULARY },
            classes: text::VOCABULARY,
            class_names: Vec::new(),
            provenance,
        })
    }

    /// The same with names of the classes.
    fn named<const N: usize>(self, names: [&str; N]) -> Self {
        Self { class_names: names.map(String::from).to_vec(), ..self }
    }

    /// Works out the digest of the samples as they are now.
    fn digest(&mut self) {
        self.provenance.sha256 = checksums::of_samples(&[self.train.as_ref(), self.test.as_ref()]);
    }

    /// Where it came from, with the files left out since the last time this was asked.
    pub fn take_provenance(&self) -> Provenance {
        Provenance { unreadable: self.take_unreadable(), ..self.provenance.clone() }
    }

    /// Files that could not be read and were left out, since they were last asked for.
    pub fn take_unreadable(&self) -> Vec<String> {
        let mut unreadable = self.train.take_unreadable();
        unreadable.extend(self.test.take_unreadable());
        unreadable
    }
}

impl Provenance {
    /// Of a set without a revision, its samples yet to be digested.
    pub fn made(name: &str, source: &str, files: Vec<FileDigest>) -> Self {
        Self {
            name: name.into(),
            source: source.into(),
            revision: None,
            files,
            sha256: String::new(),
            unreadable: Vec::new(),
        }
    }
}

/// Loads a data set, or its stand-in where the source says so.
///
/// # Errors
/// When the samples cannot be had, are damaged, or are too few.
pub fn load(spec: &DataSpec, source: &DataSource, fetch: &Fetch<'_>) -> Result<DataSet> {
    let mut set = load_available(spec, source, fetch)?;
    let name = &set.provenance.name;
    for (split, key, samples, wanted) in
        [("training", "train", &mut set.train, spec.train), ("test", "test", &mut set.test, spec.test)]
    {
        if samples.len() < wanted {
            return Err(Error::Data(format!(
                "{name} has {} {split} samples, the suite wants {wanted}; give --data DIR, or lower data.{key} (or take a \
                 smaller profile)",
                samples.len(),
            )));
        }
        samples.truncate(wanted);
    }
    set.digest();
    if spec.centre_pixels
        && let Some(means) = set.train.pixel_means()
    {
        set.train.centre(&means);
        set.test.centre(&means);
    }
    Ok(set)
}

/// The same, undigested, where there may be fewer samples than are wanted.
fn load_available(spec: &DataSpec, source: &DataSource, fetch: &Fetch<'_>) -> Result<DataSet> {
    let entry = spec.entry().map_err(Error::Data)?;
    let request = Request { entry, spec, source, fetch };
    match source::resolve(&request)? {
        Some(set) => Ok(set),
        None => {
            let spec = &spec.on(entry.stand_in).map_err(Error::Data)?;
            let entry = spec.entry().map_err(Error::Data)?;
            (entry.load)(&Request { entry, spec, source: &DataSource::StandIn, fetch })
        }
    }
}
