//! Test loss and accuracy.

use super::landscape::{Network, Problem};
use crate::data::DataSet;
use crate::error::{Error, Result};
use crate::nn::{Pass, Weights};

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

/// Mean loss and accuracy on the test samples (per character for texts), with running statistics in
/// BatchNorm.
///
/// # Errors
/// When a tensor operation fails.
pub(super) fn evaluate(
    Network { problem: Problem { model, objective, device, .. }, weights, running, .. }: Network<'_>,
    data: &DataSet,
) -> Result<(f64, f64)> {
    let (mut loss, mut correct, mut n, mut samples) = (0.0, 0, 0, 0);
    data.test_batches(BATCH, |batches| {
        for batch in batches {
            let batch = batch?;
            samples += batch.input.dim(0)?;
            let mut pass = Pass::evaluation(Weights::new(model.layout(), weights), running).on(device);
            let input = pass.input(batch.input)?;
            let logits = model.forward(&input, &mut pass)?;
            loss += pass.loss::<f32>(objective, &logits, &batch.labels)?.per_sample.iter().sum::<f64>();
            let predicted = logits.value::<f32>()?.argmax(1)?.to_vec1::<u32>()?;
            correct += predicted.iter().zip(&batch.labels).filter(|(p, l)| p == l).count();
            n += batch.labels.len();
        }
        Ok(())
    })?;
    let left_out = data.test.len() - samples;
    if n == 0 || left_out as f64 > MOST_LEFT_OUT * data.test.len() as f64 {
        return Err(Error::Data(too_many(left_out, data.test.len(), "the test samples")));
    }
    Ok((loss / n as f64, correct as f64 / n as f64))
}
