//! Evaluation of the test samples: loss, accuracy, calibration.

use super::landscape::{Network, Problem};
use crate::compute::on_pool;
use crate::data::DataSet;
use crate::error::{Error, Result};
use crate::nn::{Objective, Pass, Weights};
use crate::record::TestSamples;

/// Largest fraction of a split's samples that may be left out because they cannot be read.
pub(super) const MOST_LEFT_OUT: f64 = 0.1;

/// Message for a split with too few readable samples.
pub(super) fn too_many(left_out: usize, of: usize, which: &str) -> String {
    format!(
        "{left_out} of {of} of {which} cannot be read, more than the tenth that may be left out; repair or remove the files \
         (`sharpbench data verify DIR` lists them)"
    )
}

/// Samples per evaluation pass.
const BATCH: usize = 256;

/// Bins of confidence for the calibration error, of equal width.
const BINS: usize = 15;

/// What an evaluation found.
pub(super) struct Evaluation {
    /// Mean loss.
    pub(super) loss: f64,
    /// Fraction of right predictions.
    pub(super) accuracy: f64,
    /// Of each sample.
    pub(super) samples: TestSamples,
}

/// Evaluates the test samples (each character of texts), with running statistics in BatchNorm and without label smoothing.
///
/// # Errors
/// When a tensor operation fails.
pub(super) fn evaluate(
    Network { problem: Problem { model, objective, device, .. }, weights, running, .. }: Network<'_>,
    data: &DataSet,
) -> Result<Evaluation> {
    let objective = objective.unsmoothed();
    let has_probabilities = objective != Objective::SquaredError;
    let (mut loss, mut correct, mut samples) = (0.0, Vec::new(), 0);
    let mut bins = [Bin::default(); BINS];
    data.test_batches(BATCH, |batches| {
        for batch in batches {
            let batch = batch?;
            samples += batch.input.dim(0)?;
            let (logits, losses) = on_pool(device, || -> Result<_> {
                let mut pass = Pass::evaluation(Weights::new(model.layout(), weights), running).on(device);
                let input = pass.input(batch.input)?;
                let logits = model.forward(&input, &mut pass)?;
                let losses = pass.loss::<f32>(objective, &logits, &batch.labels)?.per_sample;
                Ok((logits.value::<f32>()?, losses))
            })?;
            loss += losses.iter().sum::<f64>();
            let predicted = logits.argmax(1)?.to_vec1::<u32>()?;
            let right = predicted.iter().zip(&batch.labels).map(|(p, l)| p == l);
            if has_probabilities {
                let logits = logits.to_vec2::<f32>()?;
                for (((logits, label), nll), right) in logits.iter().zip(&batch.labels).zip(&losses).zip(right.clone())
                {
                    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    // The loss is ln sum exp(logits) less the label's.
                    let confidence = libm::exp(f64::from(most) - f64::from(logits[*label as usize]) - nll);
                    Bin::add(&mut bins, confidence, right);
                }
            }
            correct.extend(right);
        }
        Ok(())
    })?;
    let (n, left_out) = (correct.len(), data.test.len() - samples);
    if n == 0 || left_out as f64 > MOST_LEFT_OUT * data.test.len() as f64 {
        return Err(Error::Data(too_many(left_out, data.test.len(), "the test samples")));
    }
    let finite = |value: f64| Some(value).filter(|value| has_probabilities && value.is_finite());
    let loss = loss / n as f64;
    let samples = TestSamples {
        n,
        correct: (left_out == 0).then(|| TestSamples::pack(&correct)),
        nll: finite(loss),
        ece: finite(Bin::calibration_error(&bins, n)),
    };
    let accuracy = correct.iter().filter(|correct| **correct).count() as f64 / n as f64;
    Ok(Evaluation { loss, accuracy, samples })
}

/// Predictions of similar confidence.
#[derive(Clone, Copy, Default)]
struct Bin {
    confidence: f64,
    right: f64,
}

impl Bin {
    /// Adds a prediction to the bins.
    fn add(bins: &mut [Self; BINS], confidence: f64, right: bool) {
        // Each bin has its upper end; NaN, of a training that diverges, goes to the first.
        let place = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        bins[place].confidence += confidence;
        bins[place].right += f64::from(u8::from(right));
    }

    /// Mean over `n` predictions of how far the accuracy of their bin is from its confidence.
    fn calibration_error(bins: &[Self; BINS], n: usize) -> f64 {
        bins.iter().map(|bin| (bin.right - bin.confidence).abs()).sum::<f64>() / n as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// torchmetrics 1.4: MulticlassCalibrationError(num_classes=2, n_bins=15, norm="l1"), by its definition in numpy.
    #[test]
    fn calibration_error_is_the_definition() {
        let predictions = [(0.95, true), (0.97, false), (0.51, true), (0.62, false), (0.64, true), (1.0, true)];
        let mut bins = [Bin::default(); BINS];
        predictions.iter().for_each(|(confidence, right)| Bin::add(&mut bins, *confidence, *right));
        let found = Bin::calibration_error(&bins, predictions.len());
        // Bins: {.51}, {.62, .64}, {.95, .97, 1}.
        let expected = ((1.0f64 - 0.51).abs() + (1.0f64 - 1.26).abs() + (2.0f64 - 2.92).abs()) / 6.0;
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }
}
