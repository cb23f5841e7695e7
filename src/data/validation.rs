//! Validation samples, held out of a training set.

use std::collections::BTreeMap;
use std::sync::Arc;

use image::RgbImage;
use sha2::{Digest, Sha256};

use super::augment::{Augment, Draw};
use super::loader::Batch;
use super::{DataSet, Samples};
use crate::error::Result;
use crate::random::{Stream, sample, stream};

impl DataSet {
    /// Takes `n` samples out of the training set and puts them in place of the test samples: of each class as many as its share,
    /// drawn from a fixed random stream, the same for every seed. Of a text they are the first sequences.
    pub(super) fn with_validation(self, n: usize) -> Self {
        let all = self.train;
        let held = held_out(all.as_ref(), n);
        let rest = (0..all.len() as u32).filter(|place| held.binary_search(place).is_err()).collect();
        let part = |places| Arc::new(Part { all: all.clone(), places });
        Self { train: part(rest), test: part(held), ..self }
    }
}

/// `n` places, rising: of each class as many as its share of the samples, by largest remainders. Of a text they are the first ones:
/// training reads each sequence from a random character on, into the next one, so that any other held-out sequence would be trained on.
fn held_out(samples: &dyn Samples, n: usize) -> Vec<u32> {
    if samples.label(0).is_none() {
        return (0..n as u32).collect();
    }
    let mut classes: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let labels = (0..samples.len()).map(|place| samples.label(place).unwrap_or_default());
    labels.zip(0..).for_each(|(class, place)| classes.entry(class).or_default().push(place));
    let all = samples.len().max(1);
    let mut shares: Vec<usize> = classes.values().map(|of| of.len() * n / all).collect();
    let mut by_remainder: Vec<usize> = (0..shares.len()).collect();
    let sizes: Vec<usize> = classes.values().map(Vec::len).collect();
    by_remainder.sort_by_key(|class| std::cmp::Reverse(sizes[*class] * n % all));
    let missing = n - shares.iter().sum::<usize>();
    by_remainder.into_iter().take(missing).for_each(|class| shares[class] += 1);
    let drawn = classes.iter().zip(shares).flat_map(|((class, places), share)| {
        let mut rng = stream(0, Stream::Validation(*class));
        sample(&mut rng, places.len(), share).into_iter().map(|i| places[i as usize])
    });
    let mut held: Vec<u32> = drawn.collect();
    held.sort_unstable();
    held
}

/// Some of the samples of a set.
struct Part {
    all: Arc<dyn Samples>,
    places: Vec<u32>,
}

impl Samples for Part {
    fn len(&self) -> usize {
        self.places.len()
    }

    fn batch(&self, indices: &[u32], augmented: Option<(&Augment, &[Draw])>) -> Result<Batch> {
        let indices: Vec<u32> = indices.iter().map(|i| self.places[*i as usize]).collect();
        self.all.batch(&indices, augmented)
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.all.label(self.places[index] as usize)
    }

    fn picture(&self, index: usize) -> Result<Option<RgbImage>> {
        self.all.picture(self.places[index] as usize)
    }

    fn truncate(&mut self, n: usize) {
        self.places.truncate(n);
    }

    fn digest(&self, digest: &mut Sha256) {
        digest.update(b"part of\0");
        self.all.digest(digest);
        self.places.iter().for_each(|place| digest.update(place.to_le_bytes()));
    }

    fn take_unreadable(&self) -> Vec<String> {
        self.all.take_unreadable()
    }
}

#[cfg(test)]
mod tests {
    use crate::data::{self, DataSource, Fetch, find};

    #[test]
    fn a_validation_set_has_each_class_in_proportion_and_no_training_sample() {
        let spec = |validation: Option<usize>| {
            let entry = find("mnist-5k").expect("a set");
            let spec = entry.spec([Some(1000), Some(50)], None, None, None).expect("a spec");
            validation.map_or(Ok(spec.clone()), |n| spec.with_validation(n)).expect("a spec")
        };
        let load = |spec: &data::DataSpec| {
            let fetch = Fetch { offline: true, bar: false, say: &|_| {}, warn: &|_| {} };
            data::load(spec, &DataSource::Auto, &fetch).expect("samples")
        };
        let held = spec(Some(203));
        assert_eq!((held.train, held.test, held.validation), (797, 203, true));
        let (set, whole) = (load(&held), load(&spec(None)));
        assert_eq!((set.train.len(), set.test.len()), (797, 203));
        assert_ne!(set.provenance.sha256, whole.provenance.sha256);
        let pixels = |samples: &dyn data::Samples| {
            let all: Vec<u32> = (0..samples.len() as u32).collect();
            let batch = samples.batch(&all, None).expect("a batch");
            let mut rows: Vec<(Vec<u32>, u32)> = batch
                .input
                .flatten_from(1)
                .and_then(|t| t.to_vec2::<f32>())
                .expect("pixels")
                .into_iter()
                .map(|row| row.into_iter().map(f32::to_bits).collect())
                .zip(batch.labels)
                .collect();
            rows.sort();
            rows
        };
        let mut both = [pixels(set.train.as_ref()), pixels(set.test.as_ref())].concat();
        both.sort();
        assert_eq!(both, pixels(whole.train.as_ref()), "each sample is in one of the two");
        let count = |samples: &dyn data::Samples, class: u32| {
            (0..samples.len()).filter(|i| samples.label(*i) == Some(class)).count() as f64
        };
        for class in 0..10 {
            let share = count(whole.train.as_ref(), class) * 203.0 / 1000.0;
            assert!((count(set.test.as_ref(), class) - share).abs() < 1.0, "{class}");
        }
        assert!(spec(None).with_validation(1000).is_err());
    }

    /// Training sequences are shifted into their successors, and still hold no character of the validation text.
    #[test]
    fn no_validation_text_is_trained_on() {
        let entry = find("synthetic-text").expect("a set");
        let spec = entry
            .spec([Some(40), Some(5)], None, None, None)
            .and_then(|spec| spec.with_validation(10))
            .expect("a spec");
        let fetch = Fetch { offline: true, bar: false, say: &|_| {}, warn: &|_| {} };
        let set = data::load(&spec, &DataSource::Auto, &fetch).expect("text");
        let whole = entry.spec([Some(40), Some(5)], None, None, None).expect("a spec");
        let whole = data::load(&whole, &DataSource::Auto, &fetch).expect("text");
        let read = |samples: &dyn data::Samples, places: std::ops::Range<u32>| {
            let all: Vec<u32> = places.collect();
            samples.batch(&all, None).and_then(|batch| Ok(batch.input.to_vec2::<u32>()?)).expect("characters")
        };
        assert_eq!(read(set.test.as_ref(), 0..10), read(whole.train.as_ref(), 0..10));
        assert_eq!(read(set.train.as_ref(), 0..30), read(whole.train.as_ref(), 10..40));
    }
}
