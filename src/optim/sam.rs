//! The ascent step of SAM (Foret et al. 2021) and of sparse SAM (Mi et al. 2022).

use rayon::prelude::*;

use super::CHUNK;
use crate::mask::Mask;

/// Added to the gradient norm in SAM's denominator.
pub const SAM_EPSILON: f64 = 1e-12;
/// Added to the gradient norm in SSAM's denominator (the papers' code).
pub const SSAM_EPSILON: f64 = 1e-7;

/// Sums of a piece of a norm that run side by side.
const LANES: usize = 16;

/// How far and along which coordinates an ascent step goes: `eps = m * rho g / (||g|| + epsilon)`.
///
/// The norm is the full gradient's and eps is not renormalised after masking, so ||eps|| shrinks with
/// sparsity: `norm = full`, the papers' choice.
#[derive(Clone, Copy, Debug)]
pub struct Ascent<'a> {
    /// Radius rho.
    pub rho: f64,
    /// [`SAM_EPSILON`] or [`SSAM_EPSILON`].
    pub epsilon: f64,
    /// The live scalars; all of them where there is no mask.
    pub mask: Option<&'a Mask>,
}

/// Weights after an ascent step: gradients can be taken there, but no optimizer can step from there, so the
/// original weights cannot be forgotten.
#[derive(Clone, Debug, Default)]
pub struct Perturbed(Vec<f32>);

impl Perturbed {
    /// The perturbed weights.
    pub fn weights(&self) -> &[f32] {
        &self.0
    }
}

/// Euclidean norm, in f64. The pieces are of a fixed size, so the order of sums is fixed.
pub fn norm(gradient: &[f32]) -> f64 {
    let squares = |chunk: &[f32]| {
        let mut sums = [0f64; LANES];
        for values in chunk.chunks(LANES) {
            sums.iter_mut().zip(values).for_each(|(sum, g)| *sum += f64::from(*g) * f64::from(*g));
        }
        sums.iter().sum::<f64>()
    };
    let pieces: Vec<f64> = gradient.par_chunks(CHUNK).map(squares).collect();
    pieces.iter().sum::<f64>().sqrt()
}

impl Ascent<'_> {
    /// Writes `weights + eps` to `perturbed`, reusing its memory. `weights` are left as they are: there is nothing
    /// to restore.
    pub fn perturb(&self, weights: &[f32], gradient: &[f32], perturbed: &mut Perturbed) {
        let scale = (self.rho / (norm(gradient) + self.epsilon)) as f32;
        let perturbed = &mut perturbed.0;
        perturbed.resize(weights.len(), 0.0);
        let pieces = perturbed.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK)).zip(gradient.par_chunks(CHUNK));
        match self.mask {
            None => pieces.for_each(|((perturbed, weights), gradient)| {
                let pairs = weights.iter().zip(gradient);
                perturbed.iter_mut().zip(pairs).for_each(|(p, (w, g))| *p = w + scale * g);
            }),
            Some(mask) => {
                pieces.zip(mask.flags().par_chunks(CHUNK)).for_each(|(((perturbed, weights), gradient), live)| {
                    let triples = weights.iter().zip(gradient).zip(live);
                    for (p, ((w, g), live)) in perturbed.iter_mut().zip(triples) {
                        let moved = w + scale * g;
                        *p = if *live { moved } else { *w };
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn perturbed(ascent: Ascent<'_>) -> Vec<f32> {
        let mut out = Perturbed::default();
        ascent.perturb(&[1.0, 2.0, -3.0], &[3.0, 0.0, -4.0], &mut out);
        out.0
    }

    #[test]
    fn goes_rho_along_the_gradient() {
        let found = perturbed(Ascent { rho: 0.5, epsilon: SAM_EPSILON, mask: None });
        assert_eq!(found, [1.3, 2.0, -3.4]);
    }

    #[test]
    fn a_mask_shortens_the_step_and_does_not_rescale_it() {
        let mask = Mask::from_flags(vec![true, true, false]);
        let found = perturbed(Ascent { rho: 0.5, epsilon: SAM_EPSILON, mask: Some(&mask) });
        assert_eq!(found, [1.3, 2.0, -3.0]);
    }

    #[test]
    fn a_full_mask_and_an_empty_one_are_the_limits() {
        let (full, empty) = (Mask::full(3), Mask::empty(3));
        let with = |mask| perturbed(Ascent { rho: 0.5, epsilon: SSAM_EPSILON, mask });
        assert_eq!(with(Some(&full)), with(None));
        assert_eq!(with(Some(&empty)), [1.0, 2.0, -3.0]);
    }

    /// The two constants differ visibly only where the gradient is tiny.
    #[test]
    fn the_denominator_is_the_methods_own() {
        let step = |epsilon| {
            let mut out = Perturbed::default();
            Ascent { rho: 1.0, epsilon, mask: None }.perturb(&[0.0], &[1e-7], &mut out);
            out.weights()[0]
        };
        assert!((step(SAM_EPSILON) - 1.0).abs() < 1e-4);
        assert!((step(SSAM_EPSILON) - 0.5).abs() < 1e-4);
    }

    #[test]
    fn a_vanishing_gradient_gives_no_nan() {
        let mut out = Perturbed::default();
        Ascent { rho: 0.5, epsilon: SAM_EPSILON, mask: None }.perturb(&[1.0], &[0.0], &mut out);
        assert_eq!(out.weights(), [1.0]);
    }
}
