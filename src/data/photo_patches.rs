//! photo-patches: the embedded stand-in for CIFAR-10, whose licence does not allow redistribution.
//!
//! 32x32 RGB crops of ten openly licensed photographs (data/photo-patches/README.md); the class is
//! the photograph. Training and test crops come from tiles that share no pixel. Each crop has its
//! own random stream, independent of any cell's seed, so the first n images do not depend on n.

use image::RgbImage;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sharpbench_kernels::planes;

use super::{DataSet, DataSetEntry, FileDigest, Images, Input, Normalise, Provenance, Request};
use crate::error::{Error, Result};
use crate::random::{Stream, below, normal_pair, stream, unit};

pub(super) const ENTRY: DataSetEntry = DataSetEntry {
    name: "photo-patches",
    about: "embedded stand-in: crops of ten photographs, the class being the photograph, 32x32 RGB",
    input: Input::Image([3, SIDE, SIDE]),
    classes: PHOTOS.len(),
    origin: "embedded",
    available: Some([50_000, 10_000]),
    photographs: false,
    stand_in: "photo-patches",
    load,
    originals: None,
    recognises: |_| false,
};

/// Name and PNG of every photograph; the index is the class.
const PHOTOS: [(&str, &[u8]); 10] = [
    ("astronaut", include_bytes!("../../data/photo-patches/astronaut.png")),
    ("camera", include_bytes!("../../data/photo-patches/camera.png")),
    ("chelsea", include_bytes!("../../data/photo-patches/chelsea.png")),
    ("china", include_bytes!("../../data/photo-patches/china.png")),
    ("coffee", include_bytes!("../../data/photo-patches/coffee.png")),
    ("flower", include_bytes!("../../data/photo-patches/flower.png")),
    ("grace_hopper", include_bytes!("../../data/photo-patches/grace_hopper.png")),
    ("hubble", include_bytes!("../../data/photo-patches/hubble.png")),
    ("retina", include_bytes!("../../data/photo-patches/retina.png")),
    ("rocket", include_bytes!("../../data/photo-patches/rocket.png")),
];

const SIDE: usize = 32;
/// Minimum side of a tile in photograph pixels; every third diagonal of tiles is for testing.
const TILE: usize = 57;
/// Photograph pixels per crop pixel.
const SCALE: [f64; 2] = [0.7, 1.35];
/// Maximum rotation in degrees.
const ANGLE: f64 = 15.0;
/// Minimum contrast (standard deviation of grey levels). A flatter crop is redrawn, up to a few
/// times.
const LEAST_CONTRAST: f64 = 10.0;
const TRIES: usize = 10;
// Distortions, so that colour and brightness do not reveal the class.
const LEAST_SATURATION: f64 = 0.25;
const CONTRAST: f64 = 0.25;
const BRIGHTNESS: f64 = 20.0;
const CHANNEL_GAIN: f64 = 0.2;
const NOISE: f64 = 8.0;

/// Statistics of 10,000 training crops.
const NORMALISE: Normalise = Normalise { mean: [0.4297, 0.3594, 0.3298], std: [0.2981, 0.2590, 0.2486] };

#[derive(Clone, Copy, PartialEq)]
enum Split {
    Train,
    Test,
}

fn load(request: &Request<'_>) -> Result<DataSet> {
    let mut photos = Vec::new();
    let mut files = Vec::new();
    for (name, png) in PHOTOS {
        let photo =
            image::load_from_memory(png).map_err(|e| Error::Data(format!("embedded photograph {name}: {e}")))?;
        photos.push(photo.to_rgb8());
        files.push(FileDigest { file: format!("{name}.png"), sha256: crate::digest::sha256_bytes(png) });
    }
    let splits = [crops(&photos, Split::Train, request.spec.train), crops(&photos, Split::Test, request.spec.test)];
    let provenance = Provenance::made(ENTRY.name, "embedded", files);
    let set = DataSet::of_images(splits, ENTRY.classes, NORMALISE, provenance);
    Ok(set.named(PHOTOS.map(|(name, _)| name)))
}

/// The first `n` crops of a split; classes alternate.
fn crops(photos: &[RgbImage], split: Split, n: usize) -> Images {
    let name = if split == Split::Train { "train" } else { "test" };
    let photos: Vec<_> = photos.iter().map(|photo| (photo, tiles(photo, split))).collect();
    let crops: Vec<Vec<u8>> = (0..n)
        .into_par_iter()
        .map(|i| {
            let mut rng = stream(0, Stream::PhotoPatches(name));
            rng.set_stream(i as u64);
            let (photo, tiles) = &photos[i % photos.len()];
            crop(photo, tiles, &mut rng)
        })
        .collect();
    Images {
        pixels: crops.concat(),
        labels: (0..n).map(|i| (i % photos.len()) as u8).collect(),
        shape: [3, SIDE, SIDE],
    }
}

fn between(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * f64::from(unit(rng))
}

/// Tiles of a split, as x0, x1, y0, y1 (ends excluded), with a free border of one pixel.
fn tiles(photo: &RgbImage, split: Split) -> Vec<[usize; 4]> {
    let (width, height) = (photo.width() as usize, photo.height() as usize);
    let (columns, rows) = (width / TILE, height / TILE);
    let edges = |i: usize, n: usize, length: usize| [i * length / n + 1, (i + 1) * length / n - 1];
    let all = (0..rows).flat_map(|r| (0..columns).map(move |q| (q, r)));
    all.filter(|(q, r)| ((q + r) % 3 == 2) == (split == Split::Test))
        .map(|(q, r)| {
            let ([x0, x1], [y0, y1]) = (edges(q, columns, width), edges(r, rows, height));
            [x0, x1, y0, y1]
        })
        .collect()
}

/// One crop, [channels, height, width].
fn crop(photo: &RgbImage, tiles: &[[usize; 4]], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut pixels = sample(photo, tiles, rng);
    for _ in 1..TRIES {
        if contrast(&pixels) >= LEAST_CONTRAST {
            break;
        }
        pixels = sample(photo, tiles, rng);
    }
    distort(&pixels, rng)
}

fn grey(pixel: &[f64; 3]) -> f64 {
    0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]
}

fn contrast(pixels: &[[f64; 3]]) -> f64 {
    let n = pixels.len() as f64;
    let mean = pixels.iter().map(grey).sum::<f64>() / n;
    (pixels.iter().map(|p| (grey(p) - mean).powi(2)).sum::<f64>() / n).sqrt()
}

/// Samples a scaled, rotated and optionally mirrored window inside one tile, averaging 2x2 bilinear
/// samples per pixel.
fn sample(photo: &RgbImage, tiles: &[[usize; 4]], rng: &mut ChaCha8Rng) -> Vec<[f64; 3]> {
    let [x0, x1, y0, y1] = tiles[below(rng, tiles.len())];
    let scale = SCALE[0] * libm::pow(SCALE[1] / SCALE[0], f64::from(unit(rng)));
    let angle = between(rng, -ANGLE, ANGLE).to_radians();
    let mirror = if unit(rng) < 0.5 { -1.0 } else { 1.0 };
    let (cos, sin) = (libm::cos(angle), libm::sin(angle));
    let middle = (SIDE as f64 - 1.0) / 2.0;
    let reach = (middle + 0.25) * scale * (cos.abs() + sin.abs());
    let cx = between(rng, x0 as f64 + reach, (x1 - 1) as f64 - reach);
    let cy = between(rng, y0 as f64 + reach, (y1 - 1) as f64 - reach);
    let at = |u: f64, v: f64| {
        let (x, y) = (cx + cos * u - sin * v, cy + sin * u + cos * v);
        let xi = (x.floor() as usize).clamp(x0, x1 - 2);
        let yi = (y.floor() as usize).clamp(y0, y1 - 2);
        bilinear(photo, [xi, yi], [x - xi as f64, y - yi as f64])
    };
    let mut pixels = Vec::with_capacity(SIDE * SIDE);
    for row in 0..SIDE {
        for column in 0..SIDE {
            let mut sum = [0.0; 3];
            for (dy, dx) in [(-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25)] {
                let (u, v) = (column as f64 - middle + dx, row as f64 - middle + dy);
                let value = at(mirror * u * scale, v * scale);
                (0..3).for_each(|c| sum[c] += value[c] / 4.0);
            }
            pixels.push(sum);
        }
    }
    pixels
}

fn bilinear(photo: &RgbImage, [x, y]: [usize; 2], [fx, fy]: [f64; 2]) -> [f64; 3] {
    let pixel = |dx: usize, dy: usize| photo.get_pixel((x + dx) as u32, (y + dy) as u32).0.map(f64::from);
    let (a, b, c, d) = (pixel(0, 0), pixel(1, 0), pixel(0, 1), pixel(1, 1));
    std::array::from_fn(|k| (1.0 - fy) * ((1.0 - fx) * a[k] + fx * b[k]) + fy * ((1.0 - fx) * c[k] + fx * d[k]))
}

/// Reduces saturation, varies contrast, brightness and channel gains, and adds noise.
fn distort(pixels: &[[f64; 3]], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let saturation = between(rng, LEAST_SATURATION, 1.0);
    let contrast = between(rng, 1.0 - CONTRAST, 1.0 + CONTRAST);
    let brightness = between(rng, -BRIGHTNESS, BRIGHTNESS);
    let gain: [f64; 3] = std::array::from_fn(|_| between(rng, 1.0 - CHANNEL_GAIN, 1.0 + CHANNEL_GAIN));
    let mut spare = None;
    let mut interleaved = Vec::with_capacity(3 * pixels.len());
    for pixel in pixels {
        let grey = grey(pixel);
        for c in 0..3 {
            let noise = spare.take().unwrap_or_else(|| {
                let (first, second) = normal_pair(rng);
                spare = Some(second);
                first
            });
            let value = grey + saturation * (pixel[c] - grey);
            let value = ((value - 127.5) * contrast + 127.5 + brightness) * gain[c] + NOISE * noise;
            interleaved.push((value + 0.5).floor().clamp(0.0, 255.0) as u8);
        }
    }
    planes(&interleaved, 3)
}

#[cfg(test)]
mod tests {
    use super::super::ImageSet;
    use super::*;

    fn photos() -> Vec<RgbImage> {
        PHOTOS.iter().map(|(_, png)| image::load_from_memory(png).expect("a photograph").to_rgb8()).collect()
    }

    fn set(train: usize, test: usize) -> [Images; 2] {
        [crops(&photos(), Split::Train, train), crops(&photos(), Split::Test, test)]
    }

    /// The images affect every published number: a change here must raise `NUMERICS`.
    #[test]
    fn images_are_pinned() {
        let [train, test] = set(20, 10).map(|images| ImageSet { images, normalise: NORMALISE, centre: None });
        insta::assert_snapshot!(super::super::checksums::of_samples(&[&train, &test]), @"ef539d31eb1d4332a4cee25c9d6c6b2c80eb714e7cda88da2f2906b1e32b42e8");
    }

    #[test]
    fn the_first_images_do_not_depend_on_how_many_are_asked_for() {
        let ([few, few_test], [many, many_test]) = (set(30, 10), set(60, 20));
        assert_eq!(few.pixels, many.pixels[..few.pixels.len()]);
        assert_eq!(few_test.labels, many_test.labels[..10]);
        assert!((0..10).all(|class| few.labels.iter().filter(|l| **l == class).count() == 3));
    }

    #[test]
    fn training_and_test_tiles_share_no_pixel() {
        for (name, png) in PHOTOS {
            let photo = image::load_from_memory(png).expect("a photograph").to_rgb8();
            let (train, test) = (tiles(&photo, Split::Train), tiles(&photo, Split::Test));
            assert!(train.len() > test.len() && test.len() > 5, "{name}: {} and {} tiles", train.len(), test.len());
            // Room for the largest crop, so that its centre can be drawn.
            let reach = 2.0 * 15.75 * SCALE[1] * (libm::cos(ANGLE.to_radians()) + libm::sin(ANGLE.to_radians()));
            for a in train.iter().chain(&test) {
                assert!(a[1] <= photo.width() as usize && a[3] <= photo.height() as usize);
                assert!((a[1] - 1 - a[0]) as f64 > reach && (a[3] - 1 - a[2]) as f64 > reach, "{name}: {a:?}");
            }
            for a in &train {
                for b in &test {
                    let apart = a[1] <= b[0] || b[1] <= a[0] || a[3] <= b[2] || b[3] <= a[2];
                    assert!(apart, "{name}: {a:?} and {b:?} share pixels");
                }
            }
        }
    }

    #[test]
    fn normalisation_fits_the_training_crops() {
        let [train, _] = set(1000, 1);
        for c in 0..3 {
            let plane = SIDE * SIDE;
            let values: Vec<f64> = (0..train.len())
                .flat_map(|i| train.image(i)[c * plane..(c + 1) * plane].iter().map(|p| f64::from(*p) / 255.0))
                .collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
            assert!((mean - f64::from(NORMALISE.mean[c])).abs() < 0.01, "mean {mean} of channel {c}");
            assert!((std - f64::from(NORMALISE.std[c])).abs() < 0.01, "standard deviation {std} of channel {c}");
        }
    }
}
