//! Labelled PNG images from a parquet file of the hub's shape: `struct img { bytes, path }` and `int64 label`.

use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use rayon::prelude::*;

use super::Images;
use crate::error::{Error, Result};

/// The first `limit` images of a file, as [n, channels, height, width].
///
/// # Errors
/// Names the file and the row that is damaged or has another size.
pub(super) fn read(path: &Path, shape: [usize; 3], classes: usize, limit: usize) -> Result<Images> {
    let damaged = |what: String| Error::Data(format!("{}: {what}; fetch the file anew", path.display()));
    let file = File::open(path).map_err(Error::io("open", path))?;
    let reader = SerializedFileReader::new(file).map_err(|e| damaged(format!("not a readable parquet file ({e})")))?;
    let rows = reader.get_row_iter(None).map_err(|e| damaged(format!("unreadable rows ({e})")))?;
    let mut encoded = Vec::new();
    for (index, row) in rows.take(limit).enumerate() {
        let row = row.map_err(|e| damaged(format!("row {index} is unreadable ({e})")))?;
        encoded.push(columns(&row).ok_or_else(|| {
            damaged(format!("row {index} does not have the columns img {{ bytes, path }} and label"))
        })?);
    }
    let [channels, height, width] = shape;
    // Every row, so that the error told is the first row's in every run.
    let decoded: Vec<Result<(u8, Vec<u8>)>> = encoded
        .into_par_iter()
        .enumerate()
        .map(|(index, (bytes, label))| {
            let image = image::load_from_memory(&bytes)
                .map_err(|e| damaged(format!("the image of row {index} is unreadable ({e})")))?
                .to_rgb8();
            if (image.height() as usize, image.width() as usize) != (height, width) {
                return Err(damaged(format!(
                    "the image of row {index} is {}x{}, expected {width}x{height}",
                    image.width(),
                    image.height()
                )));
            }
            let label = u8::try_from(label).ok().filter(|l| usize::from(*l) < classes);
            let label = label.ok_or_else(|| damaged(format!("row {index} has a label outside 0..{classes}")))?;
            Ok((label, planes(image.as_raw(), channels)))
        })
        .collect();
    let mut images =
        Images { pixels: Vec::with_capacity(decoded.len() * channels * height * width), labels: Vec::new(), shape };
    for image in decoded {
        let (label, pixels) = image?;
        images.labels.push(label);
        images.pixels.extend(pixels);
    }
    Ok(images)
}

/// Interleaved pixels [height, width, channels] to planes [channels, height, width].
pub(super) fn planes(interleaved: &[u8], channels: usize) -> Vec<u8> {
    (0..channels).flat_map(|c| interleaved.iter().skip(c).step_by(channels).copied()).collect()
}

/// The image's bytes and the label of a row.
fn columns(row: &Row) -> Option<(Vec<u8>, i64)> {
    let (mut bytes, mut label) = (None, None);
    for (name, field) in row.get_column_iter() {
        match (name.as_str(), field) {
            ("img" | "image", Field::Group(image)) => {
                bytes = image.get_column_iter().find_map(|(name, field)| match field {
                    Field::Bytes(data) if name == "bytes" => Some(data.data().to_vec()),
                    _ => None,
                });
            }
            ("label", Field::Long(value)) => label = Some(*value),
            _ => {}
        }
    }
    Some((bytes?, label?))
}
