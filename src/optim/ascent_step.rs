//! The ascent step `eps = rho m g / (D + epsilon)`, used by training and by the edge of stability.

use super::ascent::{Perturbed, masked_norm, norm};
use super::norm::Norm;
use crate::mask::Mask;

/// Added to the gradient norm in SAM's divisor.
const SAM_EPSILON: f64 = 1e-12;
/// Added to the gradient norm in sparse SAM's divisor (the papers' code).
const SSAM_EPSILON: f64 = 1e-7;

/// An ascent step: its radius, the part of the gradient it follows, and the norm it is divided by.
#[derive(Clone, Copy, Debug)]
pub struct AscentStep<'a> {
    rho: f64,
    epsilon: f64,
    norm: Norm,
    mask: Option<&'a Mask>,
    /// Norm of the previous step's second gradient; 0 in the first step.
    last_norm: f64,
}

impl<'a> AscentStep<'a> {
    /// SAM's step with radius `rho`.
    pub fn dense(rho: f64) -> Self {
        Self { rho, epsilon: SAM_EPSILON, norm: Norm::Full, mask: None, last_norm: 0.0 }
    }

    /// Sparse SAM's step with radius `rho`.
    pub fn sparse(rho: f64) -> Self {
        Self { epsilon: SSAM_EPSILON, ..Self::dense(rho) }
    }

    /// Restricts the step to the live weights and divides by `norm`; without a mask, moves all
    /// weights.
    pub fn masked(self, norm: Norm, mask: Option<&'a Mask>) -> Self {
        Self { norm, mask, ..self }
    }

    /// Sets the norm that [`Norm::Lagged`] divides by, if there is one.
    pub fn after(self, last_norm: f64) -> Self {
        Self { last_norm, ..self }
    }

    /// Radius.
    pub fn rho(&self) -> f64 {
        self.rho
    }

    /// Mask.
    pub fn mask(&self) -> Option<&'a Mask> {
        self.mask
    }

    /// Divisor `D + epsilon` for a gradient.
    pub fn divisor(&self, gradient: &[f32]) -> f64 {
        self.epsilon
            + match (self.norm, self.mask) {
                (Norm::Masked, Some(mask)) => masked_norm(gradient, mask),
                (Norm::Lagged, Some(_)) if self.last_norm > 0.0 => self.last_norm,
                (Norm::Full | Norm::Lagged, _) | (_, None) => norm(gradient),
            }
    }

    /// Factor `rho / (D + epsilon)` of a gradient.
    pub fn scale(&self, gradient: &[f32]) -> f64 {
        self.rho / self.divisor(gradient)
    }

    /// Moves `weights` along `gradient`.
    pub fn perturb(&self, weights: &[f32], gradient: &[f32], perturbed: &mut Perturbed) {
        perturbed.set(weights, gradient, self.scale(gradient), self.mask);
    }
}
