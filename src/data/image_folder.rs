//! Directory of photographs with a folder per class: `train/CLASS/*.jpg` and `test/CLASS/*.jpg` (or
//! `val`), or the layout of tiny-imagenet: `train/CLASS/images/*.JPEG` and `val/val_annotations.txt`.
//! Only file names are held in memory. JPEG and PNG files are read and decoded on several threads
//! during training.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use image::RgbImage;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use sha2::{Digest, Sha256};
use sharpbench_kernels::planes;

use super::augment::{Augment, Draw};
use super::images::{Normalise, batch};
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
    originals: None,
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
/// Extensions of pictures that are not read.
const OTHER_PICTURES: [&str; 9] = ["webp", "bmp", "gif", "tif", "tiff", "avif", "heic", "jp2", "ppm"];
/// Folder that tiny-imagenet has between a class and its files.
const IMAGES: &str = "images";
/// Classes of the files of tiny-imagenet's `val`, a line each: file, class, box.
const ANNOTATIONS: &str = "val_annotations.txt";
/// Maximum bytes of such a file.
const MOST_ANNOTATIONS: u64 = 256 << 20;

/// A file and its class.
struct Photograph {
    class: u32,
    /// In its split's directory.
    file: PathBuf,
    bytes: u64,
}

/// A split of an image folder. The classes alternate file by file, so every prefix is balanced.
struct Folder {
    directory: PathBuf,
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
    let names = class_names(&train)?;
    let classes = names.iter().map(|name| name.to_string_lossy().into_owned()).collect::<Vec<String>>();
    if classes.len() != expected {
        return Err(Error::Data(format!(
            "{} has {} class folders, {} has {expected} classes; correct the directory, or data.classes of an image-folder",
            train.display(),
            classes.len(),
            request.entry.name
        )));
    }
    let others = class_names(&test)?;
    if let Some(missing) = names.iter().find(|class| others.binary_search(class).is_err()) {
        return Err(Error::Data(format!("{} lacks the class {}; add it", test.display(), missing.to_string_lossy())));
    }
    if let Some(foreign) = others.iter().find(|class| names.binary_search(class).is_err()) {
        return Err(Error::Data(format!(
            "{} has the class {}, which {} lacks; remove it",
            test.display(),
            foreign.to_string_lossy(),
            train.display()
        )));
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(rayon::current_num_threads())
        .thread_name(|i| format!("decode-{i}"))
        .build();
    let pool = Arc::new(pool.map_err(|e| Error::Usage(format!("the decoding threads cannot be started: {e}")))?);
    let folder = |directory: PathBuf| -> Result<Arc<dyn Samples>> {
        Ok(Arc::new(Folder {
            photographs: list(&directory, &names, request.fetch.warn)?,
            directory,
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
        class_names: classes,
        provenance: Provenance::made(request.entry.name, "directory", Vec::new()),
    })
}

/// Specification of the whole directory.
pub(super) fn inspect(entry: &DataSetEntry, directory: &Path) -> Result<DataSpec> {
    let [train, test] = [split_directory(directory, &TRAIN)?, split_directory(directory, &TEST)?];
    let classes = class_names(&train)?;
    let files = |split: &Path| -> Result<usize> { Ok(list(split, &class_names(split)?, &|_| {})?.len()) };
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

/// Classes of a split, in order: the names of its folders, or those in tiny-imagenet's annotations.
fn class_names(split: &Path) -> Result<Vec<OsString>> {
    if let Some(annotations) = annotations(split)? {
        let classes: BTreeSet<OsString> = annotations.into_values().map(OsString::from).collect();
        return Ok(classes.into_iter().collect());
    }
    let folders = entries(split)?.into_iter().filter(|entry| entry.path().is_dir());
    let mut names: Vec<OsString> = folders.map(|entry| entry.file_name()).collect();
    names.sort();
    if names.is_empty() {
        return Err(Error::Data(format!("{} is empty: it has no class folder", split.display())));
    }
    Ok(names)
}

/// Classes of files by tiny-imagenet's annotations; `None` for a split without them.
fn annotations(split: &Path) -> Result<Option<HashMap<String, String>>> {
    let path = split.join(ANNOTATIONS);
    if !path.is_file() || !split.join(IMAGES).is_dir() {
        return Ok(None);
    }
    let text = bounded::read_to_string(&path, MOST_ANNOTATIONS).map_err(Error::io("read", &path))?;
    let class_of = |line: &str| {
        let mut fields = line.split('\t');
        Some((fields.next()?.to_string(), fields.next()?.to_string()))
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let classes: Option<HashMap<String, String>> = lines.map(class_of).collect();
    let wrong = || Error::Data(format!("{} is not a list of files and classes; unpack the set again", path.display()));
    classes.filter(|classes| !classes.is_empty()).map(Some).ok_or_else(wrong)
}

/// Files of a folder.
#[derive(Default)]
struct Listing {
    /// Pictures that can be read, in order, with their sizes.
    files: Vec<(OsString, u64)>,
    /// Number of pictures of other formats, by extension.
    others: BTreeMap<String, usize>,
}

fn listing(directory: &Path) -> Result<Listing> {
    let mut listing = Listing::default();
    for entry in entries(directory)? {
        let name = entry.file_name();
        let extension = Path::new(&name).extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        let extension = extension.unwrap_or_default();
        if EXTENSIONS.contains(&extension.as_str()) {
            // Follows links, which ImageNet installations often use.
            match std::fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_file() => listing.files.push((name, metadata.len())),
                Ok(_) => {}
                // A dangling link, reported when it is read.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => listing.files.push((name, 0)),
                Err(e) => return Err(Error::io("read", entry.path())(e)),
            }
        } else if OTHER_PICTURES.contains(&extension.as_str()) {
            *listing.others.entry(extension).or_default() += 1;
        }
    }
    listing.files.sort();
    Ok(listing)
}

/// The pictures of a class: in its folder, or in the folder `images` in it.
fn pictures(split: &Path, class: &OsString) -> Result<(PathBuf, Listing)> {
    let folder = PathBuf::from(class);
    let own = listing(&split.join(&folder))?;
    let inner = folder.join(IMAGES);
    if own.files.is_empty() && split.join(&inner).is_dir() {
        let listing = listing(&split.join(&inner))?;
        return Ok((inner, listing));
    }
    Ok((folder, own))
}

/// Lists every file of every class, alternating between classes. Pictures of formats that are not read are counted in one warning.
fn list(split: &Path, classes: &[OsString], warn: &dyn Fn(&str)) -> Result<Vec<Photograph>> {
    let (by_class, others) = match annotations(split)? {
        Some(annotations) => annotated(split, classes, &annotations)?,
        None => in_folders(split, classes)?,
    };
    if !others.is_empty() {
        let found: Vec<String> = others.iter().map(|(extension, n)| format!("{n} .{extension}")).collect();
        warn(&format!(
            "data: {} holds pictures that are not read ({}); convert them to JPEG or PNG, or remove them",
            split.display(),
            found.join(", ")
        ));
    }
    let mut turns: Vec<_> = by_class.into_iter().map(Vec::into_iter).collect();
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

/// Files of each class with their sizes, and the number of pictures of other formats by extension.
type ByClass = (Vec<Vec<(PathBuf, u64)>>, BTreeMap<String, usize>);

fn in_folders(split: &Path, classes: &[OsString]) -> Result<ByClass> {
    let listed = classes.par_iter().map(|class| pictures(split, class)).collect::<Result<Vec<_>>>()?;
    let (mut by_class, mut all_others) = (Vec::with_capacity(classes.len()), BTreeMap::new());
    for (folder, Listing { files, others }) in listed {
        if files.is_empty() {
            let other: Vec<String> = others.keys().map(|e| format!(".{e}")).collect();
            let remedy = if other.is_empty() { "add some".into() } else { format!("convert its {}", other.join(", ")) };
            let folder = split.join(folder);
            return Err(Error::Data(format!("{} holds no JPEG or PNG file; {remedy}", folder.display())));
        }
        others.into_iter().for_each(|(extension, n)| *all_others.entry(extension).or_default() += n);
        by_class.push(files.into_iter().map(|(name, bytes)| (folder.join(name), bytes)).collect());
    }
    Ok((by_class, all_others))
}

fn annotated(split: &Path, classes: &[OsString], annotations: &HashMap<String, String>) -> Result<ByClass> {
    let Listing { files, others } = listing(&split.join(IMAGES))?;
    let mut by_class = vec![Vec::new(); classes.len()];
    for (name, bytes) in files {
        let class = name.to_str().and_then(|name| annotations.get(name));
        let place = class.and_then(|class| classes.binary_search(&OsString::from(class)).ok());
        let place = place.ok_or_else(|| {
            Error::Data(format!(
                "{} names no class for {}; remove the file or add a line",
                split.join(ANNOTATIONS).display(),
                name.to_string_lossy()
            ))
        })?;
        by_class[place].push((Path::new(IMAGES).join(name), bytes));
    }
    Ok((by_class, others))
}

impl Folder {
    fn path(&self, photograph: &Photograph) -> PathBuf {
        self.directory.join(&photograph.file)
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
    let mut markers = bytes.windows(2).rev().filter(|pair| pair[0] == 0xff).map(|pair| pair[1]);
    bytes.starts_with(&[0xff, 0xd8]) && markers.find(|marker| [0xd9, 0xda].contains(marker)) == Some(0xda)
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
            digest.update(photograph.file.as_os_str().as_encoded_bytes());
            digest.update(format!("\0{}\0", photograph.bytes));
        }
    }

    fn take_unreadable(&self) -> Vec<String> {
        std::mem::take(&mut *self.skipped.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }
}
