//! Binary format of CIFAR: records of one or two labels and [3, 32, 32] pixels.

use std::path::{Path, PathBuf};

use super::checksums;
use super::parquet_files::Splits;
use super::{FileDigest, Images, Provenance, Request};
use crate::bounded;
use crate::digest;
use crate::error::{Error, Result};

/// Maximum bytes of a file, more than any original has.
const MOST_BYTES: u64 = 256 << 20;

/// A file of records.
pub(super) struct RecordFile {
    pub(super) name: &'static str,
    pub(super) test: bool,
    /// SHA-256 of the original, if known.
    pub(super) sha256: Option<&'static str>,
}

/// Layout of a set of records in a directory.
pub(super) struct RecordSet {
    /// Directory in the archive.
    pub(super) folder: &'static str,
    pub(super) archive: &'static str,
    pub(super) files: &'static [RecordFile],
    /// Bytes before the pixels; the last one is the class.
    pub(super) labels: usize,
    /// Required number of records per file, if fixed.
    pub(super) records: Option<usize>,
}

impl RecordSet {
    /// Directory of the files: the given one, or the archive's directory in it.
    pub(super) fn directory(&self, directory: &Path) -> Option<PathBuf> {
        let mut places = [directory.to_path_buf(), directory.join(self.folder)].into_iter();
        places.find(|d| self.files.iter().any(|file| d.join(file.name).exists()))
    }

    /// Whether a directory, or the archive's directory in it, contains all the files.
    pub(super) fn recognises(&self, directory: &Path) -> bool {
        self.directory(directory).is_some_and(|d| self.files.iter().all(|file| d.join(file.name).exists()))
    }

    /// Reads the set. candle-datasets is only the tests' oracle: it takes five seconds and 1.5 GB
    /// for the same images.
    pub(super) fn read(&self, request: &Request<'_>, directory: &Path) -> Result<Splits> {
        let shape = request.image_shape()?;
        let mut files = Vec::new();
        let (mut train, mut test) = (Images::empty(shape), Images::empty(shape));
        let record = self.labels + train.stride();
        for RecordFile { name, test: is_test, sha256: original } in self.files {
            let path = directory.join(name);
            let bytes = bounded::read(&path, MOST_BYTES).map_err(Error::io("read", &path))?;
            let expected = self.records.map_or(bytes.len().next_multiple_of(record), |records| records * record);
            if bytes.len() != expected {
                return Err(Error::Data(format!(
                    "{} has {} bytes, expected {expected}: it is truncated or another file; unpack {} again",
                    path.display(),
                    bytes.len(),
                    self.archive
                )));
            }
            let sha256 = digest::sha256_bytes(&bytes);
            let expected = checksums::listed(directory, name)?.or(original.map(String::from));
            if let Some(expected) = expected {
                let archive = self.archive;
                let remedy = format!("unpack {archive} again (for your own modified images, add a SHA256SUMS file)");
                checksums::check(&path.display().to_string(), &sha256, &expected, &remedy)?;
            }
            files.push(FileDigest { file: (*name).into(), sha256 });
            let (images, limit) =
                if *is_test { (&mut test, request.spec.test) } else { (&mut train, request.spec.train) };
            self.append(request.entry.classes, images, limit, &bytes)
                .map_err(|e| Error::Data(format!("{}: {e}", path.display())))?;
        }
        Ok(([train, test], Provenance::made(request.entry.name, "directory", files)))
    }

    /// Appends records until `images` has `limit` of them.
    fn append(
        &self,
        classes: usize,
        images: &mut Images,
        limit: usize,
        records: &[u8],
    ) -> std::result::Result<(), String> {
        let wanted = limit.saturating_sub(images.len());
        for (index, record) in records.chunks_exact(self.labels + images.stride()).take(wanted).enumerate() {
            let (labels, pixels) = record.split_at(self.labels);
            let label = labels[self.labels - 1];
            if usize::from(label) >= classes {
                return Err(format!("image {index} has label {label}, outside 0..{classes}; the file is damaged"));
            }
            images.labels.push(label);
            images.pixels.extend_from_slice(pixels);
        }
        Ok(())
    }
}
