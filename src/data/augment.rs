//! What happens to a training image: crop, flip, normalise, Cutout, in this order (Mi et al. 2022, section 5).

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::random::{below, unit};

/// What a suite says about augmentation. Everything is off unless said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Zero padding in pixels before a random crop of the original size.
    #[serde(default)]
    pub crop: usize,
    /// Mirror with probability one half.
    #[serde(default)]
    pub flip: bool,
    /// A square of zeros after normalisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutout: Option<Cutout>,
}

/// Cutout (DeVries and Taylor, 2017).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cutout {
    /// Side of the square in pixels; it may reach over the border.
    pub size: usize,
    /// Probability that an image is cut.
    pub p: f64,
}

/// Mean and standard deviation of each channel, in [0, 1].
#[derive(Clone, Copy, Debug)]
pub struct Normalise {
    /// To subtract.
    pub mean: [f32; 3],
    /// To divide by.
    pub std: [f32; 3],
}

impl Normalise {
    fn apply(&self, channel: usize, pixel: u8) -> f32 {
        (f32::from(pixel) / 255.0 - self.mean[channel]) / self.std[channel]
    }

    /// Normalises a whole image into `out`.
    pub fn image(&self, pixels: &[u8], shape: [usize; 3], out: &mut [f32]) {
        let plane = shape[1] * shape[2];
        for (c, (out, pixels)) in out.chunks_mut(plane).zip(pixels.chunks(plane)).enumerate() {
            out.iter_mut().zip(pixels).for_each(|(o, p)| *o = self.apply(c, *p));
        }
    }
}

impl Augment {
    /// Augments one image into `out` [channels, height, width]. The number of random draws depends on the
    /// settings alone.
    pub fn image(
        &self,
        pixels: &[u8],
        shape: [usize; 3],
        normalise: &Normalise,
        rng: &mut ChaCha8Rng,
        out: &mut [f32],
    ) {
        let [channels, height, width] = shape;
        let (mut dy, mut dx) = (self.crop, self.crop);
        if self.crop > 0 {
            dy = below(rng, 2 * self.crop + 1);
            dx = below(rng, 2 * self.crop + 1);
        }
        let mirror = self.flip && unit(rng) < 0.5;
        let pad = self.crop;
        for c in 0..channels {
            // Padding is black before normalisation, as torchvision's RandomCrop pads before Normalize.
            let black = normalise.apply(c, 0);
            for y in 0..height {
                let row = &mut out[(c * height + y) * width..][..width];
                let source = (y + dy).wrapping_sub(pad);
                if source >= height {
                    row.fill(black);
                    continue;
                }
                let line = &pixels[(c * height + source) * width..][..width];
                for (x, o) in row.iter_mut().enumerate() {
                    let x = if mirror { width - 1 - x } else { x };
                    *o = line.get((x + dx).wrapping_sub(pad)).map_or(black, |p| normalise.apply(c, *p));
                }
            }
        }
        if let Some(cutout) = &self.cutout {
            let (cut, cy, cx) = (unit(rng), below(rng, height), below(rng, width));
            if f64::from(cut) < cutout.p {
                let half = cutout.size / 2;
                let rows = cy.saturating_sub(half)..(cy + cutout.size - half).min(height);
                let columns = cx.saturating_sub(half)..(cx + cutout.size - half).min(width);
                for c in 0..channels {
                    for y in rows.clone() {
                        out[(c * height + y) * width..][columns.clone()].fill(0.0);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Stream, stream};

    const PLAIN: Normalise = Normalise { mean: [0.0; 3], std: [1.0 / 255.0; 3] };

    fn apply(augment: &Augment, pixels: &[u8], shape: [usize; 3], seed: u64) -> Vec<f32> {
        let mut out = vec![-1.0; pixels.len()];
        augment.image(pixels, shape, &PLAIN, &mut stream(seed, Stream::Augment(0)), &mut out);
        out.iter().map(|v| v.round()).collect()
    }

    #[test]
    fn without_augmentation_only_normalises() {
        assert_eq!(apply(&Augment::default(), &[0, 1, 2, 3], [1, 2, 2], 0), [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn flips_half_of_the_images_left_to_right() {
        let augment = Augment { flip: true, ..Augment::default() };
        let flipped = (0..1000).filter(|&seed| apply(&augment, &[1, 2, 3, 4], [1, 2, 2], seed) == [2.0, 1.0, 4.0, 3.0]);
        let flipped = flipped.count();
        assert!((430..570).contains(&flipped), "{flipped} of 1000 flipped");
    }

    #[test]
    fn a_crop_is_a_shift_with_black_borders() {
        let augment = Augment { crop: 1, ..Augment::default() };
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let out = apply(&augment, &[10, 20, 30, 40], [1, 2, 2], seed);
            seen.insert(out.iter().map(|v| *v as u8).collect::<Vec<_>>());
        }
        // Nine shifts of a 2x2 image, all different.
        assert_eq!(seen.len(), 9);
        assert!(seen.contains(&vec![10, 20, 30, 40]) && seen.contains(&vec![0, 0, 0, 10]));
    }

    #[test]
    fn cutout_zeroes_a_clipped_square() {
        let augment = Augment { cutout: Some(Cutout { size: 2, p: 1.0 }), ..Augment::default() };
        for seed in 0..50 {
            let zeros = apply(&augment, &[9; 32], [2, 4, 4], seed).iter().filter(|v| **v == 0.0).count();
            assert!([2, 4, 8].contains(&zeros), "{zeros} zeros over two channels");
        }
    }
}
