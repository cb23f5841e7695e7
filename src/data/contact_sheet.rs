//! Contact sheet of small pictures: one row per class, training samples left of a gap, test samples
//! right of it.

use image::RgbImage;
use image::imageops::{FilterType, replace, resize};

use super::{DataSet, Samples};
use crate::error::Result;

/// Maximum rows; only the first classes are shown.
pub(super) const ROWS: usize = 40;
/// Pictures per class, by split.
const COLUMNS: [usize; 2] = [12, 4];
/// Minimum and maximum side of a picture in pixels.
const SIDE: (u32, u32) = (32, 64);
const GAP: u32 = 2;
/// Samples to try before a set counts as one without pictures.
const TRIES: usize = 100;
const PAPER: image::Rgb<u8> = image::Rgb([255; 3]);

/// Draws the sheet; `None` for a text.
pub(super) fn contact_sheet(set: &DataSet) -> Result<Option<RgbImage>> {
    let train = set.train.as_ref();
    let Some(first) = (0..train.len().min(TRIES)).find_map(|index| readable(train, index)) else { return Ok(None) };
    let side = first.height().max(first.width()).clamp(SIDE.0, SIDE.1);
    let step = side + GAP;
    let rows = set.classes.min(ROWS);
    let columns = COLUMNS.iter().sum::<usize>() as u32 + 1;
    let mut sheet = RgbImage::from_pixel(columns * step + GAP, rows as u32 * step + GAP, PAPER);
    let mut left = 0;
    for (samples, columns) in [set.train.as_ref(), set.test.as_ref()].into_iter().zip(COLUMNS) {
        for (row, indices) in first_of_each_class(samples, rows, columns).into_iter().enumerate() {
            for (column, index) in indices.into_iter().enumerate() {
                let Some(picture) = readable(samples, index) else { continue };
                let picture = if picture.dimensions() == (side, side) {
                    picture
                } else {
                    let small = side.is_multiple_of(picture.width());
                    resize(&picture, side, side, if small { FilterType::Nearest } else { FilterType::Triangle })
                };
                let (x, y) = (GAP + (left + column as u32) * step, GAP + row as u32 * step);
                replace(&mut sheet, &picture, i64::from(x), i64::from(y));
            }
        }
        left += columns as u32 + 1;
    }
    Ok(Some(sheet))
}

fn readable(samples: &dyn Samples, index: usize) -> Option<RgbImage> {
    if index < samples.len() { samples.picture(index).ok().flatten() } else { None }
}

/// Selects the first `n` samples of each of the first `classes` classes.
fn first_of_each_class(samples: &dyn Samples, classes: usize, n: usize) -> Vec<Vec<usize>> {
    let mut rows = vec![Vec::new(); classes];
    for index in 0..samples.len() {
        let row = samples.label(index).and_then(|label| rows.get_mut(label as usize));
        if let Some(row) = row.filter(|row: &&mut Vec<usize>| row.len() < n) {
            row.push(index);
        }
    }
    rows
}
