//! Images are the same whichever way they came, and damage is noticed.

use std::io::Write;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ExtendedColorType, GrayImage, Luma, Rgb, RgbImage};
use sha2::{Digest, Sha256};
use sharpbench::data::augment::{Augment, ResizedCrop};
use sharpbench::data::loader::{Batch, order};
use sharpbench::data::{self, DataSet, DataSource, DataSpec, Fetch, OnUnreadable, Samples, sha256_file};
use sharpbench::random::{Stream, stream};

use crate::support::{Place, error, label, pixel, write_columns, write_named_columns, write_parquet};

/// A CMYK photograph.
const CMYK: &[u8] = include_bytes!("../data/cmyk.jpg");
const RUN: &str = "suite tiny.toml --quiet --out run --data";

fn load(name: &str, directory: &Path, [train, test]: [usize; 2]) -> sharpbench::Result<DataSet> {
    let spec = data::find(name).and_then(|e| e.spec([Some(train), Some(test)], None, None, None)).expect("a set");
    load_spec(&spec, directory)
}

fn load_spec(spec: &DataSpec, directory: &Path) -> sharpbench::Result<DataSet> {
    let fetch = Fetch { offline: true, bar: false, say: &|_| {}, warn: &|_| {} };
    data::load(spec, &DataSource::Directory(directory.into()), &fetch)
}

/// Classes and pixels [height, width, channels] of all samples.
fn contents(samples: &dyn Samples) -> Vec<(u32, Vec<u8>)> {
    let picture = |i| samples.picture(i).expect("readable").expect("an image").into_raw();
    (0..samples.len()).map(|i| (samples.label(i).expect("a class"), picture(i))).collect()
}

fn reason(result: sharpbench::Result<DataSet>, folder: &Path) -> String {
    let error = result.err().expect("an error").to_string();
    error.replace(&format!("{}/", folder.display()), "").replace(&folder.display().to_string(), "DIR")
}

/// Writes six batches of 10,000 records; training images count from 0, test images from 50,000.
fn write_batches(directory: &Path) {
    std::fs::create_dir_all(directory).expect("a folder");
    let mut sums = String::new();
    for batch in 0..6 {
        let name = if batch < 5 { format!("data_batch_{}.bin", batch + 1) } else { "test_batch.bin".into() };
        let mut bytes = Vec::with_capacity(30_730_000);
        for index in batch * 10_000..(batch + 1) * 10_000 {
            bytes.push(label(index));
            for channel in 0..3 {
                for row in 0..32 {
                    bytes.extend((0..32).map(|column| pixel(index, channel, row, column)));
                }
            }
        }
        let digest: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        sums.push_str(&format!("{digest}  {name}\n"));
        std::fs::write(directory.join(name), bytes).expect("a batch");
    }
    std::fs::write(directory.join("SHA256SUMS"), sums).expect("the sums");
}

#[test]
fn parquet_and_binary_batches_give_the_same_images() {
    let place = Place::new();
    write_batches(&place.path("binary/cifar-10-batches-bin"));
    write_parquet(&place.path("hub/plain_text/train/0000.parquet"), 0, 40);
    write_parquet(&place.path("hub/plain_text/test/0000.parquet"), 50_000, 25);
    write_parquet(&place.path("flat/train-00000-of-00001.parquet"), 0, 40);
    write_parquet(&place.path("flat/test-00000-of-00001.parquet"), 50_000, 25);
    let load = |name: &str| load("cifar10", &place.path(name), [30, 20]).expect("a data set");
    let binary = load("binary");
    let (train, test) = (contents(&*binary.train), contents(&*binary.test));
    for other in ["hub", "flat"].map(load) {
        assert_eq!(contents(&*other.train), train);
        assert_eq!(contents(&*other.test), test);
        assert_eq!(other.provenance.sha256, binary.provenance.sha256);
    }
    // Against candle-datasets, which gives pixels divided by 255.
    let candle =
        candle_datasets::vision::cifar::load_dir(place.path("binary/cifar-10-batches-bin")).expect("a data set");
    let pixels = |images: &candle_core::Tensor, n| -> Vec<f32> {
        images.narrow(0, 0, n).and_then(|t| t.permute((0, 2, 3, 1))?.flatten_all()?.to_vec1()).expect("pixels")
    };
    let bytes = |pixels: Vec<f32>| pixels.into_iter().map(|p| (p * 255.0).round() as u8).collect::<Vec<u8>>();
    let all = |images: &[(u32, Vec<u8>)]| images.iter().flat_map(|(_, pixels)| pixels.clone()).collect::<Vec<u8>>();
    assert_eq!(bytes(pixels(&candle.train_images, 30)), all(&train));
    assert_eq!(bytes(pixels(&candle.test_images, 20)), all(&test));
    // Against the definition, so that not all of them are transposed alike.
    for (channel, row, column) in [(0, 0, 31), (1, 7, 2), (2, 31, 0)] {
        let offset = (row * 32 + column) * 3 + channel;
        assert_eq!(train[29].1[offset], pixel(29, channel, row, column));
        assert_eq!(test[19].1[offset], pixel(50_019, channel, row, column));
    }
    // A changed byte is noticed.
    let batch = place.path("binary/cifar-10-batches-bin/data_batch_3.bin");
    let mut bytes = std::fs::read(&batch).expect("a batch");
    bytes[12_345] ^= 1;
    std::fs::write(&batch, bytes).expect("written");
    let message = error(place.sharpbench(&format!("{RUN} binary")));
    assert!(message.contains("data_batch_3.bin is damaged or not the original: sha256"), "{message}");
}

#[test]
fn missing_truncated_and_foreign_files_are_named() {
    let place = Place::new();
    let run = |directory: &str| error(place.sharpbench(&format!("{RUN} {directory}")));
    insta::assert_snapshot!(run("nowhere"), @"error: data: nowhere does not exist; --data takes auto, stand-in, hub or a directory with the data set's files");
    insta::assert_snapshot!(run("tiny.toml"), @"error: data: tiny.toml is not a directory; --data takes auto, stand-in, hub or a directory with the data set's files");
    std::fs::create_dir(place.path("empty")).expect("a folder");
    insta::assert_snapshot!(run("empty"), @"error: data: empty holds neither data_batch_1.bin (of cifar-10-binary.tar.gz) nor all files of cifar-10-batches-py nor plain_text/train/0000.parquet nor train*.parquet, in itself, plain_text or data; point --data at one of them");

    std::fs::create_dir(place.path("truncated")).expect("a folder");
    std::fs::write(place.path("truncated/data_batch_1.bin"), [0; 1000]).expect("written");
    insta::assert_snapshot!(run("truncated"), @"error: data: truncated/data_batch_1.bin has 1000 bytes, expected 30730000: it is truncated or another file; unpack cifar-10-binary.tar.gz again");

    // The right size, but not the original's bytes.
    std::fs::create_dir(place.path("foreign")).expect("a folder");
    let file = std::fs::File::create(place.path("foreign/data_batch_1.bin")).expect("a file");
    file.set_len(30_730_000).expect("sized");
    insta::assert_snapshot!(run("foreign"), @"error: data: foreign/data_batch_1.bin is damaged or not the original: sha256 3a8a84b64bcf861b26141d5cdcae007b8457d57210923dc132103760842ce568, expected cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5; unpack cifar-10-binary.tar.gz again (for your own modified images, add a SHA256SUMS file)");
}

#[test]
fn damaged_parquet_files_are_named_with_the_row() {
    let place = Place::new();
    let run = |directory: &str| error(place.sharpbench(&format!("{RUN} {directory}")));
    let good = |directory: &str| {
        write_parquet(&place.path(&format!("{directory}/train.parquet")), 0, 40);
        write_parquet(&place.path(&format!("{directory}/test.parquet")), 0, 40);
    };
    good("truncated");
    let path = place.path("truncated/train.parquet");
    let bytes = std::fs::read(&path).expect("the file");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
    let message = run("truncated");
    assert!(message.contains("truncated/train.parquet: not a readable parquet file"), "{message}");

    good("no-image");
    write_columns(&place.path("no-image/train.parquet"), vec![b"no PNG".to_vec().into(); 40], vec![0; 40]);
    let message = run("no-image");
    assert!(message.contains("the image of row 0 is unreadable"), "{message}");

    good("label");
    let image = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/data/photo-patches/camera.png")).expect("a PNG");
    write_columns(&place.path("label/train.parquet"), vec![image.into(); 40], vec![0; 40]);
    let message = run("label");
    assert!(message.contains("expected 32x32"), "{message}");

    good("sums");
    let sum = sha256_file(&place.path("sums/test.parquet")).expect("a digest");
    let mut sums = std::fs::File::create(place.path("sums/SHA256SUMS")).expect("a file");
    writeln!(sums, "{sum}  test.parquet\n{}  train.parquet", "0".repeat(64)).expect("written");
    let message = run("sums");
    assert!(message.contains("train.parquet is damaged or not the original"), "{message}");

    good("few");
    write_parquet(&place.path("few/train.parquet"), 0, 10);
    insta::assert_snapshot!(run("few"), @"error: data: cifar10 has 10 training samples, the suite requires 40; give --data DIR, or lower data.train (or take a smaller profile)");
}

/// Oracle: the definition of the format; a record has the coarse class, the fine class, the pixels.
#[test]
fn cifar100_takes_the_fine_class() {
    let place = Place::new();
    let record = |i: usize| {
        let mut bytes = vec![(i % 20) as u8, (i * 7 % 100) as u8];
        bytes.extend((0..3).flat_map(|c| (0..1024).map(move |at| pixel(i, c, at / 32, at % 32))));
        bytes
    };
    let folder = place.path("c100/cifar-100-binary");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("train.bin"), (0..12).flat_map(record).collect::<Vec<u8>>()).expect("written");
    std::fs::write(folder.join("test.bin"), (12..20).flat_map(record).collect::<Vec<u8>>()).expect("written");
    let directory = place.path("c100");
    let set = load("cifar100", &directory, [12, 8]).expect("a data set");
    for (samples, first) in [(&set.train, 0), (&set.test, 12)] {
        for (k, (label, pixels)) in contents(samples.as_ref()).into_iter().enumerate() {
            let i = first + k;
            assert_eq!(label as usize, i * 7 % 100);
            for (at, value) in pixels.into_iter().enumerate() {
                assert_eq!(value, pixel(i, at % 3, at / 96, at / 3 % 32));
            }
        }
    }
    let reason = |result| reason(result, &folder);
    insta::assert_snapshot!(reason(load("cifar100", &directory, [13, 8])), @"data: cifar100 has 12 training samples, the suite requires 13; give --data DIR, or lower data.train (or take a smaller profile)");
    let bytes = std::fs::read(folder.join("train.bin")).expect("bytes");
    std::fs::write(folder.join("train.bin"), &bytes[..bytes.len() - 1]).expect("written");
    insta::assert_snapshot!(reason(load("cifar100", &directory, [12, 8])), @"data: train.bin has 36887 bytes, expected 36888: it is truncated or another file; unpack cifar-100-binary.tar.gz again");
    std::fs::write(folder.join("train.bin"), [&bytes[..1], &[100], &bytes[2..]].concat()).expect("written");
    insta::assert_snapshot!(reason(load("cifar100", &directory, [12, 8])), @"data: train.bin: image 0 has label 100, outside 0..100; the file is damaged");
}

/// An idx file of these dimensions.
fn idx(magic: u32, dims: &[u32], body: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = std::iter::once(&magic).chain(dims).flat_map(|n| n.to_be_bytes()).collect();
    bytes.extend_from_slice(body);
    bytes
}

/// Writes the four files of MNIST's form with `n` images for each split, and their sums.
fn write_idx(folder: &Path, n: u32) {
    std::fs::create_dir_all(folder).expect("a folder");
    let mut sums = String::new();
    for (split, first) in [("train", 0), ("t10k", 1000)] {
        let range = first..first + n as usize;
        let pixels: Vec<u8> =
            range.clone().flat_map(|i| (0..784).map(move |at| pixel(i, 0, at / 28, at % 28))).collect();
        let labels: Vec<u8> = range.map(label).collect();
        for (kind, bytes) in
            [("images-idx3-ubyte", idx(2051, &[n, 28, 28], &pixels)), ("labels-idx1-ubyte", idx(2049, &[n], &labels))]
        {
            let path = folder.join(format!("{split}-{kind}"));
            std::fs::write(&path, bytes).expect("written");
            sums.push_str(&format!("{}  {split}-{kind}\n", sha256_file(&path).expect("a digest")));
        }
    }
    std::fs::write(folder.join("SHA256SUMS"), sums).expect("the sums");
}

/// Oracle: candle-datasets' own reader of the files.
#[test]
fn idx_files_give_the_images_that_candle_reads() {
    let place = Place::new();
    let folder = place.path("mnist");
    write_idx(&folder, 20);
    let set = load("mnist", &folder, [20, 20]).expect("a data set");
    let candle = candle_datasets::vision::mnist::load_dir(&folder).expect("candle's data set");
    for (samples, images, labels) in [
        (&set.train, &candle.train_images, &candle.train_labels),
        (&set.test, &candle.test_images, &candle.test_labels),
    ] {
        let images: Vec<Vec<f32>> = images.to_vec2().expect("pixels");
        let labels: Vec<u8> = labels.to_vec1().expect("labels");
        for (i, (label, pixels)) in contents(samples.as_ref()).into_iter().enumerate() {
            assert_eq!(label, u32::from(labels[i]));
            let expected = images[i].iter().flat_map(|p| [(p * 255.0).round() as u8; 3]).collect::<Vec<u8>>();
            assert_eq!(pixels, expected);
        }
    }
    // Packed, in torchvision's folder, and without sums, they are refused as not the original's; with sums, taken.
    let packed = place.path("packed/raw");
    std::fs::create_dir_all(&packed).expect("a folder");
    for entry in std::fs::read_dir(&folder).expect("files") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.ends_with("ubyte") {
            let file = std::fs::File::create(packed.join(format!("{name}.gz"))).expect("a file");
            let mut gz = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            gz.write_all(&std::fs::read(path).expect("bytes")).expect("written");
            gz.finish().expect("finished");
        }
    }
    let message = reason(load("mnist", &place.path("packed"), [20, 20]), &packed);
    assert!(message.contains("train-images-idx3-ubyte.gz is damaged or not the original"), "{message}");
    let sums: String = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
        .map(|name| {
            let name = format!("{name}-ubyte.gz");
            format!("{}  {name}\n", sha256_file(&packed.join(&name)).expect("a digest"))
        })
        .concat();
    std::fs::write(packed.join("SHA256SUMS"), sums).expect("the sums");
    let again = load("mnist", &place.path("packed"), [20, 20]).expect("a data set");
    assert_eq!(again.provenance.sha256, set.provenance.sha256);
}

/// The hub's files of the grey sets have a column `image`, those of CIFAR-100 two labels.
#[test]
fn parquet_files_of_other_shapes_give_the_same_images() {
    let place = Place::new();
    write_idx(&place.path("idx"), 12);
    let png = |image: DynamicImage| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).expect("a PNG");
        bytes.into_inner().into()
    };
    let grey = |i: usize| png(GrayImage::from_fn(28, 28, |x, y| Luma([pixel(i, 0, y as usize, x as usize)])).into());
    for (set, folder) in [("mnist", "mnist"), ("fashion-mnist", "fashion_mnist")] {
        for (split, first) in [("train", 0), ("test", 1000)] {
            let path = place.path(&format!("{set}/{folder}/{split}/0000.parquet"));
            let labels = (first..first + 12).map(|i| i64::from(label(i))).collect();
            write_named_columns(&path, ["image", "label"], (first..first + 12).map(grey).collect(), labels);
        }
        let parquet = load(set, &place.path(set), [12, 12]).expect("a data set");
        let idx = load(set, &place.path("idx"), [12, 12]).expect("a data set");
        assert_eq!(parquet.provenance.sha256, idx.provenance.sha256);
        assert_eq!(contents(&*parquet.test), contents(&*idx.test));
    }
    let colour = |i: usize| {
        png(RgbImage::from_fn(32, 32, |x, y| Rgb([0, 1, 2].map(|c| pixel(i, c, y as usize, x as usize)))).into())
    };
    for split in ["train", "test"] {
        let path = place.path(&format!("cifar100/cifar100/{split}/0000.parquet"));
        write_named_columns(&path, ["img", "fine_label"], (0..3).map(colour).collect(), vec![99, 0, 55]);
    }
    let set = load("cifar100", &place.path("cifar100"), [3, 3]).expect("a data set");
    assert_eq!(contents(&*set.train).iter().map(|(label, _)| *label).collect::<Vec<u32>>(), [99, 0, 55]);
}

#[test]
fn damaged_idx_files_are_named_with_what_is_wrong() {
    let place = Place::new();
    let damage = |name: &str, bytes: Vec<u8>| {
        let folder = place.path("damaged");
        write_idx(&folder, 3);
        std::fs::write(folder.join(name), bytes).expect("written");
        reason(load("mnist", &folder, [3, 3]), &folder)
    };
    let images = "train-images-idx3-ubyte";
    insta::assert_snapshot!(damage(images, idx(2049, &[3], &[1, 2, 3])), @"data: train-images-idx3-ubyte: its magic number is 2049, expected 2051: it is another file; fetch it again");
    insta::assert_snapshot!(damage(images, idx(2051, &[3, 28, 28], &[0; 100])), @"data: train-images-idx3-ubyte: it has 100 bytes where its header says 3 x 28 x 28: it is truncated or damaged; fetch it again");
    insta::assert_snapshot!(damage(images, idx(2051, &[u32::MAX, u32::MAX, u32::MAX], &[0; 100])), @"data: train-images-idx3-ubyte: it has 100 bytes where its header says 4294967295 x 4294967295 x 4294967295: it is truncated or damaged; fetch it again");
    insta::assert_snapshot!(damage(images, idx(2051, &[3, 10, 10], &[0; 300])), @"data: train-images-idx3-ubyte: its images are 10x10, expected 28x28");
    insta::assert_snapshot!(damage(images, idx(2051, &[2, 28, 28], &[0; 1568])), @"data: train-images-idx3-ubyte is damaged or not the original: sha256 12878cea1d1793cf2f4ef7e93a8adcc01bc824c4ac287a264710a7b561342584, expected 018c191bb05c7fd4a94ed4950990569025235e12a65a4ee57262f50e83ac6d03; fetch it again (for your own modified images, add a SHA256SUMS file)");
    insta::assert_snapshot!(damage(images, Vec::new()), @"data: train-images-idx3-ubyte: it is empty or truncated; fetch it again");
    insta::assert_snapshot!(damage("t10k-labels-idx1-ubyte", idx(2049, &[3], &[1, 10, 3])), @"data: t10k-labels-idx1-ubyte: label 1 is 10, outside 0..10; the file is damaged, fetch it again");
    std::fs::remove_file(place.path("damaged/train-labels-idx1-ubyte")).expect("removed");
    let folder = place.path("damaged");
    insta::assert_snapshot!(reason(load("mnist", &folder, [3, 3]), &folder), @"data: DIR holds neither train-labels-idx1-ubyte nor train-labels-idx1-ubyte.gz; fetch it");
}

#[test]
fn another_text_than_shakespeare_is_refused() {
    let place = Place::new();
    let folder = place.path("text");
    std::fs::create_dir_all(&folder).expect("a folder");
    insta::assert_snapshot!(reason(load("shakespeare", &folder, [10, 10]), &folder), @"data: DIR holds neither tinyshakespeare.txt nor tiny_shakespeare.txt nor input.txt nor default/train/0000.parquet; point --data at one of them");
    std::fs::write(folder.join("input.txt"), "To be, or not to be").expect("written");
    insta::assert_snapshot!(reason(load("shakespeare", &folder, [10, 10]), &folder), @"data: input.txt is damaged or not the original: sha256 80ed7fc26bc0bbb12ef93ae6dbc4bdaae8262e83e65163626e57c24b8fc316a8, expected 86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed; fetch input.txt of tiny_shakespeare again");
}

/// A labelled character follows its own: sequences of a text, without and with a random start.
#[test]
fn text_is_cut_into_sequences_with_the_next_characters_as_labels() {
    let spec = data::find("synthetic-text").and_then(|e| e.spec([Some(50), Some(5)], None, None, None)).expect("a set");
    let fetch = Fetch { offline: true, bar: false, say: &|_| {}, warn: &|_| {} };
    let set = data::load(&spec, &DataSource::StandIn, &fetch).expect("a data set");
    let rows = |batch: &Batch| batch.input.to_vec2::<u32>().expect("tokens");
    let plain = set.train.batch(&(0..50).collect::<Vec<u32>>(), None).expect("a batch");
    let text: Vec<u32> = rows(&plain).concat();
    assert_eq!(plain.labels[..text.len() - 1], text[1..]);
    let mut starts = std::collections::BTreeSet::new();
    set.epoch(1, (0, 0), (10, false), &Augment::default(), |batches| {
        for batch in batches {
            let batch = batch?;
            for (row, labels) in rows(&batch).iter().zip(batch.labels.chunks(64)) {
                assert_eq!(row[1..], labels[..63]);
                let start = text.windows(64).position(|window| window == row).expect("a piece of the text");
                starts.insert(start % 64);
            }
        }
        Ok(())
    })
    .expect("an epoch");
    assert!(starts.len() > 20, "cuts fall anywhere: {starts:?}");
}

/// Writes a class folder of PNG files of 24x24 pixels.
fn write_class(folder: &Path, first: usize, n: usize) {
    std::fs::create_dir_all(folder).expect("a folder");
    for i in first..first + n {
        let image = RgbImage::from_fn(24, 24, |x, y| Rgb([0, 1, 2].map(|c| pixel(i, c, y as usize, x as usize))));
        image.save(folder.join(format!("{i:03}.png"))).expect("saved");
    }
}

fn folder_spec(train: usize, test: usize, size: usize, unreadable: OnUnreadable) -> DataSpec {
    let entry = data::find("image-folder").expect("the set");
    entry.spec([Some(train), Some(test)], Some(size), Some(2), Some(unreadable)).expect("a specification")
}

#[test]
fn image_folders_give_every_pixel_and_take_classes_in_turn() {
    let place = Place::new();
    for (class, first) in [("train/cats", 0), ("train/dogs", 10), ("val/cats", 20), ("val/dogs", 30)] {
        write_class(&place.path("set").join(class), first, 3);
    }
    let set = load_spec(&folder_spec(6, 4, 24, OnUnreadable::Error), &place.path("set")).expect("a data set");
    for (samples, order) in [(&set.train, vec![0, 10, 1, 11, 2, 12]), (&set.test, vec![20, 30, 21, 31])] {
        let found = contents(samples.as_ref());
        assert_eq!(found.len(), order.len());
        for ((label, pixels), i) in found.into_iter().zip(order) {
            assert_eq!(label as usize, i / 10 % 2);
            for (at, value) in pixels.into_iter().enumerate() {
                assert_eq!(value, pixel(i, at % 3, at / 72, at / 3 % 24));
            }
        }
    }
    // As a batch: planes, normalised by ImageNet's mean and deviation.
    let batch = set.train.batch(&[3], None).expect("a batch");
    let values: Vec<f32> = batch.input.flatten_all().and_then(|t| t.to_vec1()).expect("pixels");
    let expected = (f32::from(pixel(11, 1, 5, 7)) / 255.0 - 0.456) / 0.224;
    assert_eq!(values[576 + 5 * 24 + 7], expected);
}

/// JPEG in colour, grey and CMYK; PNG with alpha and with 16 bits. Oracle: another decoder of JPEG, jpeg-decoder.
#[test]
fn photographs_of_every_kind_are_read() {
    let place = Place::new();
    let cats = place.path("set/train/cats");
    for class in ["train/cats", "train/dogs", "test/cats", "test/dogs"] {
        write_class(&place.path("set").join(class), 0, 1);
    }
    std::fs::remove_file(cats.join("000.png")).expect("removed");
    let smooth = |x: u32, y: u32| [(40 + 5 * x) as u8, (20 + 7 * y) as u8, (200 - 3 * x - 2 * y) as u8];
    let colour = RgbImage::from_fn(24, 24, |x, y| Rgb(smooth(x, y)));
    let encode = |name: &str, pixels: &[u8], kind: ExtendedColorType| {
        let file = std::fs::File::create(cats.join(name)).expect("a file");
        JpegEncoder::new_with_quality(file, 95).encode(pixels, 24, 24, kind).expect("encoded");
    };
    encode("0-colour.JPEG", colour.as_raw(), ExtendedColorType::Rgb8);
    encode("1-grey.jpg", DynamicImage::from(colour.clone()).to_luma8().as_raw(), ExtendedColorType::L8);
    DynamicImage::from(colour.clone()).to_rgba8().save(cats.join("2-alpha.png")).expect("saved");
    DynamicImage::from(colour.clone()).to_rgb16().save(cats.join("3-deep.PNG")).expect("saved");
    // Four channels, Adobe's inverted CMYK: a JPEG of one colour, made by Pillow 13.
    std::fs::write(cats.join("4-cmyk.jpg"), CMYK).expect("written");
    std::fs::write(cats.join("notes.txt"), "no image").expect("written");

    let set = load_spec(&folder_spec(6, 2, 24, OnUnreadable::Error), &place.path("set")).expect("a data set");
    let pictures: Vec<Vec<u8>> =
        contents(&*set.train).into_iter().filter(|(label, _)| *label == 0).map(|(_, pixels)| pixels).collect();
    assert_eq!(pictures.len(), 5);
    let theirs = |name: &str| {
        let file = std::fs::File::open(cats.join(name)).expect("a file");
        jpeg_decoder::Decoder::new(std::io::BufReader::new(file)).decode().expect("decoded")
    };
    let worst = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().expect("pixels");
    assert!(worst(&pictures[0], &theirs("0-colour.JPEG")) <= 3);
    let grey: Vec<u8> = theirs("1-grey.jpg").into_iter().flat_map(|g| [g; 3]).collect();
    assert!(worst(&pictures[1], &grey) <= 2);
    assert_eq!(&pictures[2], colour.as_raw());
    assert_eq!(&pictures[3], colour.as_raw());
    // Cyan .2, magenta .6, yellow .4, no black.
    assert!(worst(&pictures[4], &[204, 102, 153].repeat(576)) <= 6, "{:?}", &pictures[4][..3]);
}

#[test]
fn unreadable_photographs_end_the_run_or_are_left_out() {
    let place = Place::new();
    for (class, first) in [("train/cats", 0), ("train/dogs", 10), ("test/cats", 20), ("test/dogs", 30)] {
        write_class(&place.path("set").join(class), first, 4);
    }
    let folder = place.path("set");
    let bytes = std::fs::read(folder.join("train/cats/002.png")).expect("bytes");
    std::fs::write(folder.join("train/cats/002.png"), &bytes[..bytes.len() / 2]).expect("written");
    let set = load_spec(&folder_spec(8, 8, 24, OnUnreadable::Error), &folder).expect("a data set");
    // Decoders forgive a JPEG that ends too early, which nobody wants to train on.
    let jpeg = folder.join("train/cats/000.png");
    let png = std::fs::read(&jpeg).expect("bytes");
    let first = |set: &DataSet| set.train.batch(&[0], None).map(drop).map_err(|e| e.to_string());
    let loaded = || load_spec(&folder_spec(8, 8, 24, OnUnreadable::Error), &folder).expect("a data set");
    std::fs::write(&jpeg, CMYK).expect("written");
    assert_eq!(first(&loaded()), Ok(()), "by its content, not by its name");
    std::fs::write(&jpeg, &CMYK[..CMYK.len() - 2]).expect("written");
    let error = first(&loaded()).expect_err("an error");
    assert!(error.contains("000.png cannot be read (it is truncated)"), "{error}");
    // One that is not what it was when the set was listed is no unreadable photograph, but another set.
    let error = first(&set).expect_err("an error");
    assert!(error.contains("000.png has changed since the run began: it has "), "{error}");
    std::fs::remove_file(&jpeg).expect("removed");
    let error = first(&set).expect_err("an error");
    assert!(error.contains("cannot read") && error.contains("000.png"), "{error}");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nothing", &jpeg).expect("linked");
        let error = first(&loaded()).expect_err("an error");
        assert!(error.contains("it is a broken symbolic link"), "{error}");
        std::fs::remove_file(&jpeg).expect("removed");
    }
    std::fs::write(&jpeg, png).expect("written");
    let error = set.train.batch(&[3, 4], None).err().expect("an error").to_string();
    assert!(error.contains("train/cats/002.png cannot be read"), "{error}");
    assert!(error.ends_with("replace it, or set data.unreadable = \"skip\" in the suite"), "{error}");

    let set = load_spec(&folder_spec(8, 8, 24, OnUnreadable::Skip), &folder).expect("a data set");
    let batch = set.train.batch(&[3, 4, 5], None).expect("a batch");
    let expected = set.train.batch(&[3, 5], None).expect("a batch");
    let values = |batch: &Batch| batch.input.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("values");
    assert_eq!((values(&batch), batch.labels), (values(&expected), expected.labels));
    let left_out = set.take_provenance().unreadable;
    assert!(left_out.len() == 1 && left_out[0].ends_with("train/cats/002.png"), "{left_out:?}");
    assert!(set.take_provenance().unreadable.is_empty(), "asked twice, told once");
    // A batch of nothing else is empty, and an epoch passes over it.
    assert!(set.train.batch(&[4], None).expect("an empty batch").labels.is_empty());
    let mut seen = 0;
    set.epoch(1, (0, 0), (1, false), &Augment::default(), |batches| {
        batches.iter().for_each(|batch| seen += batch.expect("a batch").labels.len());
        Ok(())
    })
    .expect("an epoch");
    assert_eq!(seen, 7);
}

#[test]
fn folders_that_are_no_image_folder_are_explained() {
    let place = Place::new();
    let folder = place.path("set");
    let run = || reason(load_spec(&folder_spec(2, 2, 24, OnUnreadable::Error), &folder), &folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    insta::assert_snapshot!(run(), @"data: DIR has no folder train; it must hold train/CLASS/*.jpg and test/CLASS/*.jpg");
    std::fs::create_dir_all(folder.join("train")).expect("a folder");
    std::fs::create_dir_all(folder.join("test")).expect("a folder");
    insta::assert_snapshot!(run(), @"data: train is empty: it has no class folder");
    write_class(&folder.join("train/cats"), 0, 2);
    std::fs::create_dir_all(folder.join("train/dogs")).expect("a folder");
    write_class(&folder.join("test/cats"), 0, 2);
    insta::assert_snapshot!(run(), @"data: test lacks the class dogs; add it");
    std::fs::create_dir_all(folder.join("test/dogs")).expect("a folder");
    insta::assert_snapshot!(run(), @"data: train/dogs holds no JPEG or PNG file; add some");
    write_class(&folder.join("train/dogs"), 0, 2);
    insta::assert_snapshot!(run(), @"data: test/dogs holds no JPEG or PNG file; add some");
    write_class(&folder.join("test/dogs"), 0, 2);
    write_class(&folder.join("test/emus"), 0, 2);
    insta::assert_snapshot!(run(), @"data: test has the class emus, which train lacks; remove it");
    write_class(&folder.join("train/emus"), 0, 2);
    insta::assert_snapshot!(run(), @"data: train has 3 class folders, image-folder has 2 classes; correct the directory, or data.classes of an image-folder");
}

/// The order of random draws, not of threads, decides about augmentation: an epoch is its samples one by one.
#[test]
fn random_crops_of_photographs_are_the_same_again() {
    let place = Place::new();
    for (class, first) in [("train/cats", 0), ("train/dogs", 10), ("test/cats", 20), ("test/dogs", 30)] {
        write_class(&place.path("set").join(class), first, 8);
    }
    let set = load_spec(&folder_spec(16, 4, 16, OnUnreadable::Error), &place.path("set")).expect("a data set");
    let augment = Augment { resized_crop: Some(ResizedCrop::default()), flip: true, ..Augment::default() };
    let epoch = |epoch| {
        let mut values = Vec::new();
        let consumed = set.epoch(5, (epoch, 0), (4, false), &augment, |batches| {
            for batch in batches {
                values.push(batch?.input.flatten_all()?.to_vec1::<f32>()?);
            }
            Ok(())
        });
        consumed.expect("an epoch");
        values
    };
    assert_eq!(epoch(0), epoch(0));
    let rng = &mut stream(5, Stream::Augment(0));
    let one_by_one: Vec<Vec<f32>> = order(5, 0, 16)
        .into_iter()
        .map(|index| {
            let draw = augment.draw(set.input, rng);
            let batch = set.train.batch(&[index], Some((&augment, &[draw]))).expect("a batch");
            batch.input.flatten_all().and_then(|t| t.to_vec1()).expect("values")
        })
        .collect();
    assert_eq!(epoch(0).concat(), one_by_one.concat());
    assert_ne!(epoch(0), epoch(1));
}

/// `data verify` finds out what a directory is, looks at every sample, and draws a sheet.
#[test]
fn verify_reads_everything() {
    let place = Place::new();
    for (class, first) in [("train/cats", 0), ("train/dogs", 10), ("test/cats", 20), ("test/dogs", 30)] {
        write_class(&place.path("set").join(class), first, 3);
    }
    let output = place.sharpbench("data verify set --contact-sheet sheet.png").assert().code(0).get_output().clone();
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("image-folder from directory, 2 classes"), "{text}");
    assert!(text.contains("training 6 samples, 3 to 3 of each class"), "{text}");
    assert!(text.contains("row 2  dogs"), "{text}");
    // Rows of pictures, on white paper: the first has the class's first pixels.
    let sheet = image::open(place.path("sheet.png")).expect("a sheet").to_rgb8();
    assert_eq!(sheet.get_pixel(0, 0).0, [255; 3]);
    assert_ne!(sheet.get_pixel(20, 20).0, [255; 3]);
    // Another is replaced, anything else is not.
    place.sharpbench("data verify set --contact-sheet sheet.png").assert().code(0);
    std::fs::write(place.path("notes.txt"), "mine").expect("written");
    insta::assert_snapshot!(error(place.sharpbench("data verify set --contact-sheet notes.txt")), @"error: notes.txt is not a PNG file, so no contact sheet; choose another file with --contact-sheet");
    assert_eq!(std::fs::read_to_string(place.path("notes.txt")).expect("a file"), "mine");

    std::fs::write(place.path("set/test/dogs/031.png"), "no image").expect("written");
    let output = place.sharpbench("data verify set").assert().code(1).get_output().clone();
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("031.png cannot be read") && text.contains("1 samples cannot be read"), "{text}");
    insta::assert_snapshot!(error(place.sharpbench("data verify mnist --offline")), @"error: hub: ylecun/mnist is not in the cache and --offline forbids the network; run once without it");
    insta::assert_snapshot!(error(place.sharpbench("data verify no/such")), @"error: no/such is not a directory; give the one that holds the data set's files");
    insta::assert_snapshot!(error(place.sharpbench("data verify set --data hub")), @"error: --data does not apply to the directory set; name the data set, or leave it out");
    insta::assert_snapshot!(error(place.sharpbench("data verify nothing")), @r#"error: data.name = "nothing" is not known; use one of cifar10, cifar100, mnist, fashion-mnist, shakespeare, imagenet, image-folder, photo-patches, mnist-5k, synthetic, synthetic-text, or a directory that holds one"#);
    std::fs::create_dir(place.path("empty")).expect("a folder");
    insta::assert_snapshot!(error(place.sharpbench("data verify empty")), @"error: data: empty does not have the layout of a data set, or lacks files; name the data set: data verify NAME --data empty");
    insta::assert_snapshot!(error(place.sharpbench("data fetch imagenet")), @"error: imagenet is read from your own directory; there is nothing to fetch");
    let text = place.sharpbench("data verify mnist --data stand-in").assert().code(0).get_output().stdout.clone();
    assert!(String::from_utf8(text).expect("text").contains("training 4000 samples, 400 to 400 of each class"));
}

/// What the program embeds or makes is part of every number published with it: a change here must raise `NUMERICS`.
#[test]
fn embedded_sets_are_pinned() {
    let mut digests = String::new();
    for entry in data::DATA_SETS.iter().filter(|entry| entry.is_embedded()) {
        let spec = |size, classes| entry.spec([Some(20), Some(10)], size, classes, None);
        let spec = spec(None, None).or_else(|_| spec(Some(16), Some(5))).expect("a specification");
        let fetch = Fetch { offline: true, bar: false, say: &|_| {}, warn: &|_| {} };
        let set = data::load(&spec, &DataSource::Auto, &fetch).expect("an embedded set");
        assert_eq!((set.train.len(), set.test.len()), (20, 10), "{}", entry.name);
        let labels: Vec<u32> = (0..20).filter_map(|i| set.train.label(i)).collect();
        assert!(labels.iter().all(|label| (*label as usize) < set.classes));
        digests.push_str(&format!("{} {}\n", entry.name, set.provenance.sha256));
    }
    insta::assert_snapshot!(digests, @"
    photo-patches ef539d31eb1d4332a4cee25c9d6c6b2c80eb714e7cda88da2f2906b1e32b42e8
    mnist-5k 822a3b94359229c8d0cc734871b3b7f6131ad6f412a40f4fe84cb3d568a41132
    synthetic 120ae016aea03b5e679bce0e0cad2cc59f05978821c8d361869fee70221157a7
    synthetic-text bb764e36f9e2e9470eebfc1be6904f0715eab4cb2fbede6f2a3887d9397d5685
    ");
}

/// MNIST's mean and deviation hold for the embedded part of it, whose classes are balanced in every cut.
#[test]
fn the_embedded_digits_look_like_mnist() {
    let spec = data::find("mnist-5k").and_then(|e| e.spec([None; 2], None, None, None)).expect("a set");
    let fetch = Fetch { offline: true, bar: false, say: &|_| {}, warn: &|_| {} };
    let set = data::load(&spec, &DataSource::StandIn, &fetch).expect("a data set");
    assert_eq!((set.train.len(), set.test.len()), (4000, 1000));
    assert!((0..4000).all(|i| set.train.label(i) == Some(i as u32 % 10)));
    let batch = set.train.batch(&(0..4000).collect::<Vec<u32>>(), None).expect("a batch");
    let values: Vec<f32> = batch.input.flatten_all().and_then(|t| t.to_vec1()).expect("values");
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
    let square = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64;
    assert!(mean.abs() < 0.02 && (square - 1.0).abs() < 0.02, "mean {mean}, mean square {square}");
}
