//! Label noise: training labels that are replaced at random, for studies of how well an optimizer resists them. Test and
//! validation labels stay as they are.

use std::fmt;
use std::sync::Arc;

use image::RgbImage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::augment::{Augment, Draw};
use super::loader::Batch;
use super::{DataSet, Samples};
use crate::error::{Error, Result};
use crate::random::{Stream, below, stream, unit};
use crate::word::word;

/// How training labels are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelNoise {
    /// Probability that a label is replaced, from 0 (no noise) to 1.
    pub p: f64,
    /// What replaces it.
    pub kind: NoiseKind,
}

/// What replaces a label (Han et al. 2018, arXiv 1804.06872, figure 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NoiseKind {
    /// A class drawn uniformly from all classes, the label's own among them: of C classes, a fraction p (1 - 1/C) of the labels
    /// changes.
    Symmetric,
    /// The next class; after the last, the first.
    Pairflip,
}

impl fmt::Display for LabelNoise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} {}", word(&self.kind), self.p))
    }
}

impl LabelNoise {
    /// Such as `40% symmetric label noise`.
    pub fn in_words(self) -> String {
        let percent = (1e4 * self.p).round() / 100.0;
        format!("{percent}% {} label noise", word(&self.kind))
    }

    /// Labels with noise. Each label takes the same random numbers whatever `p`, so a larger `p` replaces the same labels and more.
    fn apply(self, labels: impl Iterator<Item = u32>, classes: usize, seed: u64) -> Vec<u32> {
        let mut rng = stream(seed, Stream::LabelNoise);
        labels
            .map(|label| {
                let (replaced, drawn) = (f64::from(unit(&mut rng)) < self.p, below(&mut rng, classes) as u32);
                match self.kind {
                    _ if !replaced => label,
                    NoiseKind::Symmetric => drawn,
                    NoiseKind::Pairflip => (label + 1) % classes as u32,
                }
            })
            .collect()
    }
}

impl DataSet {
    /// The set with noise in its training labels, the same for every cell of a seed, and the number of labels that it changed.
    ///
    /// # Errors
    /// When the samples have no labels.
    pub fn with_label_noise(&self, noise: LabelNoise, seed: u64) -> Result<(Self, usize)> {
        let clean: Option<Vec<u32>> = (0..self.train.len()).map(|index| self.train.label(index)).collect();
        let clean = clean.ok_or_else(|| Error::Data("label noise requires labels, and a text has none".into()))?;
        let labels = noise.apply(clean.iter().copied(), self.classes, seed);
        let changed = labels.iter().zip(&clean).filter(|(noisy, clean)| noisy != clean).count();
        let train = Arc::new(Relabelled { of: self.train.clone(), labels });
        Ok((Self { train, ..self.clone() }, changed))
    }
}

/// Samples under other labels.
struct Relabelled {
    of: Arc<dyn Samples>,
    labels: Vec<u32>,
}

impl Samples for Relabelled {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn batch(&self, indices: &[u32], augmented: Option<(&Augment, &[Draw])>) -> Result<Batch> {
        let batch = self.of.batch(indices, augmented)?;
        let label = |index: &u32| self.labels[*index as usize];
        let mut labels: Vec<u32> = indices.iter().map(label).collect();
        if batch.labels.len() < indices.len() {
            // Samples that cannot be read are missing from the batch.
            labels.clear();
            for index in indices {
                labels.extend(self.of.picture(*index as usize)?.map(|_| label(index)));
            }
        }
        Ok(Batch { labels, ..batch })
    }

    fn label(&self, index: usize) -> Option<u32> {
        Some(self.labels[index])
    }

    fn picture(&self, index: usize) -> Result<Option<RgbImage>> {
        self.of.picture(index)
    }

    fn truncate(&mut self, n: usize) {
        self.labels.truncate(n);
    }

    fn digest(&self, digest: &mut Sha256) {
        digest.update(b"relabelled\0");
        self.of.digest(digest);
        self.labels.iter().for_each(|label| digest.update(label.to_le_bytes()));
    }

    fn take_unreadable(&self) -> Vec<String> {
        self.of.take_unreadable()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{self, DataSource, DataSpec, Fetch, find};

    const SEEDS: u64 = 40;

    fn clean() -> Vec<u32> {
        (0..1000).map(|i| i % 10).collect()
    }

    fn noisy(p: f64, kind: NoiseKind, seed: u64) -> Vec<u32> {
        LabelNoise { p, kind }.apply(clean().into_iter(), 10, seed)
    }

    /// Share of the labels that differ, over seeds, and its standard error if labels are replaced independently.
    fn changed(p: f64, kind: NoiseKind, expected: f64) {
        let differ = |seed| noisy(p, kind, seed).iter().zip(clean()).filter(|(a, b)| **a != *b).count();
        let n = (SEEDS * 1000) as f64;
        let share = (0..SEEDS).map(differ).sum::<usize>() as f64 / n;
        let error = (expected * (1.0 - expected) / n).sqrt();
        assert!((share - expected).abs() <= 4.0 * error, "{kind:?}: {share} instead of {expected}");
    }

    #[test]
    fn as_many_labels_change_as_the_definition_says() {
        changed(0.4, NoiseKind::Symmetric, 0.4 * 0.9);
        changed(0.4, NoiseKind::Pairflip, 0.4);
        changed(1.0, NoiseKind::Pairflip, 1.0);
    }

    #[test]
    fn symmetric_noise_draws_every_class_alike() {
        let mut counts = [0f64; 10];
        (0..SEEDS).flat_map(|seed| noisy(1.0, NoiseKind::Symmetric, seed)).for_each(|c| counts[c as usize] += 1.0);
        let expected = SEEDS as f64 * 100.0;
        let chi_square: f64 = counts.iter().map(|n| (n - expected).powi(2) / expected).sum();
        assert!(chi_square < 33.7, "{chi_square}: 9 degrees of freedom exceed this once in 10,000");
    }

    #[test]
    fn pairflip_takes_the_next_class() {
        let pairs = noisy(0.5, NoiseKind::Pairflip, 3).into_iter().zip(clean());
        pairs.for_each(|(noisy, clean)| assert!(noisy == clean || noisy == (clean + 1) % 10));
    }

    #[test]
    fn seeds_differ_and_more_noise_replaces_the_same_labels_and_more() {
        let flip = |p, seed| noisy(p, NoiseKind::Pairflip, seed);
        assert_ne!(flip(0.4, 1), flip(0.4, 2));
        let (less, more) = (flip(0.2, 1), flip(0.6, 1));
        let both = less.iter().zip(&more).zip(clean());
        both.for_each(|((less, more), clean)| assert!(*less == clean || less == more));
    }

    fn load(spec: &DataSpec) -> DataSet {
        let fetch = Fetch { offline: true, bar: false, say: &|_| {}, warn: &|_| {} };
        data::load(spec, &DataSource::Auto, &fetch).expect("samples")
    }

    #[test]
    fn training_labels_alone_are_replaced_and_counted() {
        let spec = find("mnist-5k").and_then(|set| set.spec([Some(500), Some(100)], None, None, None)).expect("a spec");
        let set = load(&spec.with_validation(200).expect("a spec"));
        let (noisy, changed) =
            set.with_label_noise(LabelNoise { p: 0.5, kind: NoiseKind::Pairflip }, 1234).expect("labels");
        let all: Vec<u32> = (0..300).rev().collect();
        let labels = |set: &DataSet| set.train.batch(&all, None).expect("a batch").labels;
        let (before, after) = (labels(&set), labels(&noisy));
        let differ = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        assert_eq!(differ, changed);
        assert!((110..190).contains(&changed), "{changed}");
        assert_eq!(noisy.train.label(299), Some(after[0]));
        let tested = |set: &DataSet| (0..200).map(|i| set.test.label(i)).collect::<Vec<_>>();
        assert_eq!(tested(&set), tested(&noisy));
    }

    #[test]
    fn a_text_has_no_labels_to_replace() {
        let spec =
            find("synthetic-text").and_then(|set| set.spec([Some(10), Some(5)], None, None, None)).expect("a spec");
        let noise = LabelNoise { p: 0.5, kind: NoiseKind::Symmetric };
        assert!(load(&spec).with_label_noise(noise, 1).is_err());
        assert!(spec.with_label_noise(noise).is_err());
    }
}
