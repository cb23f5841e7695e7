//! Verification of a whole data set: counts, digests, class balance, unreadable samples, and a
//! contact sheet.

use std::path::Path;

use image::RgbImage;
use rayon::prelude::*;

use super::contact_sheet::{ROWS, contact_sheet};
use super::{DATA_SETS, DataSetEntry, DataSource, Fetch, OnUnreadable, Provenance, Samples, image_folder};
use crate::error::{Error, Result};

/// Result of a verification.
pub struct Verified {
    /// Origin, with digests.
    pub provenance: Provenance,
    /// Training and test samples.
    pub splits: [Split; 2],
    /// Number of classes.
    pub classes: usize,
    /// Names of the classes, if any.
    pub class_names: Vec<String>,
    /// Contact sheet with a row per class, at most [`Verified::SHEET_ROWS`]; `None` for a text.
    pub contact_sheet: Option<RgbImage>,
}

/// Result for a split.
pub struct Split {
    /// Number of samples.
    pub samples: usize,
    /// Number of samples in the whole set, if known.
    pub published: Option<usize>,
    /// Samples per class; empty for a text.
    pub by_class: Vec<usize>,
    /// Samples that could not be read, with the reason.
    pub unreadable: Vec<String>,
}

impl Verified {
    /// Maximum rows of a contact sheet.
    pub const SHEET_ROWS: usize = ROWS;

    /// Whether every class has samples and all samples can be read.
    pub fn is_sound(&self) -> bool {
        let sound = |s: &Split| s.samples > 0 && s.unreadable.is_empty() && s.by_class.iter().all(|n| *n > 0);
        self.splits.iter().all(sound)
    }
}

/// Reads every sample of a data set.
///
/// # Errors
/// When the data set is unavailable or invalid.
pub fn verify(entry: &DataSetEntry, source: &DataSource, fetch: &Fetch<'_>) -> Result<Verified> {
    let mut spec = match (entry.as_told(), source) {
        (false, _) => entry.spec([None; 2], None, None, None).map_err(Error::Data)?,
        (true, DataSource::Directory(directory)) if entry.photographs => image_folder::inspect(entry, directory)?,
        (true, _) => {
            let example = [Some(1000), Some(200)];
            entry.spec(example, Some(32), Some(10), None).map_err(Error::Data)?
        }
    };
    // Partial sets are accepted too, so the amounts are those that are present.
    spec.unreadable = entry.photographs.then_some(OnUnreadable::Error);
    let (mut set, _) = super::load_available(entry.stand_in, &spec, source, fetch)?;
    set.digest();
    let available = super::find(&set.provenance.name).ok().and_then(|found| found.available);
    let published = |i: usize| available.map(|available| available[i]);
    let splits =
        [split(set.train.as_ref(), set.classes, published(0)), split(set.test.as_ref(), set.classes, published(1))];
    Ok(Verified {
        splits,
        classes: set.classes,
        contact_sheet: contact_sheet(&set)?,
        provenance: set.take_provenance(),
        class_names: set.class_names,
    })
}

fn split(samples: &dyn Samples, classes: usize, published: Option<usize>) -> Split {
    let n = samples.len();
    let mut by_class = Vec::new();
    for label in (0..n).filter_map(|index| samples.label(index)) {
        by_class.resize(classes, 0);
        by_class[label as usize] += 1;
    }
    let unreadable = (0..n).into_par_iter().filter_map(|index| samples.picture(index).err()).map(|e| e.to_string());
    Split { samples: n, published, by_class, unreadable: unreadable.collect() }
}

/// Data set whose own format a directory has.
///
/// # Errors
/// When it matches no data set.
pub fn recognised(directory: &Path) -> Result<&'static DataSetEntry> {
    DATA_SETS.iter().find(|entry| (entry.recognises)(directory)).ok_or_else(|| {
        Error::Data(format!(
            "{} does not have the layout of a data set, or lacks files; name the data set: data verify NAME --data {0}",
            directory.display()
        ))
    })
}

/// A contact sheet as a PNG file.
///
/// # Errors
/// When it cannot be encoded.
pub fn sheet_png(sheet: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    sheet.write_to(&mut bytes, image::ImageFormat::Png).map_err(|e| Error::Data(format!("the contact sheet: {e}")))?;
    Ok(bytes.into_inner())
}
