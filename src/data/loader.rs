//! Batches, prepared on other threads during training.

use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};

use candle_core::Tensor;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::DataSet;
use super::augment::{Augment, Draw};
use crate::error::Result;
use crate::random::{Stream, sample, stream};

/// Batches kept ready. Of a set that is not in memory, only these, the batch being prepared and the
/// batch in use are held.
const PREFETCHED: usize = 3;

/// Samples with their labels.
pub struct Batch {
    /// Images [batch, channels, height, width], normalised, or characters [batch, length], u32.
    pub input: Tensor,
    /// Classes of the images, or the next characters [batch x length].
    pub labels: Vec<u32>,
    /// Random stream of dropout in training.
    pub dropout: Option<ChaCha8Rng>,
}

/// Order in which an epoch visits `n` samples, for a given seed.
pub fn order(seed: u64, epoch: usize, n: usize) -> Vec<u32> {
    sample(&mut stream(seed, Stream::Shuffle(epoch)), n, n)
}

impl DataSet {
    /// Runs `consume` over the training batches of an epoch, starting at step `from`: shuffled,
    /// augmented, with the incomplete last batch only if `keep_last`. A batch may be empty if none of its samples
    /// can be read. `consume` stops the epoch early by returning.
    ///
    /// # Errors
    /// The first error of `consume`. Samples that cannot be read arrive as errors in place of
    /// batches.
    pub fn epoch(
        &self,
        seed: u64,
        (epoch, from): (usize, usize),
        (batch_size, keep_last): (usize, bool),
        augment: &Augment,
        consume: impl FnMut(&Receiver<Result<Batch>>) -> Result<()>,
    ) -> Result<()> {
        let order = order(seed, epoch, self.train.len());
        let mut rng = stream(seed, Stream::Augment(epoch));
        // Random numbers are drawn for skipped steps too.
        let batches = order.chunks(batch_size).filter(|indices| keep_last || indices.len() == batch_size);
        let drawn = batches.enumerate().map(|(step, indices)| {
            let draws: Vec<Draw> = indices.iter().map(|_| augment.draw(self.input, &mut rng)).collect();
            (step, indices, draws)
        });
        let batches = drawn.skip(from).map(|(step, indices, draws)| {
            let batch = self.train.batch(indices, Some((augment, &draws)))?;
            Ok(Batch { dropout: Some(stream(seed, Stream::Dropout(epoch, step))), ..batch })
        });
        ahead(batches, consume)
    }

    /// Runs `consume` over an epoch of full batches: in each of `steps`, all training samples in
    /// their own order.
    ///
    /// # Errors
    /// As [`DataSet::epoch`].
    pub fn full_batches(
        &self,
        seed: u64,
        epoch: usize,
        steps: Range<usize>,
        consume: impl FnMut(&Receiver<Result<Batch>>) -> Result<()>,
    ) -> Result<()> {
        let all: Vec<u32> = (0..self.train.len() as u32).collect();
        let batch = self.train.batch(&all, None)?;
        let batches = steps.map(|step| {
            let dropout = Some(stream(seed, Stream::Dropout(epoch, step)));
            Ok(Batch { input: batch.input.clone(), labels: batch.labels.clone(), dropout })
        });
        ahead(batches, consume)
    }

    /// Runs `consume` over all test samples, in batches of at most `batch_size`.
    ///
    /// # Errors
    /// As [`DataSet::epoch`].
    pub fn test_batches(
        &self,
        batch_size: usize,
        consume: impl FnMut(&Receiver<Result<Batch>>) -> Result<()>,
    ) -> Result<()> {
        let all: Vec<u32> = (0..self.test.len() as u32).collect();
        let left = |batch: &Result<Batch>| batch.as_ref().map_or(true, |batch| !batch.labels.is_empty());
        ahead(all.chunks(batch_size).map(|indices| self.test.batch(indices, None)).filter(left), consume)
    }

    /// A training sample as a batch of one (or none, if it is left out), augmented with `rng`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn training_sample(&self, index: u32, (augment, rng): (&Augment, &mut ChaCha8Rng)) -> Result<Batch> {
        let draw = augment.draw(self.input, rng);
        let batch = self.train.batch(&[index], Some((augment, &[draw])))?;
        Ok(Batch { dropout: Some(ChaCha8Rng::from_rng(rng)), ..batch })
    }
}

/// Prepares batches on another thread, a few ahead of the consumer.
fn ahead(
    batches: impl Iterator<Item = Result<Batch>> + Send,
    mut consume: impl FnMut(&Receiver<Result<Batch>>) -> Result<()>,
) -> Result<()> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(PREFETCHED);
        scope.spawn(move || {
            for batch in batches {
                // The consumer hangs up when it stops early.
                if sender.send(batch).is_err() {
                    break;
                }
            }
        });
        let outcome = consume(&receiver);
        // Dropped before the scope ends, which would wait for a sender blocked on a full channel.
        drop(receiver);
        outcome
    })
}
