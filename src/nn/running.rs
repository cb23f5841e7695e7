//! Running statistics of batch normalisations.

use std::sync::Arc;

use super::params::{ParamLayout, RunningId};

/// Fraction by which running statistics move per batch (PyTorch's default).
const BATCH_NORM_MOMENTUM: f32 = 0.1;

/// Running mean and (unbiased) variance of every BatchNorm layer; not trained, used in evaluation.
#[derive(Clone, Debug)]
pub struct RunningStats {
    layout: Arc<ParamLayout>,
    /// Means by layer (in name order) and channel.
    pub mean: Vec<Vec<f32>>,
    /// Variances by layer (in name order) and channel.
    pub variance: Vec<Vec<f32>>,
}

impl PartialEq for RunningStats {
    fn eq(&self, other: &Self) -> bool {
        (&self.mean, &self.variance) == (&other.mean, &other.variance)
    }
}

impl RunningStats {
    /// Starts with mean 0 and variance 1.
    pub fn new(layout: &Arc<ParamLayout>) -> Self {
        let filled = |value| layout.running().iter().map(|(_, channels)| vec![value; *channels]).collect();
        Self { layout: layout.clone(), mean: filled(0.0), variance: filled(1.0) }
    }

    /// Mean and variance of a layer by channel.
    pub(super) fn of(&self, id: RunningId) -> [&[f32]; 2] {
        let place = self.layout.running_place(id);
        [&self.mean[place], &self.variance[place]]
    }

    /// Moves a layer's statistics towards a batch's means and unbiased variances.
    pub(super) fn learn(&mut self, id: RunningId, statistics: &[[f32; 2]]) {
        let place = self.layout.running_place(id);
        let running = self.mean[place].iter_mut().zip(&mut self.variance[place]);
        for ((mean, variance), [batch_mean, batch_variance]) in running.zip(statistics) {
            *mean += BATCH_NORM_MOMENTUM * (batch_mean - *mean);
            *variance += BATCH_NORM_MOMENTUM * (batch_variance - *variance);
        }
    }

    /// Tensors under PyTorch's names (`bn1.running_mean`, `bn1.running_var`).
    pub fn named(&self) -> impl Iterator<Item = (String, &[f32])> {
        self.layout.running().iter().enumerate().flat_map(|(i, (name, _))| {
            [
                (format!("{name}.running_mean"), self.mean[i].as_slice()),
                (format!("{name}.running_var"), self.variance[i].as_slice()),
            ]
        })
    }
}
