//! Building blocks of ascent steps: norms, products, and weights moved along a direction.

use sharpbench_kernels as kernels;
pub use sharpbench_kernels::{dot, norm};

use crate::mask::Mask;

/// Weights after an ascent step. Gradients can be taken there, but no optimizer can step from
/// there, so the original weights cannot get lost.
#[derive(Clone, Debug, Default)]
pub struct Perturbed(Vec<f32>);

impl Perturbed {
    /// The perturbed weights.
    pub fn weights(&self) -> &[f32] {
        &self.0
    }

    /// Sets the weights to `weights + scale direction`, on the live scalars if there is a mask.
    /// `weights` stay unchanged, so there is nothing to restore.
    pub fn set(&mut self, weights: &[f32], direction: &[f32], scale: f64, mask: Option<&Mask>) {
        self.0.resize(weights.len(), 0.0);
        kernels::perturb(weights, direction, scale as f32, mask.map(Mask::flags), &mut self.0);
    }
}

/// Euclidean norm over the live scalars, in f64.
pub fn masked_norm(gradient: &[f32], mask: &Mask) -> f64 {
    kernels::masked_norm(gradient, mask.flags())
}

/// Writes `alpha a + beta b` to `out`.
pub fn combine(coefficients: [f32; 2], a: &[f32], b: &[f32], out: &mut Vec<f32>) {
    out.resize(a.len(), 0.0);
    kernels::combine(coefficients, a, b, out);
}

/// Returns `a / b`, or 0 if b is 0.
pub(super) fn ratio(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}
