//! Resizing of photographs to model inputs: torchvision's RandomResizedCrop, Resize and CenterCrop,
//! with Pillow's antialiased bilinear filter.

use image::RgbImage;
use image::imageops::crop_imm;
use rand_chacha::ChaCha8Rng;
use sharpbench_kernels::crop_and_resize;

use super::augment::ResizedCrop;
use crate::error::{Error, Result};
use crate::random::{below, unit};

/// Attempts at a random crop before the centre is used (torchvision's).
const TRIES: usize = 10;
/// Ratio of the shorter side before the centre crop to the crop: 256 to 224.
const MARGIN: (u64, u64) = (8, 7);

/// Rectangle in a photograph: left, top, width, height.
type Crop = [u32; 4];

/// Random crop of the photograph (Szegedy et al. 2015), resized to `size` x `size`.
pub(super) fn random_resized_crop(
    photograph: &RgbImage,
    size: u32,
    settings: &ResizedCrop,
    rng: &mut ChaCha8Rng,
) -> Result<RgbImage> {
    let crop = random_crop(photograph.dimensions(), settings, rng);
    resized(photograph, crop, [size, size])
}

/// Resizes the shorter side to 8/7 of `size`, then crops the centre. Unlike in torchvision, an
/// image that already has the right size is unchanged, since sets of small images come in the
/// models' size.
pub(super) fn resized_centre(photograph: &RgbImage, size: u32) -> Result<RgbImage> {
    let (width, height) = photograph.dimensions();
    if (width, height) == (size, size) {
        return Ok(photograph.clone());
    }
    let short = (u64::from(size) * MARGIN.0 / MARGIN.1) as u32;
    let long = |side: u32, other: u32| (u64::from(short) * u64::from(side) / u64::from(other)) as u32;
    let whole = if width < height { [short, long(height, width)] } else { [long(width, height), short] };
    let photograph = resized(photograph, [0, 0, width, height], whole)?;
    let corner = whole.map(|side| (f64::from(side - size) / 2.0).round_ties_even() as u32);
    Ok(crop_imm(&photograph, corner[0], corner[1], size, size).to_image())
}

/// Draws a crop as torchvision's RandomResizedCrop.get_params does.
fn random_crop((width, height): (u32, u32), settings: &ResizedCrop, rng: &mut ChaCha8Rng) -> Crop {
    let area = f64::from(width) * f64::from(height);
    let [low, high] = settings.ratio;
    let between = |rng: &mut ChaCha8Rng, low: f64, high: f64| low + (high - low) * f64::from(unit(rng));
    for _ in 0..TRIES {
        let target = area * between(rng, settings.scale[0], settings.scale[1]);
        let ratio = libm::exp(between(rng, libm::log(low), libm::log(high)));
        let (w, h) = (libm::sqrt(target * ratio).round(), libm::sqrt(target / ratio).round());
        if w >= 1.0 && h >= 1.0 && w <= f64::from(width) && h <= f64::from(height) {
            let (w, h) = (w as u32, h as u32);
            let top = below(rng, (height - h + 1) as usize) as u32;
            let left = below(rng, (width - w + 1) as usize) as u32;
            return [left, top, w, h];
        }
    }
    let ratio = f64::from(width) / f64::from(height);
    let [w, h] = if ratio < low {
        [width, ((f64::from(width) / low).round() as u32).clamp(1, height)]
    } else if ratio > high {
        [((f64::from(height) * high).round() as u32).clamp(1, width), height]
    } else {
        [width, height]
    };
    [(width - w) / 2, (height - h) / 2, w, h]
}

/// A crop, resized.
fn resized(photograph: &RgbImage, crop: Crop, to: [u32; 2]) -> Result<RgbImage> {
    let resized =
        crop_and_resize(photograph.as_raw(), photograph.dimensions().into(), crop, to).map_err(Error::Data)?;
    RgbImage::from_raw(to[0], to[1], resized).ok_or_else(|| Error::Data("a photograph has too few bytes".into()))
}

#[cfg(test)]
mod tests {
    use image::imageops::FilterType as Theirs;

    use super::*;
    use crate::random::stream;

    fn photograph(width: u32, height: u32) -> RgbImage {
        let wave = |x: u32, y: u32, c: u32| {
            (127.0 + 100.0 * libm::sin(f64::from(x * (c + 1)) / 9.0 + f64::from(y) / 5.0)) as u8
        };
        RgbImage::from_fn(width, height, |x, y| image::Rgb([0, 1, 2].map(|c| wave(x, y, c))))
    }

    /// Oracle: the image crate's own antialiased triangle filter.
    #[test]
    fn resizing_is_that_of_another_implementation() {
        for (width, height, to) in [(90, 61, [40, 33]), (30, 31, [64, 64]), (50, 200, [50, 20])] {
            let photograph = photograph(width, height);
            let found = resized(&photograph, [0, 0, width, height], to).expect("resized");
            let expected = image::imageops::resize(&photograph, to[0], to[1], Theirs::Triangle);
            let worst = found.as_raw().iter().zip(expected.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst <= Some(1), "{width}x{height}: {worst:?} grey levels apart");
        }
    }

    /// Oracle: torchvision 0.20's Resize(256) and CenterCrop(224) of a 500x375 photograph: 341x256, left 58, top 16.
    #[test]
    fn the_centre_is_where_torchvision_takes_it() {
        let photograph = photograph(500, 375);
        let whole = resized(&photograph, [0, 0, 500, 375], [341, 256]).expect("resized");
        let centre = resized_centre(&photograph, 224).expect("resized");
        assert_eq!(centre, crop_imm(&whole, 58, 16, 224, 224).to_image());
        let same = self::photograph(32, 32);
        assert_eq!(resized_centre(&same, 32).expect("as it is"), same);
    }

    #[test]
    fn random_crops_lie_inside_with_their_scale_and_ratio() {
        let settings = ResizedCrop::default();
        let mut rng = stream(3, crate::random::Stream::Augment(0));
        let (mut areas, n) = (0.0, 2000);
        for _ in 0..n {
            let [left, top, w, h] = random_crop((400, 300), &settings, &mut rng);
            assert!(left + w <= 400 && top + h <= 300);
            let (area, ratio) = (f64::from(w * h) / 120_000.0, f64::from(w) / f64::from(h));
            assert!((0.07..=1.0).contains(&area) && (0.72..=1.36).contains(&ratio), "area {area}, ratio {ratio}");
            areas += area;
        }
        // Uniform on [.08, 1] has mean .54; large crops of the wrong ratio are redrawn.
        assert!((0.4..0.55).contains(&(areas / f64::from(n))), "{}", areas / f64::from(n));
        // Never empty, for any ratio.
        let thin = ResizedCrop { ratio: [0.001, 0.01], ..ResizedCrop::default() };
        assert_eq!(random_crop((30, 30), &thin, &mut rng), [14, 0, 1, 30]);
        // Nothing fits a strip, so its centre is used, as wide as allowed.
        assert_eq!(random_crop((10, 1000), &settings, &mut rng), [0, 493, 10, 13]);
    }
}
