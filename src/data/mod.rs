//! Data sets: sources, samples, and batches for the trainer.
//!
//! Each data set is a file and an entry in [`DATA_SETS`]. Augmentation by cells follows in
//! [`augment`].

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
mod label_noise;
pub mod loader;
mod mnist;
mod mnist_5k;
mod originals;
mod parquet_files;
mod photo_patches;
mod pickle;
mod records;
mod resize;
mod shakespeare;
mod source;
mod synthetic;
mod synthetic_text;
pub mod text;
mod validation;
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
pub use label_noise::{LabelNoise, NoiseKind};
use loader::Batch;
pub use source::{DataSource, Fetch};

/// Type and shape of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Channels, height, width.
    Image([usize; 3]),
    /// A sequence of characters, each with the next one to predict.
    Tokens {
        /// Characters per sequence.
        length: usize,
        /// Number of distinct characters.
        vocabulary: usize,
    },
}

/// Data set of a cell, and the amount of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// Data set actually used: the stand-in's name if it is used.
    pub name: String,
    /// Training samples.
    pub train: usize,
    /// Test samples.
    pub test: usize,
    /// Whether these test samples are held out of the training set instead, whose first `train + test` samples are used.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub validation: bool,
    /// Height and width of the images, for a set without fixed ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Number of classes, for a set without a fixed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// Handling of images that cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<OnUnreadable>,
    /// Whether pixels are centred individually instead of normalised by channel.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub centre_pixels: bool,
    /// Noise in the training labels; each seed has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_noise: Option<LabelNoise>,
}

/// Handling of images that cannot be read, for a data set that is read during training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnreadable {
    /// The run ends.
    #[default]
    Error,
    /// Undecodable images are left out of their batches, counted on stderr and named in the record.
    Skip,
}

/// Samples of a split. Those in memory are ready; others are read in parallel when a batch needs
/// them.
pub trait Samples: Send + Sync {
    /// Number of samples.
    fn len(&self) -> usize;

    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Batch of the samples `indices`, augmented as drawn or unaugmented. Unreadable samples that
    /// are to be left out are missing, which may be all.
    ///
    /// # Errors
    /// When a sample cannot be read.
    fn batch(&self, indices: &[u32], augmented: Option<(&Augment, &[Draw])>) -> Result<Batch>;

    /// Class of a sample; `None` for a text.
    fn label(&self, index: usize) -> Option<u32>;

    /// Picture of a sample; `None` for a text or if it is left out.
    ///
    /// # Errors
    /// When it cannot be read.
    fn picture(&self, index: usize) -> Result<Option<RgbImage>>;

    /// Keeps only the first `n` samples.
    fn truncate(&mut self, n: usize);

    /// Adds the samples' identity to a digest: contents if in memory, otherwise file names and
    /// sizes.
    fn digest(&self, digest: &mut Sha256);

    /// Mean over the samples of every pixel / 256; `None` unless they are images in memory.
    fn pixel_means(&self) -> Option<Arc<[f32]>> {
        None
    }

    /// Subtracts these means from now on, instead of the set's normalisation.
    fn centre(&mut self, _means: &Arc<[f32]>) {}

    /// Takes the names of files that could not be read since the last call.
    fn take_unreadable(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A data set ready for training.
#[derive(Clone)]
pub struct DataSet {
    /// Training samples.
    pub train: Arc<dyn Samples>,
    /// Test samples.
    pub test: Arc<dyn Samples>,
    /// Type and shape of a sample.
    pub input: Input,
    /// Number of classes.
    pub classes: usize,
    /// Names of the classes, if any.
    pub class_names: Vec<String>,
    /// Origin of the data.
    pub provenance: Provenance,
}

/// Origin of a data set, stored in every record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Data set used: `cifar10`, or its stand-in `photo-patches`.
    pub name: String,
    /// `hub`, `directory` or `embedded`.
    pub source: String,
    /// Commit of the hub repository, if any.
    pub revision: Option<String>,
    /// SHA-256 of every file read (of idx files, uncompressed); empty for an image folder.
    pub files: Vec<FileDigest>,
    /// SHA-256 of the samples used, independent of their source; for an image folder, of its file
    /// names and sizes.
    pub sha256: String,
    /// Whether the images are the published ones, pixel by pixel; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<bool>,
    /// Unreadable files that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

/// A file and its SHA-256.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Name in its directory or repository.
    pub file: String,
    /// Lower-case hexadecimal digest.
    pub sha256: String,
}

/// Registry entry of a data set: properties known before any sample is read.
pub struct DataSetEntry {
    /// Name used in suites.
    pub name: &'static str,
    /// One-line description.
    pub about: &'static str,
    /// Type and shape of a sample, unless the suite sets it.
    input: Input,
    /// Number of classes, unless the suite sets it.
    classes: usize,
    /// Where to get the data, as text.
    pub origin: &'static str,
    /// Available training and test samples; `None` if the suite sets their number, size and number
    /// of classes.
    available: Option<[usize; 2]>,
    /// Whether images vary in size and are read during training.
    pub photographs: bool,
    /// Data set used for `--data stand-in`, unless the suite names another.
    pub stand_in: &'static str,
    load: fn(&Request<'_>) -> Result<DataSet>,
    /// Digests of the published images, if known.
    originals: Option<originals::Originals>,
    /// Whether a directory contains this set in its own format.
    recognises: fn(&std::path::Path) -> bool,
}

/// Maximum samples per split: indices have 32 bits.
const MOST_SAMPLES: usize = u32::MAX as usize;
/// Maximum pixels of a side of an image, and maximum classes, where a suite sets them.
const MOST_SIZE: usize = 1024;
const MOST_CLASSES: usize = 100_000;

/// All data sets.
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

/// A data set to load, and its source.
struct Request<'a> {
    entry: &'static DataSetEntry,
    spec: &'a DataSpec,
    source: &'a DataSource,
    fetch: &'a Fetch<'a>,
}

impl Request<'_> {
    /// Requested image shape: channels, height, width.
    fn image_shape(&self) -> Result<[usize; 3]> {
        match self.spec.input().map_err(Error::Data)? {
            Input::Image(shape) => Ok(shape),
            Input::Tokens { .. } => Err(Error::Data(format!("{} has no images", self.spec.name))),
        }
    }
}

/// Looks up a data set by name.
///
/// # Errors
/// Lists the known names.
pub fn find(name: &str) -> std::result::Result<&'static DataSetEntry, String> {
    DATA_SETS.iter().find(|d| d.name == name).ok_or_else(|| {
        let names: Vec<_> = DATA_SETS.iter().map(|d| d.name).collect();
        format!("data.name = \"{name}\" is not known; use one of {}", names.join(", "))
    })
}

impl DataSetEntry {
    /// Whether the suite sets the number and size of the samples and the number of classes.
    fn as_told(&self) -> bool {
        self.available.is_none()
    }

    /// Whether the set is embedded and needs no source.
    pub fn is_embedded(&self) -> bool {
        self.stand_in == self.name
    }

    /// Validated specification of the given number of samples; `None` for all.
    ///
    /// # Errors
    /// Names the key that is missing, invalid, or not supported by this set.
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
                "data.{key} is missing; give the number of samples to use (`data verify DIR` counts the files of {name})"
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
            (None, true) => Err(format!("data.{key} is missing; {name} has no value of its own, so add one")),
            (Some(n), true) if (2..=most).contains(&n) => Ok(Some(n)),
            (Some(n), true) => Err(format!("data.{key} = {n} must be from 2 to {most}")),
        };
        if unreadable.is_some() && !self.photographs {
            return Err(format!("data.unreadable applies to imagenet and image-folder, not to {name}; remove it"));
        }
        Ok(DataSpec {
            validation: false,
            centre_pixels: false,
            label_noise: None,
            train: amount("train", train, 0)?,
            test: amount("test", test, 1)?,
            size: told("size", size, MOST_SIZE)?,
            classes: told("classes", classes, MOST_CLASSES)?,
            unreadable,
            name: name.into(),
        })
    }
}

impl DataSpec {
    fn entry(&self) -> std::result::Result<&'static DataSetEntry, String> {
        find(&self.name)
    }

    /// Checks numbers that a suite guarantees, whatever the data set.
    ///
    /// # Errors
    /// Names the number.
    pub(crate) fn check_numbers(&self) -> std::result::Result<(), String> {
        let numbers = [
            ("train", Some(self.train), 1, MOST_SAMPLES),
            ("test", Some(self.test), 1, MOST_SAMPLES),
            ("size", self.size, 2, MOST_SIZE),
            ("classes", self.classes, 2, MOST_CLASSES),
        ];
        let wrong = numbers.into_iter().find_map(|(key, n, least, most)| {
            let n = n.filter(|n| !(least..=most).contains(n))?;
            Some(format!("a cell has data.{key} = {n}, which must be from {least} to {most}"))
        });
        wrong.map_or(Ok(()), Err)
    }

    /// Centres images by pixel.
    ///
    /// # Errors
    /// When the set has no images in memory.
    pub fn with_centred_pixels(self) -> std::result::Result<Self, String> {
        let entry = self.entry()?;
        if entry.photographs || matches!(entry.input, Input::Tokens { .. }) {
            return Err(format!(
                "data.centre_pixels requires images held in memory, which {} does not have; remove it",
                self.name
            ));
        }
        Ok(Self { centre_pixels: true, ..self })
    }

    /// Holds out `n` of the training samples, which take the place of the test samples.
    ///
    /// # Errors
    /// When no training samples would be left.
    pub fn with_validation(self, n: usize) -> std::result::Result<Self, String> {
        if n == 0 || n >= self.train {
            return Err(format!(
                "data.validation = {n} must be from 1 to {}, less than the training samples it is held out of",
                self.train.saturating_sub(1)
            ));
        }
        Ok(Self { train: self.train - n, test: n, validation: true, ..self })
    }

    /// Adds noise to the training labels, after validation samples are held out; none with probability 0.
    ///
    /// # Errors
    /// When the samples have no labels, or the probability is not one.
    pub fn with_label_noise(self, noise: LabelNoise) -> std::result::Result<Self, String> {
        if matches!(self.input()?, Input::Tokens { .. }) {
            return Err(format!("data.label_noise requires labels, and {} is text; remove it", self.name));
        }
        if !(0.0..=1.0).contains(&noise.p) {
            return Err(format!("data.label_noise.p = {} must be from 0 to 1", noise.p));
        }
        Ok(Self { label_noise: Some(noise).filter(|noise| noise.p > 0.0), ..self })
    }

    /// What is loaded: with validation, the training samples that it is held out of, and a test sample that nobody looks at.
    fn loaded(&self) -> Self {
        if !self.validation {
            return self.clone();
        }
        Self { train: self.train.saturating_add(self.test), test: 1, validation: false, ..self.clone() }
    }

    /// What accuracies are measured on, in words.
    pub fn measured_on(&self) -> &'static str {
        if self.validation { "validation" } else { "test" }
    }

    /// Type and shape of a sample.
    ///
    /// # Errors
    /// When the data set is unknown.
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
    /// When the data set is unknown.
    pub fn class_count(&self) -> std::result::Result<usize, String> {
        Ok(self.classes.unwrap_or(self.entry()?.classes))
    }

    /// Specification of data set `name` as a stand-in for this one: the same amount, but at most as
    /// many test samples as that set has. Size and number of classes carry over where it leaves
    /// them open.
    ///
    /// # Errors
    /// When either data set is unknown.
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
            // A smaller test set makes accuracies coarser, and nothing else.
            test: match entry.available {
                Some([_, available]) if !self.validation => self.test.min(available),
                _ => self.test,
            },
            ..self.clone()
        })
    }
}

impl DataSet {
    /// Creates a data set of images in memory.
    pub fn of_images([train, test]: [Images; 2], classes: usize, normalise: Normalise, provenance: Provenance) -> Self {
        let input = Input::Image(train.shape);
        let set = |images| Arc::new(ImageSet { images, normalise, centre: None });
        Self { train: set(train), test: set(test), input, classes, class_names: Vec::new(), provenance }
    }

    /// Creates a data set of two texts, in sequences of [`text::LENGTH`] characters.
    pub(crate) fn of_text([train, test]: [Vec<u8>; 2], provenance: Provenance) -> Result<Self> {
        let text = |bytes| text::Text::new(bytes).map_err(|e| Error::Data(format!("{}: {e}", provenance.name)));
        Ok(Self {
            train: Arc::new(text(train)?),
            test: Arc::new(text(test)?),
            input: Input::Tokens { length: text::LENGTH, vocabulary: text::VOCABULARY },
            classes: text::VOCABULARY,
            class_names: Vec::new(),
            provenance,
        })
    }

    /// Sets the names of the classes.
    fn named<const N: usize>(self, names: [&str; N]) -> Self {
        Self { class_names: names.map(String::from).to_vec(), ..self }
    }

    /// Computes the digest of the current samples.
    fn digest(&mut self) {
        self.provenance.sha256 = checksums::of_samples(&[self.train.as_ref(), self.test.as_ref()]);
    }

    /// Provenance, with the files left out since the last call.
    pub fn take_provenance(&self) -> Provenance {
        Provenance { unreadable: self.take_unreadable(), ..self.provenance.clone() }
    }

    /// Takes the names of unreadable files left out since the last call.
    pub fn take_unreadable(&self) -> Vec<String> {
        let mut unreadable = self.train.take_unreadable();
        unreadable.extend(self.test.take_unreadable());
        unreadable
    }
}

impl Provenance {
    /// Provenance without a revision and before the samples are digested.
    pub fn made(name: &str, source: &str, files: Vec<FileDigest>) -> Self {
        Self {
            name: name.into(),
            source: source.into(),
            revision: None,
            files,
            sha256: String::new(),
            original: None,
            unreadable: Vec::new(),
        }
    }
}

/// Loads a data set, or its stand-in if the source says so.
///
/// # Errors
/// When the samples are unavailable, damaged, or too few.
pub fn load(spec: &DataSpec, source: &DataSource, fetch: &Fetch<'_>) -> Result<DataSet> {
    let stand_in = spec.entry().map_err(Error::Data)?.stand_in;
    load_or(stand_in, spec, source, fetch)
}

/// As [`load`], with the embedded set `stand_in` as the stand-in.
///
/// # Errors
/// As [`load`].
pub fn load_or(stand_in: &str, spec: &DataSpec, source: &DataSource, fetch: &Fetch<'_>) -> Result<DataSet> {
    let mut set = load_whole(stand_in, &spec.loaded(), source, fetch)?;
    if spec.validation {
        set = set.with_validation(spec.test);
        set.digest();
    }
    Ok(set)
}

/// Loads a data set without validation samples.
fn load_whole(stand_in: &str, spec: &DataSpec, source: &DataSource, fetch: &Fetch<'_>) -> Result<DataSet> {
    let (mut set, spec) = load_available(stand_in, spec, source, fetch)?;
    let name = &set.provenance.name;
    for (split, key, samples, wanted) in
        [("training", "train", &mut set.train, spec.train), ("test", "test", &mut set.test, spec.test)]
    {
        if samples.len() < wanted {
            return Err(Error::Data(format!(
                "{name} has {} {split} samples, the suite requires {wanted}; give --data DIR, or lower data.{key} (or take a \
                 smaller profile)",
                samples.len(),
            )));
        }
        unshared(samples).truncate(wanted);
    }
    set.digest();
    let originals = find(&set.provenance.name).ok().and_then(|entry| entry.originals.as_ref());
    if let Some(originals) = originals {
        set.provenance.original = originals::is_original(&set, originals)?;
    }
    if set.provenance.original == Some(false) {
        (fetch.warn)(&format!(
            "data: these are not the published images of {0} (re-encoded, changed or in another order), so these are not results on {0}",
            set.provenance.name
        ));
    }
    if spec.centre_pixels
        && let Some(means) = set.train.pixel_means()
    {
        unshared(&mut set.train).centre(&means);
        unshared(&mut set.test).centre(&means);
    }
    Ok(set)
}

/// Samples that are being loaded, to change them.
fn unshared(samples: &mut Arc<dyn Samples>) -> &mut dyn Samples {
    Arc::get_mut(samples).expect("samples are shared only once they are loaded")
}

/// Loads the data set or its stand-in, without a digest. Also returns the specification of what was loaded, which may ask for more
/// samples than there are.
fn load_available(
    stand_in: &str,
    spec: &DataSpec,
    source: &DataSource,
    fetch: &Fetch<'_>,
) -> Result<(DataSet, DataSpec)> {
    let entry = spec.entry().map_err(Error::Data)?;
    match source::resolve(&Request { entry, spec, source, fetch }, stand_in)? {
        Some(set) => Ok((set, spec.clone())),
        None => {
            let spec = spec.on(stand_in).map_err(Error::Data)?;
            let entry = spec.entry().map_err(Error::Data)?;
            let set = (entry.load)(&Request { entry, spec: &spec, source: &DataSource::StandIn, fetch })?;
            Ok((set, spec))
        }
    }
}
