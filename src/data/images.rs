//! Images in memory.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use image::RgbImage;
use sha2::{Digest, Sha256};
use sharpbench_kernels::{self as kernels, PaddedCrop};

use super::Samples;
use super::augment::{Augment, Draw};
use super::loader::Batch;
use crate::error::Result;

/// Labelled images, exactly as published.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// Pixels, [n, channels, height, width].
    pub pixels: Vec<u8>,
    /// Class of each image.
    pub labels: Vec<u8>,
    /// Channels, height, width.
    pub shape: [usize; 3],
}

impl Images {
    /// Creates an empty set.
    pub(crate) fn empty(shape: [usize; 3]) -> Self {
        Self { pixels: Vec::new(), labels: Vec::new(), shape }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes of one image.
    pub fn stride(&self) -> usize {
        self.shape.iter().product()
    }

    /// Pixels of one image, [channels, height, width].
    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels[index * self.stride()..(index + 1) * self.stride()]
    }
}

/// Mean and standard deviation of each channel, in [0, 1].
#[derive(Clone, Copy, Debug)]
pub struct Normalise {
    /// Mean to subtract.
    pub mean: [f32; 3],
    /// Standard deviation to divide by.
    pub std: [f32; 3],
}

impl Normalise {
    /// Normalises an image into `out`, both [channels, height, width].
    pub fn image(&self, pixels: &[u8], shape: [usize; 3], out: &mut [f32]) {
        self.crop(pixels, shape, PaddedCrop::default(), out);
    }

    /// Normalises a crop of an image into `out`, both [channels, height, width].
    pub(super) fn crop(&self, pixels: &[u8], [_, height, width]: [usize; 3], crop: PaddedCrop, out: &mut [f32]) {
        kernels::normalise(pixels, [height, width], [&self.mean, &self.std], crop, out);
    }

    /// Augments an image as drawn, or only normalises it.
    pub(super) fn prepare(
        &self,
        pixels: &[u8],
        shape: [usize; 3],
        augmented: Option<(&Augment, &Draw)>,
        out: &mut [f32],
    ) {
        match augmented {
            None => self.image(pixels, shape, out),
            Some((augment, draw)) => augment.image(pixels, shape, self, draw, out),
        }
    }
}

/// A split of images in memory.
pub struct ImageSet {
    /// The images.
    pub images: Images,
    /// Normalisation of the pixels.
    pub normalise: Normalise,
    /// Mean of every pixel. If set, it replaces the normalisation: x / 256 - mean.
    pub centre: Option<Arc<[f32]>>,
}

impl Samples for ImageSet {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn batch(&self, indices: &[u32], augmented: Option<(&Augment, &[Draw])>) -> Result<Batch> {
        let stride = self.images.stride();
        let mut data = vec![0f32; indices.len() * stride];
        for (i, (out, &index)) in data.chunks_mut(stride).zip(indices).enumerate() {
            let augmented = augmented.map(|(augment, draws)| (augment, &draws[i]));
            let pixels = self.images.image(index as usize);
            match &self.centre {
                None => self.normalise.prepare(pixels, self.images.shape, augmented, out),
                Some(means) => kernels::centre(pixels, means, out),
            }
        }
        let labels = indices.iter().map(|&i| u32::from(self.images.labels[i as usize])).collect();
        batch(data, self.images.shape, labels)
    }

    fn label(&self, index: usize) -> Option<u32> {
        Some(u32::from(self.images.labels[index]))
    }

    fn picture(&self, index: usize) -> Result<Option<RgbImage>> {
        let ([channels, height, width], pixels) = (self.images.shape, self.images.image(index));
        Ok(Some(RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let at = y as usize * width + x as usize;
            image::Rgb(std::array::from_fn(|c| pixels[c.min(channels - 1) * height * width + at]))
        })))
    }

    fn pixel_means(&self) -> Option<Arc<[f32]>> {
        let (stride, n) = (self.images.stride(), self.len() as f64);
        let mut sums = vec![0u64; stride];
        for image in self.images.pixels.chunks_exact(stride) {
            sums.iter_mut().zip(image).for_each(|(sum, pixel)| *sum += u64::from(*pixel));
        }
        Some(sums.into_iter().map(|sum| (sum as f64 / n / 256.0) as f32).collect())
    }

    fn centre(&mut self, means: &Arc<[f32]>) {
        self.centre = Some(means.clone());
    }

    fn truncate(&mut self, n: usize) {
        self.images.pixels.truncate(n * self.images.stride());
        self.images.labels.truncate(n);
    }

    fn digest(&self, digest: &mut Sha256) {
        for i in 0..self.images.len() {
            digest.update([self.images.labels[i]]);
            digest.update(self.images.image(i));
        }
    }
}

/// Builds a batch of prepared images.
pub(super) fn batch(data: Vec<f32>, [channels, height, width]: [usize; 3], labels: Vec<u32>) -> Result<Batch> {
    let input = Tensor::from_vec(data, (labels.len(), channels, height, width), &Device::Cpu)?;
    Ok(Batch { input, labels, dropout: None })
}
