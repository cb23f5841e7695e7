//! FLOP accounting in three separate columns, as pure functions.
//!
//! One multiply-add is 2 FLOPs. Per layer, the forward pass, the input gradient (dX) and the weight
//! gradient (dW) each cost one GEMM of the layer's size, a *unit*. An SGD step is 3 units, a SAM
//! step 6.
//! - **nominal**: everything dense.
//! - **theoretical**: the papers' counting, with pass-1 dW scaled by the mask's density:
//!   5 + (1 - s) units.
//! - **executed**: what the kernels actually ran, counted by [`crate::nn::FlopCount`].

use serde::{Deserialize, Serialize};

/// Formula (a) of the theoretical column, printed with every table.
pub const THEORETICAL_FORMULA: &str = "(5 + (1 - s)) / 3 x SGD per step: pass-1 dW scaled by mask density";
/// Formula (b), by which some papers count.
pub const THEORETICAL_FORMULA_B: &str = "(4 + 2 (1 - s)) / 3 x SGD per step: pass-1 dW and dX scaled by mask density";

/// FLOPs by formula (b), from the nominal FLOPs (6 units) and those by formula (a) (5 + d units, d the density).
pub fn theoretical_b(nominal: f64, theoretical: f64) -> f64 {
    2.0 * theoretical - nominal
}

/// Multiply-adds of a convolution's forward pass on one image.
pub fn conv2d_macs(c_in: usize, c_out: usize, kernel: usize, out_pixels: usize) -> u64 {
    (c_in * c_out * kernel * kernel * out_pixels) as u64
}

/// Multiply-adds of a linear layer's forward pass on one sample.
pub fn linear_macs(d_in: usize, d_out: usize) -> u64 {
    (d_in * d_out) as u64
}

/// Multiply-adds of the two products of an attention of total width `inner`, including entries
/// hidden by a causal mask.
pub fn attention_macs(tokens: usize, inner: usize) -> u64 {
    (2 * tokens * tokens * inner) as u64
}

/// Cost of a step in units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepCost {
    nominal: f64,
    theoretical: f64,
}

impl StepCost {
    /// One gradient: SGD.
    pub const ONE: Self = Self { nominal: 3.0, theoretical: 3.0 };
    /// Two gradients: SAM.
    pub const TWO: Self = Self { nominal: 6.0, theoretical: 6.0 };

    /// Average number of gradients per step.
    pub fn gradients(mean: f64) -> Self {
        Self { nominal: 3.0 * mean, theoretical: 3.0 * mean }
    }

    /// Two gradients, the first for a perturbation of only the fraction `1 - sparsity` of the
    /// weights.
    pub fn sparse(sparsity: f64) -> Self {
        Self { nominal: 6.0, theoretical: 5.0 + (1.0 - sparsity) }
    }

    /// One gradient per step, and a second one every `interval` steps: LookSAM.
    pub fn every_nth(interval: usize) -> Self {
        let units = 3.0 + 3.0 / interval as f64;
        Self { nominal: units, theoretical: units }
    }

    /// One gradient for a perturbation of the fraction `density` of the weights, the losses of all
    /// samples, and the gradient of the fraction `part` of them: ESAM.
    pub fn part_of_samples(density: f64, part: f64) -> Self {
        let rest = 1.0 + 3.0 * part;
        Self { nominal: 3.0 + rest, theoretical: 2.0 + density + rest }
    }
}

/// FLOPs of a whole cell, evaluation excluded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flops {
    /// Dense count.
    pub nominal: f64,
    /// By [`THEORETICAL_FORMULA`].
    pub theoretical: f64,
}

/// FLOPs of steps on so many samples in all, of a model with `forward_macs` per sample.
pub fn training(forward_macs: u64, samples: usize, cost: StepCost) -> Flops {
    let unit = 2.0 * forward_macs as f64 * samples as f64;
    Flops { nominal: cost.nominal * unit, theoretical: cost.theoretical * unit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_to_sgd_are_the_published_ones() {
        let ratio =
            |cost| training(1_000, 49_920, cost).theoretical / training(1_000, 49_920, StepCost::ONE).theoretical;
        assert_eq!(ratio(StepCost::TWO), 2.0);
        // Formula (a): 1.833 at s = .5, 1.700 at s = .9.
        assert!((ratio(StepCost::sparse(0.5)) - 5.5 / 3.0).abs() < 1e-12);
        assert!((ratio(StepCost::sparse(0.9)) - 1.7).abs() < 1e-12);
        // Formula (b): 1.667 at s = .5, 1.4 at s = .9.
        for (sparsity, published) in [(0.5, 5.0 / 3.0), (0.9, 1.4)] {
            let Flops { nominal, theoretical } = training(1_000, 49_920, StepCost::sparse(sparsity));
            let sgd = training(1_000, 49_920, StepCost::ONE).nominal;
            assert!((theoretical_b(nominal, theoretical) / sgd - published).abs() < 1e-12);
        }
        // LookSAM: 1 + 1/k gradients.
        assert!((ratio(StepCost::every_nth(5)) - 1.2).abs() < 1e-12);
        assert!((ratio(StepCost::gradients(1.5)) - 1.5).abs() < 1e-12);
        // ESAM with all tensors and all samples costs a SAM step plus a forward pass.
        assert!((ratio(StepCost::part_of_samples(1.0, 1.0)) - 7.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn one_step_counts_three_units() {
        assert_eq!(training(10, 2, StepCost::ONE).nominal, 120.0);
    }
}
