//! Augmentation of training samples. For an image: crop, flip, normalise, Cutout, in this order (Mi
//! et al. 2022, section 5).

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sharpbench_kernels::PaddedCrop;

use super::{Input, Normalise};
use crate::random::{below, unit};

/// Augmentation of training samples. Everything is off by default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Zero padding in pixels before a random crop of the original size.
    #[serde(default)]
    pub crop: usize,
    /// Mirror with probability one half.
    #[serde(default)]
    pub flip: bool,
    /// A random part of a photograph, resized; without it, photographs are resized and their centre is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resized_crop: Option<ResizedCrop>,
    /// A square of zeros after normalisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutout: Option<Cutout>,
}

/// RandomResizedCrop (Szegedy et al. 2015).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResizedCrop {
    /// The least and the greatest share of the photograph's area.
    pub scale: [f64; 2],
    /// The least and the greatest ratio of width to height.
    pub ratio: [f64; 2],
}

impl Default for ResizedCrop {
    /// Uses torchvision's defaults.
    fn default() -> Self {
        Self { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] }
    }
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

/// Random augmentation of one sample. Drawn in order, sample by sample, before any sample is read,
/// so that samples can be prepared on any thread.
#[derive(Clone, Debug)]
pub struct Draw {
    crop: PaddedCrop,
    cutout: Option<[usize; 2]>,
    resized: Option<ChaCha8Rng>,
    later: f32,
}

impl Draw {
    /// Random stream of a random resized crop.
    pub(super) fn resized(&self) -> Option<ChaCha8Rng> {
        self.resized.clone()
    }

    /// Shift of a text's start in characters, below `length`.
    pub(super) fn later(&self, length: usize) -> usize {
        (f64::from(self.later) * length as f64) as usize
    }
}

impl Augment {
    /// Draws the augmentation of a sample. The number of random draws depends only on the settings
    /// and the kind of data.
    pub fn draw(&self, input: Input, rng: &mut ChaCha8Rng) -> Draw {
        let mut draw = Draw { crop: PaddedCrop::default(), cutout: None, resized: None, later: 0.0 };
        let [height, width] = match input {
            Input::Image([_, height, width]) => [height, width],
            Input::Tokens { .. } => {
                draw.later = unit(rng);
                return draw;
            }
        };
        if self.resized_crop.is_some() {
            draw.resized = Some(ChaCha8Rng::from_rng(rng));
        }
        if self.crop > 0 {
            draw.crop.padding = self.crop;
            draw.crop.at = [below(rng, 2 * self.crop + 1), below(rng, 2 * self.crop + 1)];
        }
        draw.crop.mirror = self.flip && unit(rng) < 0.5;
        if let Some(cutout) = &self.cutout {
            let (cut, centre) = (unit(rng), [below(rng, height), below(rng, width)]);
            draw.cutout = (f64::from(cut) < cutout.p).then_some(centre);
        }
        draw
    }

    /// Augments one image into `out` [channels, height, width], as drawn.
    pub(super) fn image(&self, pixels: &[u8], shape: [usize; 3], normalise: &Normalise, draw: &Draw, out: &mut [f32]) {
        // The padding is black before normalisation, as torchvision's RandomCrop pads before
        // Normalize.
        normalise.crop(pixels, shape, draw.crop, out);
        let [channels, height, width] = shape;
        if let (Some(cutout), Some([cy, cx])) = (&self.cutout, draw.cutout) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Stream, stream};

    const PLAIN: Normalise = Normalise { mean: [0.0; 3], std: [1.0 / 255.0; 3] };

    fn apply(augment: &Augment, pixels: &[u8], shape: [usize; 3], seed: u64) -> Vec<f32> {
        let mut out = vec![-1.0; pixels.len()];
        let draw = augment.draw(Input::Image(shape), &mut stream(seed, Stream::Augment(0)));
        augment.image(pixels, shape, &PLAIN, &draw, &mut out);
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
        // Nine distinct shifts of a 2x2 image.
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
