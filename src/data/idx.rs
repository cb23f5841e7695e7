//! The idx format of MNIST and related sets: a magic number, the dimensions, and the bytes,
//! optionally gzipped.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::checksums;
use super::images::Normalise;
use super::parquet_files::{ParquetSet, Splits};
use super::{DataSet, FileDigest, Images, Provenance, Request};
use crate::bounded;
use crate::digest;
use crate::error::{Error, Result};

/// File names: training images and labels, test images and labels.
const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// Data set in idx files.
pub(super) struct IdxSet {
    pub(super) parquet: ParquetSet,
    /// SHA-256 of the uncompressed originals, in the order of [`FILES`].
    pub(super) sha256: [&'static str; 4],
    pub(super) normalise: Normalise,
}

/// Side of the images in pixels.
pub(super) const SIDE: usize = 28;
const CLASSES: usize = 10;
/// Maximum uncompressed bytes, larger than any original.
const MOST_BYTES: u64 = 64 << 20;

impl IdxSet {
    pub(super) fn load(&self, request: &Request<'_>) -> Result<DataSet> {
        let own = |path: &Path| Some(self.read(request, &idx_directory(path)?));
        let (splits, provenance) = self.parquet.load(request, own)?;
        Ok(DataSet::of_images(splits, CLASSES, self.normalise, provenance))
    }

    /// Whether a directory contains this set, as idx files with these labels or as the hub's files.
    pub(super) fn recognises(&self, directory: &Path) -> bool {
        let own = |directory: PathBuf| {
            let (path, _) = find(&directory, FILES[3]).ok()?;
            Some(digest::sha256_bytes(&unpacked(&path).ok()?) == self.sha256[3])
        };
        idx_directory(directory).and_then(own).unwrap_or(false) || self.parquet.recognises(directory)
    }

    fn read(&self, request: &Request<'_>, directory: &Path) -> Result<Splits> {
        let (mut files, mut paths, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
        for (file, original) in FILES.into_iter().zip(self.sha256) {
            let (path, name) = find(directory, file)?;
            let bytes = unpacked(&path)?;
            // The format is checked first, since its errors say more than a digest mismatch.
            let body = if file.contains("images") { images(&bytes) } else { labels(&bytes) };
            let body = body.map_err(|what| Error::Data(format!("{}: {what}", path.display())))?.to_vec();
            let sha256 = digest::sha256_bytes(&bytes);
            let (found, expected) = match checksums::listed(directory, &name)? {
                Some(listed) => (digest::sha256_file(&path)?, listed),
                None => (sha256.clone(), original.to_string()),
            };
            let remedy = "fetch it again (for your own modified images, add a SHA256SUMS file)";
            checksums::check(&path.display().to_string(), &found, &expected, remedy)?;
            files.push(FileDigest { file: file.into(), sha256 });
            paths.push(path);
            bodies.push(body);
        }
        let split = |i: usize, limit: usize| {
            let (pixels, labels) = (&bodies[i], &bodies[i + 1]);
            let n = pixels.len() / (SIDE * SIDE);
            if n != labels.len() {
                return Err(Error::Data(format!(
                    "{} has {n} images, {} has {} labels; they do not belong together",
                    paths[i].display(),
                    paths[i + 1].display(),
                    labels.len()
                )));
            }
            let n = n.min(limit);
            let shape = [1, SIDE, SIDE];
            Ok(Images { pixels: pixels[..n * SIDE * SIDE].to_vec(), labels: labels[..n].to_vec(), shape })
        };
        let splits = [split(0, request.spec.train)?, split(2, request.spec.test)?];
        Ok((splits, Provenance::made(request.entry.name, "directory", files)))
    }
}

/// Directory with the idx files: the given one, or its `raw` subdirectory, as torchvision stores
/// them.
fn idx_directory(directory: &Path) -> Option<PathBuf> {
    let places = [directory.to_path_buf(), directory.join("raw")];
    places.into_iter().find(|d| FILES.iter().any(|file| find(d, file).is_ok()))
}

/// Path and name of a file, compressed or not.
fn find(directory: &Path, file: &str) -> Result<(PathBuf, String)> {
    let names = [file.to_string(), format!("{file}.gz")];
    names
        .into_iter()
        .find(|name| directory.join(name).is_file())
        .map(|name| (directory.join(&name), name))
        .ok_or_else(|| Error::Data(format!("{} holds neither {file} nor {file}.gz; fetch it", directory.display())))
}

fn unpacked(path: &Path) -> Result<Vec<u8>> {
    let packed = bounded::read(path, MOST_BYTES).map_err(Error::io("read", path))?;
    if path.extension().is_none_or(|e| e != "gz") {
        return Ok(packed);
    }
    let mut bytes = Vec::new();
    let read = GzDecoder::new(packed.as_slice()).take(MOST_BYTES + 1).read_to_end(&mut bytes);
    let wrong = |what: &str| Error::Data(format!("{} cannot be unpacked ({what}); fetch it again", path.display()));
    match read {
        Ok(_) if bytes.len() as u64 > MOST_BYTES => Err(wrong(&format!("it is longer than {MOST_BYTES} bytes"))),
        Ok(_) => Ok(bytes),
        Err(e) => Err(wrong(&e.to_string())),
    }
}

/// Bytes after a header of `N` dimensions.
fn body<const N: usize>(bytes: &[u8]) -> std::result::Result<([usize; N], &[u8]), String> {
    let number = |i: usize| bytes.get(4 * i..4 * i + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let magic = 0x0800 + N as u32;
    match number(0) {
        None => return Err("it is empty or truncated; fetch it again".into()),
        Some(found) if found != magic => {
            return Err(format!("its magic number is {found}, expected {magic}: it is another file; fetch it again"));
        }
        Some(_) => {}
    }
    let mut dims = [0; N];
    for (i, dim) in dims.iter_mut().enumerate() {
        *dim = number(i + 1).ok_or("it is truncated; fetch it again")? as usize;
    }
    let body = &bytes[4 * (N + 1)..];
    let expected = dims.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim));
    if expected != Some(body.len()) {
        return Err(format!(
            "it has {} bytes where its header says {}: it is truncated or damaged; fetch it again",
            body.len(),
            dims.map(|d| d.to_string()).join(" x ")
        ));
    }
    Ok((dims, body))
}

/// Pixels of an image file.
pub(super) fn images(bytes: &[u8]) -> std::result::Result<&[u8], String> {
    let ([_, height, width], pixels) = body::<3>(bytes)?;
    if [height, width] == [SIDE, SIDE] {
        Ok(pixels)
    } else {
        Err(format!("its images are {width}x{height}, expected {SIDE}x{SIDE}"))
    }
}

/// Classes of a label file.
pub(super) fn labels(bytes: &[u8]) -> std::result::Result<&[u8], String> {
    let ([_], labels) = body::<1>(bytes)?;
    match labels.iter().enumerate().find(|(_, label)| usize::from(**label) >= CLASSES) {
        Some((index, label)) => {
            Err(format!("label {index} is {label}, outside 0..{CLASSES}; the file is damaged, fetch it again"))
        }
        None => Ok(labels),
    }
}
