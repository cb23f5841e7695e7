//! Parquet files as on the hub: labelled PNG images, `struct img { bytes, path }` with an `int64`
//! label, and texts.

use std::fs::File;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use image::{ImageError, ImageReader};
use parquet::errors::ParquetError;
use parquet::file::reader::SerializedFileReader;
use parquet::record::{Field, Row};
use rayon::prelude::*;

use super::checksums;
use super::hub::{self, Repository};
use super::images::planes;
use super::{DataSource, FileDigest, Images, Provenance, Request};
use crate::digest;
use crate::error::{Error, Result};

/// Layout of a data set on the hub.
pub(super) struct ParquetSet {
    pub(super) repository: Repository,
    /// Files of the training and the test split.
    pub(super) files: [&'static str; 2],
    /// Column of the class.
    pub(super) label: &'static str,
    /// Other contents that `--data DIR` may have, for messages.
    pub(super) or: &'static str,
}

/// Maximum rows held in encoded form at once.
const ROWS: usize = 1024;
/// Maximum bytes of a text.
pub(super) const MOST_TEXT: u64 = 64 << 20;

/// Both splits and their provenance.
pub(super) type Splits = ([Images; 2], Provenance);

impl ParquetSet {
    /// Loads the set in whichever form the source has. `own` reads a directory in the set's own
    /// format, if it is one.
    pub(super) fn load(
        &self,
        request: &Request<'_>,
        own: impl FnOnce(&Path) -> Option<Result<Splits>>,
    ) -> Result<Splits> {
        match request.source {
            DataSource::Directory(path) => own(path).unwrap_or_else(|| self.read_directory(request, path)),
            DataSource::Auto | DataSource::Hub | DataSource::StandIn => self.read_hub(request),
        }
    }

    /// Reads from the hub or its cache.
    fn read_hub(&self, request: &Request<'_>) -> Result<Splits> {
        let files = hub::files(&self.repository, &self.files, request.fetch)?;
        let paths = files.iter().map(|file| file.path.as_path());
        let splits = self.read(request, paths.collect())?;
        let digests = self.files.iter().zip(&files);
        let digests = digests.map(|(name, f)| FileDigest { file: (*name).into(), sha256: f.sha256.clone() }).collect();
        let provenance = Provenance::made(request.entry.name, "hub", digests);
        Ok((splits, Provenance { revision: files[0].commit.clone(), ..provenance }))
    }

    /// Reads from a directory with files as on the hub.
    fn read_directory(&self, request: &Request<'_>, directory: &Path) -> Result<Splits> {
        let (mut paths, mut files) = (Vec::new(), Vec::new());
        for (split, name) in [("train", self.files[0]), ("test", self.files[1])] {
            let (path, file) = self.find(directory, split, name)?;
            let sha256 = digest::sha256_file(&path)?;
            if let Some(expected) = checksums::listed(directory, &file)? {
                let remedy = "fetch it again or correct SHA256SUMS";
                checksums::check(&path.display().to_string(), &sha256, &expected, remedy)?;
            }
            paths.push(path);
            files.push(FileDigest { file, sha256 });
        }
        let splits = self.read(request, paths.iter().map(PathBuf::as_path).collect())?;
        Ok((splits, Provenance::made(request.entry.name, "directory", files)))
    }

    fn read(&self, request: &Request<'_>, paths: Vec<&Path>) -> Result<[Images; 2]> {
        let amounts = [request.spec.train, request.spec.test];
        let splits = paths.iter().zip(amounts).map(|(path, limit)| read(path, request, self.label, limit));
        let splits = splits.collect::<Result<Vec<_>>>()?;
        splits.try_into().map_err(|_| Error::Data("a split is missing".into()))
    }

    /// Finds `plain_text/train/0000.parquet` as on the hub, or the only file whose name starts with
    /// the split's.
    fn find(&self, directory: &Path, split: &str, hub_name: &str) -> Result<(PathBuf, String)> {
        if directory.join(hub_name).is_file() {
            return Ok((directory.join(hub_name), hub_name.to_string()));
        }
        let mut found = split_files(directory, split)?;
        match (found.pop(), found.is_empty()) {
            (Some(one), true) => Ok((directory.join(&one), one)),
            (None, _) => Err(Error::Data(format!(
                "{} holds neither {} nor {hub_name} nor {split}*.parquet; point --data at one of them",
                directory.display(),
                self.or
            ))),
            (Some(_), false) => Err(Error::Data(format!(
                "{} holds several files {split}*.parquet; keep the one to use",
                directory.display()
            ))),
        }
    }

    /// Whether a directory contains files under the hub's names.
    pub(super) fn recognises(&self, directory: &Path) -> bool {
        directory.join(self.files[0]).is_file()
    }
}

/// Names of a split's parquet files.
fn split_files(directory: &Path, split: &str) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(directory).map_err(Error::io("list", directory))?;
    let mut found: Vec<String> =
        entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
    found.retain(|name| name.starts_with(split) && name.ends_with(".parquet"));
    Ok(found)
}

/// Reads the first `limit` images of a file, as [n, channels, height, width].
fn read(path: &Path, request: &Request<'_>, label: &str, limit: usize) -> Result<Images> {
    let shape = request.image_shape()?;
    let damaged = |what: String| damaged(path, &what);
    let ([channels, height, width], classes) = (shape, request.entry.classes);
    let decode = |index: usize, bytes: Vec<u8>, label: i64| {
        let unreadable = |e: ImageError| damaged(format!("the image of row {index} is unreadable ({e})"));
        let reader = || ImageReader::new(Cursor::new(&bytes)).with_guessed_format().map_err(ImageError::IoError);
        // Checked first, since a small file may claim to be a huge picture.
        let size = reader().and_then(ImageReader::into_dimensions).map_err(unreadable)?;
        if size != (width as u32, height as u32) {
            return Err(damaged(format!(
                "the image of row {index} is {}x{}, expected {width}x{height}",
                size.0, size.1
            )));
        }
        let image = reader().and_then(ImageReader::decode).map_err(unreadable)?;
        let label = u8::try_from(label).ok().filter(|l| usize::from(*l) < classes);
        let label = label.ok_or_else(|| damaged(format!("row {index} has a label outside 0..{classes}")))?;
        let pixels =
            if channels == 1 { image.to_luma8().into_raw() } else { planes(image.to_rgb8().as_raw(), channels) };
        Ok((label, pixels))
    };
    let mut images = Images::empty(shape);
    let mut rows = rows(path)?.take(limit).enumerate();
    loop {
        let mut encoded = Vec::with_capacity(ROWS);
        for (index, row) in rows.by_ref().take(ROWS) {
            let columns = columns(&row?, label).ok_or_else(|| {
                damaged(format!(
                    "row {index} does not have the columns img or image {{ bytes, path }} and {label} (int64)"
                ))
            })?;
            encoded.push((index, columns));
        }
        if encoded.is_empty() {
            return Ok(images);
        }
        // Decodes every row, so that the reported error is always the first row's.
        let decoded = encoded.into_par_iter().map(|(index, (bytes, label))| decode(index, bytes, label));
        for image in decoded.collect::<Vec<Result<(u8, Vec<u8>)>>>() {
            let (label, pixels) = image?;
            images.labels.push(label);
            images.pixels.extend(pixels);
        }
    }
}

/// Image bytes and label of a row.
fn columns(row: &Row, label_name: &str) -> Option<(Vec<u8>, i64)> {
    let (mut bytes, mut label) = (None, None);
    for (name, field) in row.get_column_iter() {
        match (name.as_str(), field) {
            ("img" | "image", Field::Group(image)) => {
                bytes = image.get_column_iter().find_map(|(name, field)| match field {
                    Field::Bytes(data) if name == "bytes" => Some(data.data().to_vec()),
                    _ => None,
                });
            }
            (name, Field::Long(value)) if name == label_name => label = Some(*value),
            _ => {}
        }
    }
    Some((bytes?, label?))
}

/// Reads the `text` column of a file and concatenates its rows.
pub(super) fn read_texts(path: &Path) -> Result<Vec<u8>> {
    let mut texts = Vec::new();
    for (index, row) in rows(path)?.enumerate() {
        let row = row?;
        let text = row.get_column_iter().find_map(|(name, field)| match field {
            Field::Str(text) if name == "text" => Some(text),
            _ => None,
        });
        let text = text.ok_or_else(|| damaged(path, &format!("row {index} does not have the column text")))?;
        texts.extend_from_slice(text.as_bytes());
        // Empty rows count too: they take time, though no memory.
        if (texts.len() + index) as u64 > MOST_TEXT {
            return Err(damaged(path, &format!("its texts are longer than {MOST_TEXT} bytes together")));
        }
    }
    Ok(texts)
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::Data(format!("{}: {what}; fetch the file again", path.display()))
}

/// Rows of a file. The parquet crate panics on some damaged files; the panic becomes an error in
/// the last row.
fn rows(path: &Path) -> Result<impl Iterator<Item = Result<Row>>> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let reader = SerializedFileReader::new(file);
    let reader = reader.map_err(|e| damaged(path, &format!("not a readable parquet file ({e})")))?;
    let mut rows = reader.into_iter();
    let panicked = |_| Some(Err(ParquetError::General("its contents are inconsistent".into())));
    let next = move || catch_unwind(AssertUnwindSafe(|| rows.next())).unwrap_or_else(panicked);
    Ok(std::iter::from_fn(next)
        .enumerate()
        .map(|(index, row)| row.map_err(|e| damaged(path, &format!("row {index} is unreadable ({e})")))))
}
