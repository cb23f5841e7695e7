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
use sharpbench_kernels::planes;

use super::checksums;
use super::hub::{self, Repository};
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
        let paths: Vec<Vec<PathBuf>> = files.iter().map(|file| vec![file.path.clone()]).collect();
        let splits = self.read(request, &paths)?;
        let digests = self.files.iter().zip(&files);
        let digests = digests.map(|(name, f)| FileDigest { file: (*name).into(), sha256: f.sha256.clone() }).collect();
        let provenance = Provenance::made(request.entry.name, "hub", digests);
        Ok((splits, Provenance { revision: files[0].commit.clone(), ..provenance }))
    }

    /// Reads from a directory with files as on the hub, or as its tools leave them.
    fn read_directory(&self, request: &Request<'_>, directory: &Path) -> Result<Splits> {
        let (mut splits, mut files) = (Vec::new(), Vec::new());
        for (split, name) in [("train", self.files[0]), ("test", self.files[1])] {
            let mut paths = Vec::new();
            for file in self.find(directory, split, name)? {
                let path = directory.join(&file);
                let sha256 = digest::sha256_file(&path)?;
                if let Some(expected) = checksums::listed(directory, &file)? {
                    let remedy = "fetch it again or correct SHA256SUMS";
                    checksums::check(&path.display().to_string(), &sha256, &expected, remedy)?;
                }
                paths.push(path);
                files.push(FileDigest { file, sha256 });
            }
            splits.push(paths);
        }
        let splits = self.read(request, &splits)?;
        Ok((splits, Provenance::made(request.entry.name, "directory", files)))
    }

    /// Reads both splits, each from its files in order.
    fn read(&self, request: &Request<'_>, splits: &[Vec<PathBuf>]) -> Result<[Images; 2]> {
        let amounts = [request.spec.train, request.spec.test];
        let splits = splits.iter().zip(amounts).map(|(paths, limit)| {
            let mut images = Images::empty(request.image_shape()?);
            for path in paths {
                let missing = limit - images.len();
                if missing > 0 {
                    let more = read(path, request, self.label, missing)?;
                    images.labels.extend(more.labels);
                    images.pixels.extend(more.pixels);
                }
            }
            Ok(images)
        });
        let splits = splits.collect::<Result<Vec<_>>>()?;
        splits.try_into().map_err(|_| Error::Data("a split is missing".into()))
    }

    /// Finds the files of a split, in order: `plain_text/train/0000.parquet` as on the hub, or
    /// `train*.parquet` in the directory, in the hub's folder in it, or in `data`, as
    /// `hf download` leaves them; several if they are the parts of one split.
    fn find(&self, directory: &Path, split: &str, hub_name: &str) -> Result<Vec<String>> {
        let hub_folder = hub_name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let configuration = hub_folder.split('/').next().unwrap_or_default();
        for folder in ["", configuration, "data"] {
            let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
            let starts = |name: &str| name.starts_with(split);
            let found = parts(directory, &prefix, starts)?;
            if !found.is_empty() {
                return Ok(found);
            }
            let found = parts(directory, &format!("{prefix}{split}/"), |_| true)?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(Error::Data(format!(
            "{} holds neither {} nor {hub_name} nor {split}*.parquet, in itself, {configuration} or data; point --data at one of them",
            directory.display(),
            self.or
        )))
    }

    /// Whether a directory contains files under the hub's names.
    pub(super) fn recognises(&self, directory: &Path) -> bool {
        directory.join(self.files[0]).is_file()
    }
}

/// A parquet file's number among the parts of a split, and the number of parts, by its name: `train-00000-of-00002`, `train-0` or
/// `0000`; none where the name says nothing of it.
fn part(name: &str) -> (Option<usize>, Option<usize>) {
    let stem = name.trim_end_matches(".parquet");
    let (stem, all) = stem.rsplit_once("-of-").map_or((stem, None), |(stem, all)| (stem, all.parse().ok()));
    (stem.rsplit_once('-').map_or(stem, |(_, digits)| digits).parse().ok(), all)
}

/// Names of the parquet files in a folder, given by its prefix, in the order of the parts that they are; none without
/// such a folder.
fn parts(directory: &Path, prefix: &str, is_of: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let folder = directory.join(prefix);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(&folder).map_err(Error::io("list", &folder))?;
    let mut names: Vec<String> =
        entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.retain(|name| is_of(name) && name.ends_with(".parquet") && !name.starts_with('.'));
    names.sort_by_key(|name| (part(name).0, name.clone()));
    let found: Vec<_> = names.iter().map(|name| part(name)).collect();
    let all = found.first().and_then(|(_, all)| *all);
    let in_order = found.iter().enumerate().all(|(i, part)| *part == (Some(i), all));
    if names.len() < 2 && all.is_none() || in_order && all.is_none_or(|all| all == names.len()) {
        return Ok(names.into_iter().map(|name| format!("{prefix}{name}")).collect());
    }
    let folder = folder.display();
    let message = match all {
        Some(all) if all > names.len() && found.iter().all(|(_, other)| *other == Some(all)) => {
            format!("{folder} holds {} of the {all} parts of a split; fetch the others", names.len())
        }
        _ => format!(
            "{folder} holds several files that are not the parts of one split ({}); keep the ones to use",
            names.join(", ")
        ),
    };
    Err(Error::Data(message))
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
            let row = row?;
            let columns = columns(&row, label).ok_or_else(|| {
                let found: Vec<&str> = row.get_column_iter().map(|(name, _)| name.as_str()).collect();
                Error::Data(format!(
                    "{}: row {index} lacks an image (a column img or image, of bytes or {{ bytes, path }}) or a class (a column {label}, \
                     label or labels, of whole numbers); its columns are {}: rename them",
                    path.display(),
                    found.join(", ")
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
    let (mut bytes, mut label, mut other_label) = (None, None, None);
    for (name, field) in row.get_column_iter() {
        match (name.as_str(), field) {
            ("img" | "image", Field::Group(image)) => {
                bytes = image.get_column_iter().find_map(|(name, field)| match field {
                    Field::Bytes(data) if name == "bytes" => Some(data.data().to_vec()),
                    _ => None,
                });
            }
            ("img" | "image", Field::Bytes(data)) => bytes = Some(data.data().to_vec()),
            (name, field) if name == label_name => label = whole(field),
            ("label" | "labels", field) => other_label = whole(field),
            _ => {}
        }
    }
    Some((bytes?, label.or(other_label)?))
}

/// A whole number of any width.
fn whole(field: &Field) -> Option<i64> {
    match field {
        Field::Byte(n) => Some((*n).into()),
        Field::Short(n) => Some((*n).into()),
        Field::Int(n) => Some((*n).into()),
        Field::Long(n) => Some(*n),
        Field::UByte(n) => Some((*n).into()),
        Field::UShort(n) => Some((*n).into()),
        Field::UInt(n) => Some((*n).into()),
        Field::ULong(n) => i64::try_from(*n).ok(),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_split_are_distinguished_from_other_files() {
        let found = |names: &[&str]| {
            let folder = tempfile::tempdir().expect("a folder");
            names.iter().for_each(|name| std::fs::write(folder.path().join(name), "").expect("written"));
            parts(folder.path(), "", |_| true).map_err(|e| e.to_string())
        };
        let many: Vec<String> = (0..12).map(|i| format!("train-{i}.parquet")).collect();
        assert_eq!(found(&many.iter().map(String::as_str).collect::<Vec<_>>()), Ok(many.clone()));
        let two = ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"];
        assert_eq!(found(&[two[1], two[0], "._0000.parquet", "notes.txt"]).map(|n| n.len()), Ok(2));
        assert_eq!(found(&["anything.parquet"]).map(|n| n.len()), Ok(1));
        assert_eq!(found(&[]), Ok(Vec::new()));
        assert!(found(&two[..1]).is_err_and(|e| e.contains("holds 1 of the 2 parts")));
        for other in [["train-00000-of-00002.parquet", "train-00001-of-00003.parquet"], ["a.parquet", "b.parquet"]] {
            assert!(found(&other).is_err_and(|e| e.contains("not the parts of one split")), "{other:?}");
        }
    }
}
