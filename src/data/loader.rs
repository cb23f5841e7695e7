//! Batches, made on other threads while the trainer works.

use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};

use candle_core::Tensor;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::DataSet;
use super::augment::{Augment, Draw};
use crate::error::Result;
use crate::random::{Stream, sample, stream};

/// Batches kept ready. With the one being made and the one in use, this is all that is held of a set that does not lie in
/// memory.
const PREFETCHED: usize = 3;

/// Some samples with their labels.
pub struct Batch {
    /// Images [batch, channels, height, width], normalised, or characters [batch, length], u32.
    pub input: Tensor,
    /// Classes of the images, or the characters that follow [batch x length].
    pub labels: Vec<u32>,
    /// What dropout draws from in training.
    pub dropout: Option<ChaCha8Rng>,
}

/// The order in which an epoch of a seed visits `n` samples.
pub fn order(seed: u64, epoch: usize, n: usize) -> Vec<u32> {
    sample(&mut stream(seed, Stream::Shuffle(epoch)), n, n)
}

impl DataSet {
    /// Runs `consume` over the training batches of an epoch from the step `from` on: shuffled, augmented, the incomplete last
    /// one dropped. Of a batch, no sample may be left. `consume` stops the epoch early by returning.
    ///
    /// # Errors
    /// The first error of `consume`; those of samples that cannot be read come as batches.
    pub fn epoch(
        &self,
        seed: u64,
        (epoch, from): (usize, usize),
        batch_size: usize,
        augment: &Augment,
        consume: impl FnMut(&Receiver<Result<Batch>>) -> Result<()>,
    ) -> Result<()> {
        let order = order(seed, epoch, self.train.len());
        let mut rng = stream(seed, Stream::Augment(epoch));
        // Steps that are skipped have drawn all the same.
        let drawn = order.chunks_exact(batch_size).enumerate().map(|(step, indices)| {
            let draws: Vec<Draw> = indices.iter().map(|_| augment.draw(self.input, &mut rng)).collect();
            (step, indices, draws)
        });
        let batches = drawn.skip(from).map(|(step, indices, draws)| {
            let batch = self.train.batch(indices, Some((augment, &draws)))?;
            Ok(Batch { dropout: Some(stream(seed, Stream::Dropout(epoch, step))), ..batch })
        });
        ahead(batches, consume)
    }

    /// Runs `consume` over an epoch of full batches: all training samples, in their own order, in each of `steps`.
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

    /// Runs `consume` over all test samples, at most `batch_size` at once.
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

    /// One training sample as a batch of one (of none, where it is left out), augmented from `rng`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn training_sample(&self, index: u32, (augment, rng): (&Augment, &mut ChaCha8Rng)) -> Result<Batch> {
        let draw = augment.draw(self.input, rng);
        let batch = self.train.batch(&[index], Some((augment, &[draw])))?;
        Ok(Batch { dropout: Some(ChaCha8Rng::from_rng(rng)), ..batch })
    }
}

/// Makes batches on another thread, a few ahead of who takes them.
fn ahead(
    batches: impl Iterator<Item = Result<Batch>> + Send,
    mut consume: impl FnMut(&Receiver<Result<Batch>>) -> Result<()>,
) -> Result<()> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(PREFETCHED);
        scope.spawn(move || {
            for batch in batches {
                // Who takes them hangs up when it stops early.
                if sender.send(batch).is_err() {
                    break;
                }
            }
        });
        let outcome = consume(&receiver);
        // Before the scope waits for a sender that waits for room.
        drop(receiver);
        outcome
    })
}
