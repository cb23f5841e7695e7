//! What the last evaluation found of each test sample.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// The last evaluation of the test samples, of texts of each character.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestSamples {
    /// Samples that were read.
    pub n: usize,
    /// Base64 of one bit per sample, 1 for a correct prediction, least significant bit first; `None` if a sample was unreadable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correct: Option<String>,
    /// Mean negative log likelihood of the labels, in nats; `None` for an objective without probabilities, and if infinite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nll: Option<f64>,
    /// Expected calibration error (Guo et al. 2017, equation 3), in 15 bins of equal width; `None` as for `nll`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ece: Option<f64>,
}

impl TestSamples {
    /// One bit per sample, as text.
    pub fn pack(correct: &[bool]) -> String {
        let byte = |bits: &[bool]| bits.iter().rev().fold(0u8, |byte, bit| byte << 1 | u8::from(*bit));
        STANDARD.encode(correct.chunks(8).map(byte).collect::<Vec<u8>>())
    }

    /// Whether each prediction is right, if that is known of every sample.
    pub fn unpack(&self) -> Option<Vec<bool>> {
        let bytes = STANDARD.decode(self.correct.as_ref()?).ok()?;
        let bits = bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
        (bytes.len() == self.n.div_ceil(8)).then(|| bits.take(self.n).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_back_and_wrong_lengths_do_not() {
        for n in [0, 1, 7, 8, 9, 100] {
            let bits: Vec<bool> = (0..n).map(|i| i % 3 == 0).collect();
            let packed = TestSamples { n, correct: Some(TestSamples::pack(&bits)), nll: None, ece: None };
            assert_eq!(packed.unpack(), Some(bits));
            assert_eq!(TestSamples { n: n + 8, ..packed }.unpack(), None);
        }
    }
}
