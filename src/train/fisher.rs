//! The empirical Fisher score: the sum of squared per-sample gradients with the true labels
//! (Mi et al. 2022, equation 7).

use crate::data::DataSet;
use crate::data::augment::Augment;
use crate::error::Result;
use crate::model::Model;
use crate::nn::{BatchNormMode, RunningStats};
use crate::random::{Stream, sample, stream};
use crate::suite::cell::FisherMode;

use super::step::loss_gradient;

/// Scores of all weights from `samples` training images, drawn without replacement from the epoch's mask
/// stream. Mode `paper` runs batches of one in training mode, augmented, and updates BatchNorm's running
/// statistics, as the papers' code does; `clean` uses evaluation mode and plain images.
///
/// # Errors
/// When a tensor operation fails.
pub(super) fn fisher_scores(
    (model, weights, running): (&dyn Model, &[f32], &mut RunningStats),
    data: &DataSet,
    augment: &Augment,
    (samples, mode): (usize, FisherMode),
    (seed, epoch): (u64, usize),
) -> Result<Vec<f32>> {
    let mut rng = stream(seed, Stream::Mask(epoch));
    let chosen = sample(&mut rng, data.train.len(), samples);
    let mut scores = vec![0f32; weights.len()];
    let mut gradient = Vec::new();
    for index in chosen {
        let (batch, batch_norm) = match mode {
            FisherMode::Paper => (data.training_sample(index, Some((augment, &mut rng)))?, BatchNormMode::Update),
            FisherMode::Clean => (data.training_sample(index, None)?, BatchNormMode::Eval),
        };
        loss_gradient(model, weights, running, &batch, batch_norm, &mut gradient)?;
        scores.iter_mut().zip(&gradient).for_each(|(s, g)| *s += g * g);
    }
    Ok(scores)
}
