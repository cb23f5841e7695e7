//! Test loss and accuracy.

use super::landscape::{Network, Problem};
use crate::data::DataSet;
use crate::error::{Error, Result};
use crate::nn::{Pass, Weights};

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
    let (mut loss, mut correct, mut n) = (0.0, 0, 0);
    data.test_batches(BATCH, |batches| {
        for batch in batches {
            let batch = batch?;
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
    if n == 0 {
        return Err(Error::Data("none of the test samples can be read".into()));
    }
    Ok((loss / n as f64, correct as f64 / n as f64))
}
