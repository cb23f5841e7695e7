//! Batches of one epoch, made on another thread while the trainer works.

use std::sync::mpsc::{Receiver, sync_channel};

use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::augment::{Augment, Normalise};
use super::{DataSet, Images};
use crate::error::Result;
use crate::random::{Stream, sample, stream};

/// Batches kept ready.
const PREFETCHED: usize = 3;

/// Images [batch, channels, height, width], normalised, and their classes.
pub struct Batch {
    /// Images.
    pub images: Tensor,
    /// Classes.
    pub labels: Vec<u32>,
    /// What dropout draws from in training.
    pub dropout: Option<ChaCha8Rng>,
}

/// The order in which an epoch of a seed visits `n` images.
pub fn order(seed: u64, epoch: usize, n: usize) -> Vec<u32> {
    sample(&mut stream(seed, Stream::Shuffle(epoch)), n, n)
}

impl DataSet {
    /// The set's normalisation.
    pub fn normalise(&self) -> Normalise {
        Normalise { mean: self.mean, std: self.std }
    }

    /// Runs `consume` over the training batches of an epoch: shuffled, augmented, the incomplete last one
    /// dropped. `consume` stops the epoch early by returning.
    ///
    /// # Errors
    /// The first error of `consume` or of a tensor operation.
    pub fn epoch(
        &self,
        seed: u64,
        epoch: usize,
        batch_size: usize,
        augment: &Augment,
        mut consume: impl FnMut(&Receiver<Result<Batch>>) -> Result<()>,
    ) -> Result<()> {
        let order = order(seed, epoch, self.train.len());
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(PREFETCHED);
            scope.spawn(move || {
                let mut rng = stream(seed, Stream::Augment(epoch));
                for (step, indices) in order.chunks_exact(batch_size).enumerate() {
                    let dropout = Some(stream(seed, Stream::Dropout(epoch, step)));
                    let batch = gather(&self.train, indices, |pixels, out| {
                        augment.image(pixels, self.train.shape, &self.normalise(), &mut rng, out);
                    });
                    let batch = batch.map(|batch| Batch { dropout, ..batch });
                    // The trainer hangs up when it stops early.
                    if sender.send(batch).is_err() {
                        break;
                    }
                }
            });
            consume(&receiver)
        })
    }

    /// One training image as a batch of one, for training, augmented from `rng`, where `augment` is given.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn training_sample(&self, index: u32, augment: Option<(&Augment, &mut ChaCha8Rng)>) -> Result<Batch> {
        match augment {
            None => gather(&self.train, &[index], |pixels, out| self.normalise().image(pixels, self.train.shape, out)),
            Some((augment, rng)) => {
                let batch = gather(&self.train, &[index], |pixels, out| {
                    augment.image(pixels, self.train.shape, &self.normalise(), rng, out);
                })?;
                Ok(Batch { dropout: Some(ChaCha8Rng::from_rng(rng)), ..batch })
            }
        }
    }

    /// Test images `range`, normalised.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn test_batch(&self, range: std::ops::Range<usize>) -> Result<Batch> {
        let indices: Vec<u32> = range.map(|i| i as u32).collect();
        gather(&self.test, &indices, |pixels, out| self.normalise().image(pixels, self.test.shape, out))
    }
}

fn gather(images: &Images, indices: &[u32], mut prepare: impl FnMut(&[u8], &mut [f32])) -> Result<Batch> {
    let stride = images.stride();
    let mut data = vec![0f32; indices.len() * stride];
    for (out, &index) in data.chunks_mut(stride).zip(indices) {
        prepare(images.image(index as usize), out);
    }
    let [channels, height, width] = images.shape;
    let images_tensor = Tensor::from_vec(data, (indices.len(), channels, height, width), &Device::Cpu)?;
    let labels = indices.iter().map(|&i| u32::from(images.labels[i as usize])).collect();
    Ok(Batch { images: images_tensor, labels, dropout: None })
}
