//! Gradient of the full training loss, which convergence theorems bound and a batch's gradient
//! estimates.

use super::landscape::Network;
use crate::data::DataSet;
use crate::error::Result;
use crate::nn::BatchNormMode;
use crate::optim::dot;

/// Samples per pass.
const BATCH: usize = 256;

/// Squared norm of the gradient of the mean loss over all training samples, without augmentation
/// and with running statistics in BatchNorm.
///
/// # Errors
/// When a sample cannot be read or a tensor operation fails.
pub(super) fn squared_gradient_norm(mut network: Network<'_>, data: &DataSet) -> Result<f64> {
    let indices: Vec<u32> = (0..data.train.len() as u32).collect();
    let (mut sum, mut gradient, mut n) = (vec![0f32; network.weights.len()], Vec::new(), 0);
    for indices in indices.chunks(BATCH) {
        // May contain fewer samples, since unreadable ones may be left out.
        let batch = data.train.batch(indices, None)?;
        if batch.labels.is_empty() {
            continue;
        }
        network.loss_gradient(&batch, BatchNormMode::Eval, &mut gradient)?;
        let labels = batch.labels.len();
        sum.iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += labels as f32 * g);
        n += labels;
    }
    Ok(dot(&sum, &sum) / (n as f64).powi(2))
}
