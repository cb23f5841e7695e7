//! Directory of photographs with a folder per class: `train/CLASS/*.jpg` and `test/CLASS/*.jpg` (or
//! `val`). Only file names are held in memory. JPEG and PNG files are read and decoded on several
//! threads during training.

use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use image::RgbImage;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use sha2::{Digest, Sha256};

use super::augment::{Augment, Draw};
use super::images::{Normalise, batch, planes};
use super::loader::Batch;
use super::{DataSet, DataSetEntry, DataSource, DataSpec, Input, OnUnreadable, Provenance, Request, Samples, resize};
use crate::bounded;
use crate::error::{Error, Result};

pub(super) const ENTRY: DataSetEntry = DataSetEntry {
    name: "image-folder",
    about: "any directory of JPEG or PNG files, a folder per class: train/CLASS/*.jpg and test/CLASS/*.jpg",
    input: Input::Image([3, 224, 224]),
    classes: 1000,
    origin: "directory: train/CLASS/*.jpg, test/CLASS/*.png",
    available: None,
    photographs: true,
    stand_in: "synthetic",
    load,
    recognises: |directory| TRAIN.iter().any(|name| directory.join(name).is_dir()),
};

/// ImageNet normalisation (torchvision's).
const NORMALISE: Normalise = Normalise { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
/// Maximum bytes of a file.
const MOST_BYTES: u64 = 256 << 20;
/// Maximum aspect ratio, since resizing the shorter side resizes the longer one with it.
const THINNEST: u32 = 50;
/// Side of the images in previews.
const THUMBNAIL: usize = 64;
const TRAIN: [&str; 1] = ["train"];
const TEST: [&str; 3] = ["test", "val", "validation"];
const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "jpe", "jfif", "png"];

/// A file and its class.
struct Photograph {
    class: u32,
    file: String,
    bytes: u64,
}

/// A split of an image folder. The classes alternate file by file, so every prefix is balanced.
struct Folder {
    directory: PathBuf,
    classes: Arc<Vec<String>>,
    photographs: Vec<Photograph>,
    size: u32,
    unreadable: OnUnreadable,
    skipped: Mutex<BTreeSet<String>>,
    /// Threads for decoding, separate from the trainer's.
    pool: Arc<ThreadPool>,
}

/// Loads a directory of photographs, including ImageNet.
pub(super) fn load(request: &Request<'_>) -> Result<DataSet> {
    let DataSource::Directory(directory) = request.source else {
        // Not a hub error, since those fall back to a stand-in automatically.
        return Err(Error::Data(format!(
            "{} is read from a directory: give --data DIR, or --data stand-in to try the suite on synthetic images",
            request.entry.name
        )));
    };
    let shape = request.image_shape()?;
    let expected = request.spec.class_count().map_err(Error::Data)?;
    let [train, test] = [split_directory(directory, &TRAIN)?, split_directory(directory, &TEST)?];
    let classes = Arc::new(class_names(&train)?);
    if classes.len() != expected {
        return Err(Error::Data(format!(
            "{} has {} class folders, {} has {expected} classes; correct the directory, or data.classes of an image-folder",
            train.display(),
            classes.len(),
            request.entry.name
        )));
    }
    let others = class_names(&test)?;
    if let Some(missing) = classes.iter().find(|class| others.binary_search(class).is_err()) {
        return Err(Error::Data(format!("{} lacks the class folder {missing}; add it", test.display())));
    }
    if let Some(foreign) = others.iter().find(|class| classes.binary_search(class).is_err()) {
        return Err(Error::Data(format!(
            "{} has the class folder {foreign}, which {} lacks; remove it",
            test.display(),
            train.display()
        )));
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(rayon::current_num_threads())
        .thread_name(|i| format!("decode-{i}"))
        .build();
    let pool = Arc::new(pool.map_err(|e| Error::Usage(format!("the decoding threads cannot be started: {e}")))?);
    let folder = |directory: PathBuf| -> Result<Box<dyn Samples>> {
        Ok(Box::new(Folder {
            photographs: list(&directory, &classes)?,
            directory,
            classes: classes.clone(),
            size: shape[1] as u32,
            unreadable: request.spec.unreadable.unwrap_or_default(),
            skipped: Mutex::default(),
            pool: pool.clone(),
        }))
    };
    Ok(DataSet {
        train: folder(train)?,
        test: folder(test)?,
        input: Input::Image(shape),
        classes: expected,
        class_names: classes.to_vec(),
        provenance: Provenance::made(request.entry.name, "directory", Vec::new()),
    })
}

/// Specification of the whole directory.
pub(super) fn inspect(entry: &DataSetEntry, directory: &Path) -> Result<DataSpec> {
    let [train, test] = [split_directory(directory, &TRAIN)?, split_directory(directory, &TEST)?];
    let classes = class_names(&train)?;
    let files = |split: &Path| -> Result<usize> { Ok(list(split, &class_names(split)?)?.len()) };
    let amounts = [Some(files(&train)?), Some(files(&test)?)];
    entry.spec(amounts, Some(THUMBNAIL), Some(classes.len()), None).map_err(Error::Data)
}

fn split_directory(directory: &Path, names: &[&str]) -> Result<PathBuf> {
    let splits = || names.iter().map(|name| directory.join(name)).filter(|path| path.is_dir());
    // Prefers a folder with class folders: ImageNet has a flat `test` beside `val`.
    let classed = splits().find(|split| class_names(split).is_ok());
    classed.or_else(|| splits().next()).ok_or_else(|| {
        Error::Data(format!(
            "{} has no folder {}; it must hold train/CLASS/*.jpg and test/CLASS/*.jpg",
            directory.display(),
            names.join(" nor ")
        ))
    })
}

/// Entries of a directory, without hidden ones.
fn entries(directory: &Path) -> Result<Vec<DirEntry>> {
    let entries = std::fs::read_dir(directory).map_err(Error::io("list", directory))?;
    let entries: std::io::Result<Vec<DirEntry>> = entries.collect();
    let mut entries = entries.map_err(Error::io("list", directory))?;
    entries.retain(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    Ok(entries)
}

/// Class folders of a split, in order.
fn class_names(split: &Path) -> Result<Vec<String>> {
    let folders = entries(split)?.into_iter().filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    if names.is_empty() {
        return Err(Error::Data(format!("{} is empty: it has no class folder", split.display())));
    }
    Ok(names)
}

/// Lists every file of every class, alternating between classes.
fn list(split: &Path, classes: &[String]) -> Result<Vec<Photograph>> {
    let files = classes.par_iter().map(|class| {
        let directory = split.join(class);
        let mut files: Vec<(String, u64)> = Vec::new();
        for entry in entries(&directory)? {
            let name = entry.file_name().to_string_lossy().into_owned();
            let extension = name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase()).unwrap_or_default();
            if EXTENSIONS.contains(&extension.as_str()) {
                // Follows links, which ImageNet installations often use.
                match std::fs::metadata(entry.path()) {
                    Ok(metadata) if metadata.is_file() => files.push((name, metadata.len())),
                    Ok(_) => {}
                    // A dangling link, reported when it is read.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => files.push((name, 0)),
                    Err(e) => return Err(Error::io("read", entry.path())(e)),
                }
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(Error::Data(format!("{} holds no JPEG or PNG file; add some", directory.display())));
        }
        Ok(files)
    });
    let files = files.collect::<Result<Vec<_>>>()?;
    let mut turns: Vec<_> = files.into_iter().map(Vec::into_iter).collect();
    let mut photographs = Vec::new();
    loop {
        let before = photographs.len();
        for (class, files) in turns.iter_mut().enumerate() {
            photographs.extend(files.next().map(|(file, bytes)| Photograph { class: class as u32, file, bytes }));
        }
        if photographs.len() == before {
            return Ok(photographs);
        }
    }
}

impl Folder {
    fn path(&self, photograph: &Photograph) -> PathBuf {
        self.directory.join(&self.classes[photograph.class as usize]).join(&photograph.file)
    }

    /// Photograph in RGB, without augmentation; `None` if it cannot be decoded and is to be left
    /// out.
    fn read(&self, index: usize) -> Result<Option<RgbImage>> {
        let photograph = &self.photographs[index];
        let (path, expected) = (self.path(photograph), photograph.bytes);
        // A file system error says nothing about the photograph and must not change the training
        // data.
        let decoded = match bounded::read(&path, MOST_BYTES) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && expected == 0 => {
                Err("it is a broken symbolic link".into())
            }
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => Err(e.to_string()),
            Ok(bytes) if bytes.len() as u64 != expected => {
                return Err(Error::Data(format!(
                    "{} has changed since the run began: it has {} bytes, {expected} then; restore the file, or start over with another --out",
                    path.display(),
                    bytes.len()
                )));
            }
            bytes => decode(&bytes.map_err(Error::io("read", &path))?),
        };
        match decoded {
            Ok(photograph) => Ok(Some(photograph)),
            Err(_) if self.unreadable == OnUnreadable::Skip => {
                self.skipped.lock().unwrap_or_else(PoisonError::into_inner).insert(path.display().to_string());
                Ok(None)
            }
            Err(reason) => Err(Error::Data(format!(
                "{} cannot be read ({reason}); replace it, or set data.unreadable = \"skip\" in the suite",
                path.display()
            ))),
        }
    }

    /// Decodes, crops, augments and normalises a photograph; returns false if it is left out.
    fn prepare(&self, index: usize, augmented: Option<(&Augment, &Draw)>, out: &mut [f32]) -> Result<bool> {
        let Some(photograph) = self.read(index)? else { return Ok(false) };
        let cropped = match augmented.and_then(|(augment, draw)| augment.resized_crop.as_ref().zip(draw.resized())) {
            Some((settings, mut rng)) => resize::random_resized_crop(&photograph, self.size, settings, &mut rng)?,
            None => resize::resized_centre(&photograph, self.size)?,
        };
        let size = self.size as usize;
        NORMALISE.prepare(&planes(cropped.as_raw(), 3), [3, size, size], augmented, out);
        Ok(true)
    }
}

/// Whether a JPEG file ends before its picture does, which the decoder tolerates: there is no end
/// of image after the last start of a scan. (Neither marker occurs within a scan, and those of a
/// thumbnail come before the picture's.)
fn is_cut(bytes: &[u8]) -> bool {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    bytes.starts_with(&[0xff, 0xd8]) && last([0xff, 0xd9]) < last([0xff, 0xda])
}

/// Decodes a photograph to RGB, or says why it cannot be decoded.
fn decode(bytes: &[u8]) -> std::result::Result<RgbImage, String> {
    if is_cut(bytes) {
        return Err("it is truncated".into());
    }
    let image = image::load_from_memory(bytes).map_err(|e| e.to_string().replace('\n', " "))?.to_rgb8();
    let (width, height) = image.dimensions();
    if width.max(height) / width.min(height).max(1) > THINNEST {
        return Err(format!("it is {width}x{height}, too thin to be cropped"));
    }
    Ok(image)
}

impl Samples for Folder {
    fn len(&self) -> usize {
        self.photographs.len()
    }

    fn batch(&self, indices: &[u32], augmented: Option<(&Augment, &[Draw])>) -> Result<Batch> {
        let size = self.size as usize;
        let stride = 3 * size * size;
        let mut data = vec![0f32; indices.len() * stride];
        let kept: Vec<Result<bool>> = self.pool.install(|| {
            let outs = data.par_chunks_mut(stride).zip(indices).enumerate();
            outs.map(|(i, (out, &index))| {
                self.prepare(index as usize, augmented.map(|(augment, draws)| (augment, &draws[i])), out)
            })
            .collect()
        });
        let mut labels = Vec::with_capacity(indices.len());
        for (i, (kept, &index)) in kept.into_iter().zip(indices).enumerate() {
            if kept? {
                data.copy_within(i * stride..(i + 1) * stride, labels.len() * stride);
                labels.push(self.photographs[index as usize].class);
            }
        }
        data.truncate(labels.len() * stride);
        batch(data, [3, size, size], labels)
    }

    fn label(&self, index: usize) -> Option<u32> {
        Some(self.photographs[index].class)
    }

    fn picture(&self, index: usize) -> Result<Option<RgbImage>> {
        match self.read(index)? {
            Some(photograph) => resize::resized_centre(&photograph, self.size).map(Some),
            None => Ok(None),
        }
    }

    fn truncate(&mut self, n: usize) {
        self.photographs.truncate(n);
    }

    fn digest(&self, digest: &mut Sha256) {
        for photograph in &self.photographs {
            let Photograph { class, file, bytes } = photograph;
            digest.update(format!("{}/{file}\0{bytes}\0", self.classes[*class as usize]));
        }
    }

    fn take_unreadable(&self) -> Vec<String> {
        std::mem::take(&mut *self.skipped.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }
}
