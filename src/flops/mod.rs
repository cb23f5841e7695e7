//! FLOP accounting: pure counting, three columns that are never mixed.
//!
//! One multiply-add is 2 FLOPs. Per layer, the forward pass, the input gradient (dX) and the weight gradient
//! (dW) each cost one GEMM of the layer's size, a *unit*: an SGD step is 3 units, a SAM step 6.
//! - **nominal**: everything dense.
//! - **theoretical**: the papers' kind of claim, pass-1 dW scaled by the mask's density: 5 + (1 - s) units.
//! - **executed**: what the kernels really ran ([`crate::nn::executed_flops`]), counted there, not here.

use serde::{Deserialize, Serialize};

/// The formula behind the theoretical column, printed with every table.
pub const THEORETICAL_FORMULA: &str = "(5 + (1 - s)) / 3 x SGD per step: pass-1 dW scaled by mask density";

/// Multiply-adds of a convolution's forward pass on one image.
pub fn conv2d_macs(c_in: usize, c_out: usize, kernel: usize, out_pixels: usize) -> u64 {
    (c_in * c_out * kernel * kernel * out_pixels) as u64
}

/// Multiply-adds of a linear layer's forward pass on one sample.
pub fn linear_macs(d_in: usize, d_out: usize) -> u64 {
    (d_in * d_out) as u64
}

/// Multiply-adds of the two products of an attention of total width `inner`; what a causal mask hides is counted too.
pub fn attention_macs(tokens: usize, inner: usize) -> u64 {
    (2 * tokens * tokens * inner) as u64
}

/// Gradient evaluations an optimizer's step makes, and how much of the first is sparse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StepCost {
    /// One dense gradient.
    One,
    /// Two dense gradients.
    Two,
    /// Two gradients, the first perturbing only a fraction `1 - sparsity` of the weights.
    SparseTwo {
        /// Fraction of weights not perturbed.
        sparsity: f64,
    },
}

/// FLOPs of a whole cell, evaluation excluded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flops {
    /// Everything dense.
    pub nominal: f64,
    /// By [`THEORETICAL_FORMULA`].
    pub theoretical: f64,
}

/// FLOPs of `steps` steps on batches of `batch` samples of a model with `forward_macs` per sample.
pub fn training(forward_macs: u64, batch: usize, steps: u64, cost: StepCost) -> Flops {
    let unit = 2.0 * forward_macs as f64 * batch as f64 * steps as f64;
    let (nominal, theoretical) = match cost {
        StepCost::One => (3.0, 3.0),
        StepCost::Two => (6.0, 6.0),
        StepCost::SparseTwo { sparsity } => (6.0, 5.0 + (1.0 - sparsity)),
    };
    Flops { nominal: nominal * unit, theoretical: theoretical * unit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_to_sgd_are_the_published_ones() {
        let ratio =
            |cost| training(1_000, 128, 390, cost).theoretical / training(1_000, 128, 390, StepCost::One).theoretical;
        assert_eq!(ratio(StepCost::Two), 2.0);
        // Formula (a): 1.833 at s = .5, 1.700 at s = .9.
        assert!((ratio(StepCost::SparseTwo { sparsity: 0.5 }) - 5.5 / 3.0).abs() < 1e-12);
        assert!((ratio(StepCost::SparseTwo { sparsity: 0.9 }) - 1.7).abs() < 1e-12);
    }

    #[test]
    fn one_step_counts_three_units() {
        assert_eq!(training(10, 2, 1, StepCost::One).nominal, 120.0);
    }
}
