//! Text by characters: sequences, with the next character to predict at each position.

use candle_core::{Device, Tensor};
use image::RgbImage;
use sha2::{Digest, Sha256};

use super::Samples;
use super::augment::{Augment, Draw};
use super::loader::Batch;
use crate::error::Result;

/// Characters per sequence (Long and Bartlett, 2024).
pub const LENGTH: usize = 64;
/// Number of distinct characters: ASCII.
pub const VOCABULARY: usize = 128;

/// A text split into sequences of [`LENGTH`] characters. Sequence i starts at character 64 i. In
/// training, each epoch draws a shift, so that the text is split elsewhere in every epoch.
pub(super) struct Text {
    bytes: Vec<u8>,
    sequences: usize,
}

/// Number of sequences in a text of this many characters. The last one needs an additional
/// character to predict.
pub(super) const fn sequences(characters: usize) -> usize {
    characters.saturating_sub(1) / LENGTH
}

impl Text {
    /// Creates a text of ASCII characters.
    ///
    /// # Errors
    /// Names the byte that is not ASCII.
    pub(super) fn new(bytes: Vec<u8>) -> std::result::Result<Self, String> {
        match bytes.iter().position(|b| usize::from(*b) >= VOCABULARY) {
            Some(at) => {
                Err(format!("byte {at} is {}, not an ASCII character; the file is damaged or another text", bytes[at]))
            }
            None => Ok(Self { sequences: sequences(bytes.len()), bytes }),
        }
    }
}

impl Samples for Text {
    fn len(&self) -> usize {
        self.sequences
    }

    fn batch(&self, indices: &[u32], augmented: Option<(&Augment, &[Draw])>) -> Result<Batch> {
        let (mut tokens, mut labels) = (Vec::new(), Vec::new());
        for (i, &index) in indices.iter().enumerate() {
            let later = augmented.map_or(0, |(_, draws)| draws[i].later(LENGTH));
            let start = (index as usize * LENGTH + later).min(self.bytes.len() - LENGTH - 1);
            let crop = &self.bytes[start..=start + LENGTH];
            tokens.extend(crop[..LENGTH].iter().map(|b| u32::from(*b)));
            labels.extend(crop[1..].iter().map(|b| u32::from(*b)));
        }
        let input = Tensor::from_vec(tokens, (indices.len(), LENGTH), &Device::Cpu)?;
        Ok(Batch { input, labels, dropout: None })
    }

    fn label(&self, _: usize) -> Option<u32> {
        None
    }

    fn picture(&self, _: usize) -> Result<Option<RgbImage>> {
        Ok(None)
    }

    fn truncate(&mut self, n: usize) {
        if n < self.sequences {
            self.sequences = n;
            self.bytes.truncate(n * LENGTH + 1);
        }
    }

    fn digest(&self, digest: &mut Sha256) {
        digest.update(&self.bytes);
    }
}
