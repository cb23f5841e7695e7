//! A finished training, and what its record takes from it.

use std::sync::Arc;

use super::state::TrainingState;
use crate::error::Result;
use crate::flops::{self, Flops};
use crate::model::Model;
use crate::nn::{ParamLayout, RunningStats, to_safetensors};
use crate::record::{Measures, Status, StepSeconds, fingerprint};
use crate::stats::median;

/// A finished training.
pub struct Trained {
    /// How the training ended.
    pub status: Status,
    /// Measurements of the training.
    pub measures: Measures,
    /// The model's parameters.
    pub layout: Arc<ParamLayout>,
    /// Final weights, flat in name order.
    pub weights: Vec<f32>,
    /// Final running statistics.
    pub running: RunningStats,
    /// Unreadable files that were left out.
    pub unreadable: Vec<String>,
    /// How often the training was interrupted and resumed.
    pub resumed: usize,
}

impl Trained {
    /// Summarises a training that ended in `state` with these weights and running statistics;
    /// `flops` are those of its steps.
    pub(super) fn new(
        model: &dyn Model,
        status: Status,
        state: TrainingState,
        flops: Flops,
        (weights, running): (Vec<f32>, RunningStats),
    ) -> Self {
        let (steps, epochs) = (state.steps() as u64, state.epochs);
        let tested = epochs.iter().enumerate().filter_map(|(epoch, e)| Some((epoch, e.test_accuracy?)));
        let best = tested.rev().max_by(|(_, a), (_, b)| a.total_cmp(b));
        let last = epochs.last().filter(|_| status == Status::Completed);
        let measures = Measures {
            test_accuracy_last: last.and_then(|e| e.test_accuracy),
            test_accuracy_best: best.map(|(_, accuracy)| accuracy),
            best_epoch: best.map(|(i, _)| i),
            test_samples: state.test_samples,
            labels_changed: None,
            steps,
            parameters: model.layout().len(),
            train_seconds: state.step_seconds.iter().sum::<f64>() + state.mask_seconds,
            mask_seconds: state.mask_seconds,
            step_seconds: StepSeconds::of(&state.step_seconds),
            steps_over_work: median(&state.steps_over_work),
            peak_memory_bytes: state.peak_memory_bytes,
            flops_nominal: flops.nominal,
            flops_theoretical: flops.theoretical,
            flops_theoretical_formula: flops::THEORETICAL_FORMULA.into(),
            flops_executed: Some(state.flops_executed as f64),
            mask_refreshes: state.mask_refreshes,
            gradient_norms: state.gradient_norms,
            edge: state.edge,
            sharpness: state.sharpness,
            fingerprint: fingerprint(&weights),
            epochs,
        };
        let (layout, unreadable, resumed) = (model.layout().clone(), state.unreadable, state.resumed);
        Self { status, measures, layout, weights, running, unreadable, resumed }
    }

    /// Serialises weights and running statistics as a safetensors file with PyTorch's names.
    ///
    /// # Errors
    /// When serialisation fails.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        to_safetensors(&self.layout, &self.weights, &self.running)
    }
}
