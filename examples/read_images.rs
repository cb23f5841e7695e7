//! The time to read, decode and augment a folder of photographs, as training does: random crops of 224x224, mirrored by chance. For
//! the comparison with torchvision in benches/pytorch/reading.py.
//!
//!     cargo run --example read_images -- DIR      (DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg)

use std::path::Path;
use std::time::Instant;

use sharpbench::data::augment::{Augment, ResizedCrop};
use sharpbench::data::{DataSource, DataSpec, Fetch, load};

/// The program's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZE: usize = 224;
const BATCH_SIZE: usize = 64;
const EPOCHS: usize = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("give a folder that holds train/CLASS/*.jpg and test/CLASS/*.jpg")?;
    let count = |split: &str| -> std::io::Result<[usize; 2]> {
        let classes: Vec<_> = Path::new(&directory).join(split).read_dir()?.collect::<Result<_, _>>()?;
        let files = classes.iter().map(|class| Ok(class.path().read_dir()?.count())).sum::<std::io::Result<usize>>()?;
        Ok([classes.len(), files])
    };
    let ([classes, train], [_, test]) = (count("train")?, count("test")?);
    let spec = DataSpec {
        name: "image-folder".into(),
        train,
        test,
        validation: false,
        size: Some(SIZE),
        classes: Some(classes),
        unreadable: None,
        centre_pixels: false,
        label_noise: None,
    };
    let fetch =
        Fetch { offline: true, bar: false, say: &|text| eprintln!("{text}"), warn: &|text| eprintln!("{text}") };
    let data = load(&spec, &DataSource::Directory(directory.into()), &fetch)?;
    let augment = Augment { flip: true, resized_crop: Some(ResizedCrop::default()), ..Augment::default() };
    for epoch in 0..EPOCHS {
        let (start, mut images) = (Instant::now(), 0);
        data.epoch(1, (epoch, 0), (BATCH_SIZE, true), &augment, |batches| {
            for batch in batches {
                images += batch?.labels.len();
            }
            Ok(())
        })?;
        println!("{:.1}", images as f64 / start.elapsed().as_secs_f64());
    }
    Ok(())
}
