//! Images are the same whichever way they came, and damage is noticed.

mod support;

use std::io::Write;
use std::path::Path;

use sha2::{Digest, Sha256};
use sharpbench::data::{self, DataSet, DataSource, Fetch, sha256_file};
use support::{Place, error, label, pixel, write_columns, write_parquet};

const RUN: &str = "suite tiny.toml --quiet --out run --data";

fn load(directory: &Path) -> DataSet {
    let fetch = Fetch { train: 30, test: 20, offline: true, bar: false, say: &|_| {}, warn: &|_| {} };
    data::load("cifar10", &DataSource::Directory(directory.into()), &fetch).expect("a data set")
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
    let binary = load(&place.path("binary"));
    for other in ["hub", "flat"].map(|name| load(&place.path(name))) {
        assert_eq!(other.train, binary.train);
        assert_eq!(other.test, binary.test);
        assert_eq!(other.provenance.sha256, binary.provenance.sha256);
    }
    // Against candle-datasets, which gives pixels divided by 255.
    let candle =
        candle_datasets::vision::cifar::load_dir(place.path("binary/cifar-10-batches-bin")).expect("a data set");
    let pixels = |images: &candle_core::Tensor, n| -> Vec<f32> {
        images.narrow(0, 0, n).and_then(|t| t.flatten_all()?.to_vec1()).expect("pixels")
    };
    let bytes = |pixels: Vec<f32>| pixels.into_iter().map(|p| (p * 255.0).round() as u8).collect::<Vec<u8>>();
    assert_eq!(bytes(pixels(&candle.train_images, 30)), binary.train.pixels);
    assert_eq!(bytes(pixels(&candle.test_images, 20)), binary.test.pixels);
    // Against the definition, so that not all of them are transposed alike.
    for (channel, row, column) in [(0, 0, 31), (1, 7, 2), (2, 31, 0)] {
        let offset = (channel * 32 + row) * 32 + column;
        assert_eq!(binary.train.image(29)[offset], pixel(29, channel, row, column));
        assert_eq!(binary.test.image(19)[offset], pixel(50_019, channel, row, column));
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
    insta::assert_snapshot!(run("empty"), @"error: data: empty holds neither data_batch_1.bin nor plain_text/train/0000.parquet nor train*.parquet; point --data at the unpacked cifar-10-binary.tar.gz or at parquet files of the hub's shape");

    std::fs::create_dir(place.path("truncated")).expect("a folder");
    std::fs::write(place.path("truncated/data_batch_1.bin"), [0; 1000]).expect("written");
    insta::assert_snapshot!(run("truncated"), @"error: data: truncated/data_batch_1.bin has 1000 bytes, expected 30730000: it is truncated or another file; unpack cifar-10-binary.tar.gz anew");

    // The right size, but not the original's bytes.
    std::fs::create_dir(place.path("foreign")).expect("a folder");
    let file = std::fs::File::create(place.path("foreign/data_batch_1.bin")).expect("a file");
    file.set_len(30_730_000).expect("sized");
    insta::assert_snapshot!(run("foreign"), @"error: data: foreign/data_batch_1.bin is damaged or not the original: sha256 3a8a84b64bcf861b26141d5cdcae007b8457d57210923dc132103760842ce568, expected cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5; unpack cifar-10-binary.tar.gz anew (for changed images of your own, add a SHA256SUMS file)");
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
    insta::assert_snapshot!(run("few"), @"error: data: cifar10 has 10 training images, the suite wants 40; lower data.train or use another source");
}
