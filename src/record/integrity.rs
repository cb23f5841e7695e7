//! What a record must hold to be believed: its own digest, and numbers that a training can have. A digest finds accidents and careless
//! edits; it is no signature.

use serde_json::Value;

use super::{Measures, Record, StepSeconds};
use crate::digest::sha256_text;

/// Maximum seconds of a training: some three hundred years.
const MOST_SECONDS: f64 = 1e10;
/// Key of the digest.
const DIGEST: &str = "digest";

impl Record {
    /// The record with the digest of its contents.
    pub fn sealed(self) -> Self {
        // A record that cannot be written has no digest; writing it reports why.
        let digest = serde_json::to_value(&self).ok().map(|json| digest(&json));
        Self { digest, ..self }
    }

    /// Checks that the numbers are such as a training can have.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { measures: m, cell, provenance, .. } = self;
        let accuracies = m.epochs.iter().map(|e| e.test_accuracy);
        let refreshes = m.mask_refreshes.iter().flat_map(|r| {
            let tensors = r.live_by_tensor.values().map(|live| Some(*live));
            [Some(r.live_fraction), r.overlap, r.fisher_share].into_iter().chain(tensors)
        });
        let samples = m.test_samples.as_ref();
        let fractions = [m.test_accuracy_last, m.test_accuracy_best, samples.and_then(|s| s.ece)]
            .into_iter()
            .chain(accuracies)
            .chain(refreshes);
        // Rounding may lead a sum of fractions past 1.
        if let Some(n) = fractions.flatten().find(|n| !(0.0..=1.0 + 1e-9).contains(n)) {
            return Err(format!("it has an accuracy or another fraction of {n}, which is not from 0 to 1"));
        }
        let Measures { train_seconds, mask_seconds, flops_nominal, flops_theoretical, .. } = m;
        let steps = [m.step_seconds, self.reference_step_seconds].into_iter().flatten();
        let steps = steps.flat_map(|StepSeconds { median, min, max, .. }| [median, min, max]);
        let seconds = || [*train_seconds, *mask_seconds].into_iter().chain(m.epochs.iter().map(|e| e.train_seconds));
        let costs = seconds()
            .chain([*flops_nominal, *flops_theoretical])
            .chain(samples.and_then(|s| s.nll))
            .chain(m.flops_executed)
            .chain(steps);
        let costs = costs.chain(m.steps_over_work.iter().flat_map(|ratio| [ratio.median, ratio.min, ratio.max]));
        if let Some(n) = costs.into_iter().find(|n| !(n.is_finite() && *n >= 0.0)) {
            return Err(format!("it has a time or a number of FLOPs of {n}, which is below 0 or not finite"));
        }
        if let Some(n) = seconds().find(|n| *n > MOST_SECONDS) {
            return Err(format!("it has a time of {n} seconds, more than {MOST_SECONDS}"));
        }
        let most = cell.epochs.saturating_mul(cell.steps_per_epoch());
        if m.steps > most as u64 || m.epochs.len() > cell.epochs || m.best_epoch.is_some_and(|e| e >= cell.epochs) {
            return Err(format!(
                "it has {} steps and {} epochs, more than the {most} steps and {} epochs of its cell",
                m.steps,
                m.epochs.len(),
                cell.epochs
            ));
        }
        let mut epochs = m.mask_refreshes.iter().map(|r| r.epoch).chain(m.sharpness.iter().map(|s| s.epoch));
        let mut steps = m.gradient_norms.iter().map(|g| g.step).chain(m.edge.iter().map(|check| check.step));
        if let Some(epoch) = epochs.find(|epoch| *epoch >= cell.epochs) {
            return Err(format!("it measured something in epoch {epoch}, which its cell does not have"));
        }
        if let Some(step) = steps.find(|step| *step > most as u64) {
            return Err(format!("it measured something before step {step}, which its cell does not have"));
        }
        if provenance.threads == 0 || provenance.jobs == 0 || m.parameters == 0 {
            return Err("its threads, jobs or parameters are 0".into());
        }
        Ok(())
    }
}

/// Checks a record's text against its digest, if it has one.
///
/// # Errors
/// When they disagree.
pub(super) fn check_digest(json: &Value) -> Result<(), String> {
    match json.get(DIGEST).and_then(Value::as_str) {
        Some(expected) if expected != digest(json) => {
            Err("its contents do not have its digest: it was changed after it was written".into())
        }
        _ => Ok(()),
    }
}

/// SHA-256 of everything but the digest, as compact JSON in the record's order.
fn digest(json: &Value) -> String {
    let mut json = json.clone();
    if let Value::Object(fields) = &mut json {
        fields.shift_remove(DIGEST);
    }
    sha256_text(&json.to_string())
}
