//! synthetic: seeded images for tests and as a stand-in for sets that may not be redistributed.
//! Each class is a pattern of waves; an image is its class's pattern, shifted, plus noise.

use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::f64::consts::TAU;

use super::{DataSet, DataSetEntry, Images, Input, Normalise, Provenance, Request};
use crate::error::{Error, Result};
use crate::random::{Stream, normal_pair, stream, unit};

pub(super) const ENTRY: DataSetEntry = DataSetEntry {
    name: "synthetic",
    about: "seeded RGB images of any number, size and number of classes: patterns under noise",
    input: Input::Image([3, 32, 32]),
    classes: 10,
    origin: "made by the program",
    available: None,
    photographs: false,
    stand_in: "synthetic",
    load,
    recognises: |_| false,
};

const NORMALISE: Normalise = Normalise { mean: [0.5; 3], std: [0.25; 3] };
/// Maximum bytes of all images.
const MOST_BYTES: usize = 4_000_000_000;
/// Waves per pattern and channel.
const WAVES: usize = 3;
/// Amplitude of waves and of noise, in grey levels.
const WAVE: f64 = 28.0;
const NOISE: f64 = 30.0;

fn load(request: &Request<'_>) -> Result<DataSet> {
    let shape = request.image_shape()?;
    let classes = request.spec.class_count().map_err(Error::Data)?;
    if classes > 256 {
        (request.fetch.warn)("data: synthetic images are drawn from the first 256 classes only");
    }
    let samples = request.spec.train.saturating_add(request.spec.test);
    let bytes = samples.saturating_mul(shape.iter().product());
    if bytes > MOST_BYTES {
        return Err(Error::Data(format!(
            "synthetic images of this size and number would take {} GB of memory; lower data.train or give --data DIR",
            bytes / 1_000_000_000
        )));
    }
    let split = |name, n| images(name, n, shape, classes.min(256));
    let splits = [split("train", request.spec.train), split("test", request.spec.test)];
    let provenance = Provenance::made(ENTRY.name, "embedded", Vec::new());
    Ok(DataSet::of_images(splits, classes, NORMALISE, provenance))
}

/// Waves of a class: (frequency down, frequency across, phase) by channel.
fn pattern(class: usize) -> Vec<[f64; 3]> {
    let mut rng = stream(0, Stream::Synthetic("class"));
    rng.set_stream(class as u64);
    let between = |rng: &mut ChaCha8Rng, low: f64, high: f64| low + (high - low) * f64::from(unit(rng));
    (0..3 * WAVES)
        .map(|_| [between(&mut rng, -3.0, 3.0), between(&mut rng, -3.0, 3.0), between(&mut rng, 0.0, 1.0)])
        .collect()
}

/// The first `n` images of a split; classes alternate.
fn images(split: &str, n: usize, shape: [usize; 3], classes: usize) -> Images {
    let [channels, height, width] = shape;
    let patterns: Vec<_> = (0..classes).map(pattern).collect();
    let pixels: Vec<Vec<u8>> = (0..n)
        .into_par_iter()
        .map(|i| {
            let mut rng = stream(0, Stream::Synthetic(split));
            rng.set_stream(i as u64);
            let (dy, dx) = (f64::from(unit(&mut rng)) * 0.3, f64::from(unit(&mut rng)) * 0.3);
            let mut spare = None;
            let mut pixels = Vec::with_capacity(channels * height * width);
            for waves in patterns[i % classes].chunks(WAVES).take(channels) {
                for y in 0..height {
                    for x in 0..width {
                        let (v, u) = (dy + y as f64 / height as f64, dx + x as f64 / width as f64);
                        let sum: f64 = waves.iter().map(|[a, b, p]| libm::sin(TAU * (a * v + b * u + p))).sum();
                        let noise = spare.take().unwrap_or_else(|| {
                            let (first, second) = normal_pair(&mut rng);
                            spare = Some(second);
                            first
                        });
                        pixels.push((127.5 + WAVE * sum + NOISE * noise).clamp(0.0, 255.0) as u8);
                    }
                }
            }
            pixels
        })
        .collect();
    Images { pixels: pixels.concat(), labels: (0..n).map(|i| (i % classes) as u8).collect(), shape }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_images_do_not_depend_on_how_many_there_are() {
        let (few, many) = (images("train", 6, [3, 9, 7], 4), images("train", 9, [3, 9, 7], 4));
        assert_eq!(few.pixels, many.pixels[..few.pixels.len()]);
        assert_eq!(many.labels, [0, 1, 2, 3, 0, 1, 2, 3, 0]);
        assert_ne!(images("test", 6, [3, 9, 7], 4).pixels, few.pixels);
    }
}
