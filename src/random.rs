//! Named random streams. A cell's randomness depends only on its seed: two optimizers with one seed
//! get the same initial weights and the same batches, whatever else they draw.

use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// Purpose of a stream. The name is part of the key, so streams never overlap.
#[derive(Clone, Copy, Debug)]
pub enum Stream<'a> {
    /// Initial values of the named parameter.
    Init(&'a str),
    /// Order of the training images in an epoch.
    Shuffle(usize),
    /// Crops, flips and Cutout of an epoch.
    Augment(usize),
    /// Dropout in a step of an epoch, identical in both passes of a SAM step.
    Dropout(usize, usize),
    /// Initial mask of a dynamic method.
    InitialMask,
    /// Mask decisions in an epoch (samples of the Fisher score, random drop and grow).
    Mask(usize),
    /// Tensors perturbed in a step of ESAM.
    Tensors(usize),
    /// Random vectors of an edge check before a step.
    Edge(usize),
    /// Random vectors of a sharpness measurement after an epoch.
    Sharpness(usize),
    /// Noise in the training labels.
    LabelNoise,
    /// Seeds beyond those that a suite lists; independent of any cell's seed.
    MoreSeeds,
    /// Signs in tests of differences; independent of any cell's seed.
    Signs,
    /// Validation samples of a class; independent of any cell's seed.
    Validation(u32),
    /// Seeds of tuning; independent of any cell's seed.
    TuningSeeds,
    /// Stand-in images; independent of any cell's seed.
    PhotoPatches(&'a str),
    /// Synthetic images and texts; independent of any cell's seed.
    Synthetic(&'a str),
}

impl Stream<'_> {
    /// Text that keys the stream. It affects every published number.
    fn tag(self) -> String {
        match self {
            Self::Init(name) => format!("init {name}"),
            Self::Shuffle(epoch) => format!("shuffle {epoch}"),
            Self::Augment(epoch) => format!("augment {epoch}"),
            Self::Dropout(epoch, step) => format!("dropout {epoch} {step}"),
            Self::InitialMask => "initial mask".into(),
            Self::Mask(epoch) => format!("mask {epoch}"),
            Self::Tensors(step) => format!("tensors {step}"),
            Self::Edge(step) => format!("edge {step}"),
            Self::Sharpness(epoch) => format!("sharpness {epoch}"),
            Self::LabelNoise => "label noise".into(),
            Self::MoreSeeds => "more seeds".into(),
            Self::Signs => "signs".into(),
            Self::Validation(class) => format!("validation {class}"),
            Self::TuningSeeds => "tuning seeds".into(),
            Self::PhotoPatches(split) => format!("photo-patches {split}"),
            Self::Synthetic(part) => format!("synthetic {part}"),
        }
    }
}

/// Creates the generator of a stream for a seed.
pub fn stream(seed: u64, stream: Stream<'_>) -> ChaCha8Rng {
    let mut key = Sha256::new();
    key.update(b"sharpbench stream v1\0");
    key.update(seed.to_le_bytes());
    key.update(stream.tag());
    ChaCha8Rng::from_seed(key.finalize().into())
}

/// Uniform number in [0, 1) with 24 random bits, exact in f32.
pub fn unit(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

/// Two independent standard normal numbers (Box-Muller). libm replaces the platform's functions, so
/// the bits are identical everywhere.
pub fn normal_pair(rng: &mut ChaCha8Rng) -> (f64, f64) {
    // 1 - u keeps the logarithm's argument above zero.
    let (u, v) = (f64::from(unit(rng)), f64::from(unit(rng)));
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - u));
    let (sin, cos) = libm::sincos(std::f64::consts::TAU * v);
    (radius * cos, radius * sin)
}

/// Uniform integer in `0..n` (Lemire's multiplication; the bias is below n / 2^64).
///
/// # Panics
/// When `n` is zero.
pub fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    assert!(n > 0, "no integer is below zero");
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// First `k` elements of a random permutation of `0..n` (partial Fisher-Yates).
pub fn sample(rng: &mut ChaCha8Rng, n: usize, k: usize) -> Vec<u32> {
    let mut items: Vec<u32> = (0..n as u32).collect();
    let k = k.min(n);
    for i in 0..k {
        let j = i + below(rng, n - i);
        items.swap(i, j);
    }
    items.truncate(k);
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_pinned_and_distinct() {
        // Recorded first words of two streams: a change here changes every published number.
        let first = |s| stream(1234, s).next_u64();
        assert_ne!(first(Stream::Shuffle(0)), first(Stream::Shuffle(1)));
        assert_ne!(first(Stream::Shuffle(0)), first(Stream::Augment(0)));
        insta::assert_snapshot!(first(Stream::Init("conv1.weight")), @"16096317304998719211");
    }

    #[test]
    fn a_full_sample_is_a_permutation() {
        let mut items = sample(&mut stream(1, Stream::Mask(0)), 100, 100);
        assert_ne!(items, (0..100).collect::<Vec<u32>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<u32>>());
    }
}
