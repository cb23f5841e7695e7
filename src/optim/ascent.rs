//! The pieces of which ascent steps are made: norms, products, and weights moved along a direction.

use rayon::prelude::*;

use super::CHUNK;
use crate::mask::Mask;

/// Sums of a piece of a product that run side by side.
const LANES: usize = 16;

/// Weights after an ascent step: gradients can be taken there, but no optimizer can step from there, so the
/// original weights cannot be forgotten.
#[derive(Clone, Debug, Default)]
pub struct Perturbed(Vec<f32>);

impl Perturbed {
    /// The perturbed weights.
    pub fn weights(&self) -> &[f32] {
        &self.0
    }

    /// Becomes `weights + scale direction`, on the live scalars where there is a mask. `weights` are left as they are:
    /// there is nothing to restore.
    pub fn set(&mut self, weights: &[f32], direction: &[f32], scale: f64, mask: Option<&Mask>) {
        let scale = scale as f32;
        let perturbed = &mut self.0;
        perturbed.resize(weights.len(), 0.0);
        let pieces = perturbed.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK)).zip(direction.par_chunks(CHUNK));
        match mask {
            None => pieces.for_each(|((perturbed, weights), direction)| {
                let pairs = weights.iter().zip(direction);
                perturbed.iter_mut().zip(pairs).for_each(|(p, (w, d))| *p = w + scale * d);
            }),
            Some(mask) => {
                pieces.zip(mask.flags().par_chunks(CHUNK)).for_each(|(((perturbed, weights), direction), live)| {
                    let triples = weights.iter().zip(direction).zip(live);
                    for (p, ((w, d), live)) in perturbed.iter_mut().zip(triples) {
                        let moved = w + scale * d;
                        *p = if *live { moved } else { *w };
                    }
                });
            }
        }
    }
}

/// Inner product, in f64. The pieces are of a fixed size, so the order of sums is fixed.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = |(a, b): (&[f32], &[f32])| {
        let mut sums = [0f64; LANES];
        for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
            sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += f64::from(*a) * f64::from(*b));
        }
        sums.iter().sum::<f64>()
    };
    let pieces: Vec<f64> = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)).map(products).collect();
    pieces.iter().sum()
}

/// Euclidean norm, in f64.
pub fn norm(gradient: &[f32]) -> f64 {
    dot(gradient, gradient).sqrt()
}

/// Euclidean norm over the live scalars, in f64.
pub fn masked_norm(gradient: &[f32], mask: &Mask) -> f64 {
    let squares = |(gradient, live): (&[f32], &[bool])| {
        let mut sums = [0f64; LANES];
        for (gradient, live) in gradient.chunks(LANES).zip(live.chunks(LANES)) {
            for (sum, (g, live)) in sums.iter_mut().zip(gradient.iter().zip(live)) {
                *sum += if *live { f64::from(*g) * f64::from(*g) } else { 0.0 };
            }
        }
        sums.iter().sum::<f64>()
    };
    let pieces: Vec<f64> = gradient.par_chunks(CHUNK).zip(mask.flags().par_chunks(CHUNK)).map(squares).collect();
    pieces.iter().sum::<f64>().sqrt()
}

/// Writes `f` of each pair to `out`.
pub fn combine(a: &[f32], b: &[f32], out: &mut Vec<f32>, f: impl Fn(f32, f32) -> f32 + Sync) {
    out.resize(a.len(), 0.0);
    let pieces = out.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK));
    pieces.for_each(|((out, a), b)| out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out = f(*a, *b)));
}

/// `a / b`, or 0 where b is 0.
pub(super) fn ratio(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_and_norms_are_the_definitions() {
        let a: Vec<f32> = (0..20_000).map(|i| (i % 7) as f32 - 3.0).collect();
        let b: Vec<f32> = (0..20_000).map(|i| (i % 5) as f32).collect();
        let expected: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        assert_eq!(dot(&a, &b), expected);
        let mask = Mask::from_flags(b.iter().map(|b| *b > 2.0).collect());
        let squares = a.iter().zip(&b).filter(|(_, b)| **b > 2.0).map(|(a, _)| f64::from(a * a));
        assert_eq!(masked_norm(&a, &mask), squares.sum::<f64>().sqrt());
        assert_eq!(masked_norm(&a, &Mask::full(a.len())), norm(&a));
    }
}
