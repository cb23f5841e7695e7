//! Learning rates over a training, with a linear warm-up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate falls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// lr (1 + cos(pi epoch / epochs)) / 2, constant within an epoch.
    Cosine,
    /// lr gamma^k after k of the milestones, given as fractions of the training.
    MultiStep {
        /// Fractions of all epochs (warm-up included) in (0, 1), increasing.
        milestones: Vec<f64>,
        /// Factor at each.
        gamma: f64,
    },
    /// lr throughout.
    Constant,
    /// lr / sqrt t in step t, counted from 1 over the whole training, as convergence theorems
    /// require.
    InverseSqrt,
}

/// Learning rate over a training.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Peak learning rate.
    pub lr: f64,
    /// Decay of the learning rate.
    pub decay: Decay,
    /// Epochs of linear warm-up from 0, counted in the total.
    pub warmup_epochs: usize,
    /// Total epochs.
    pub epochs: usize,
    /// Steps per epoch.
    pub steps_per_epoch: usize,
}

impl Schedule {
    /// Learning rate of a step (`step` counts from 0 within `epoch`).
    pub fn lr(&self, epoch: usize, step: usize) -> f64 {
        if epoch < self.warmup_epochs {
            let done = (epoch * self.steps_per_epoch + step + 1) as f64;
            return self.lr * done / (self.warmup_epochs * self.steps_per_epoch) as f64;
        }
        match &self.decay {
            Decay::Cosine => {
                let done = (epoch - self.warmup_epochs) as f64 / (self.epochs - self.warmup_epochs) as f64;
                self.lr * (1.0 + libm::cos(std::f64::consts::PI * done)) / 2.0
            }
            Decay::MultiStep { milestones, gamma } => {
                // 0.55 * 100 exceeds 55 by a rounding error.
                let reached = |m: &&f64| epoch as f64 + 1e-6 >= **m * self.epochs as f64;
                self.lr * gamma.powi(milestones.iter().filter(reached).count() as i32)
            }
            Decay::Constant => self.lr,
            Decay::InverseSqrt => self.lr / ((epoch * self.steps_per_epoch + step + 1) as f64).sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(decay: Decay, warmup_epochs: usize) -> Schedule {
        Schedule { lr: 0.1, decay, warmup_epochs, epochs: 10, steps_per_epoch: 4 }
    }

    #[test]
    fn cosine_is_constant_within_an_epoch_and_ends_above_zero() {
        let s = schedule(Decay::Cosine, 0);
        assert_eq!((s.lr(0, 0), s.lr(0, 3)), (0.1, 0.1));
        assert!((s.lr(5, 0) - 0.05).abs() < 1e-12);
        assert!(s.lr(9, 3) > 0.0 && s.lr(9, 3) < 0.003);
    }

    #[test]
    fn inverse_square_root_falls_by_step() {
        let s = schedule(Decay::InverseSqrt, 0);
        assert_eq!((s.lr(0, 0), s.lr(0, 3)), (0.1, 0.05));
        assert!((s.lr(2, 0) - 0.1 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn multi_step_drops_at_the_milestones() {
        let s = schedule(Decay::MultiStep { milestones: vec![0.5, 0.8], gamma: 0.1 }, 0);
        let lrs: Vec<f64> = [4, 5, 8].iter().map(|e| s.lr(*e, 0)).collect();
        for (found, expected) in lrs.iter().zip([0.1, 0.01, 0.001]) {
            assert!((found - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn a_milestone_is_reached_in_its_epoch_in_spite_of_rounding() {
        let decay = Decay::MultiStep { milestones: vec![0.55], gamma: 0.1 };
        let s = Schedule { lr: 1.0, decay, warmup_epochs: 5, epochs: 100, steps_per_epoch: 1 };
        assert_eq!((s.lr(54, 0), s.lr(55, 0)), (1.0, 0.1));
    }

    #[test]
    fn warm_up_is_linear_by_step_and_reaches_the_peak() {
        let s = schedule(Decay::Constant, 2);
        assert!((s.lr(0, 0) - 0.1 / 8.0).abs() < 1e-12);
        assert_eq!((s.lr(1, 3), s.lr(2, 0)), (0.1, 0.1));
    }
}
