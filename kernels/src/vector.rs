//! Arithmetic on flat vectors, for optimizers.

use rayon::prelude::*;

use super::lanes::{LANES, sum_of_pairs};
use super::simd::{Scalar, arch};

/// Values per task, fixed so that the summation order never depends on the number of threads.
const CHUNK: usize = 1 << 14;
/// Values per run. A run without a live value is skipped, so that dead tensors cost little. A multiple of [`LANES`].
const RUN: usize = 256;

/// Inner product, in f64.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products =
        |(a, b): (&[f32], &[f32])| arch().dispatch(|| sum_of_pairs(a, b, |a, b| f64::from(a) * f64::from(b)));
    let pieces: Vec<f64> = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)).map(products).collect();
    pieces.iter().sum()
}

/// Inner product of f64 vectors, in nalgebra's order.
pub fn dot_f64(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0f64; 8];
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    let sum = (0..4).fold(0.0, |sum, i| sum + (sums[i] + sums[i + 4]));
    a_rest.iter().zip(b_rest).fold(sum, |sum, (a, b)| sum + a * b)
}

/// Euclidean norm, in f64.
pub fn norm(values: &[f32]) -> f64 {
    dot(values, values).sqrt()
}

/// Euclidean norm of the `live` values, in f64.
pub fn masked_norm(values: &[f32], live: &[bool]) -> f64 {
    let squares = |(values, live): (&[f32], &[bool])| {
        arch().dispatch(|| {
            let mut sums = [0f64; LANES];
            for (values, live) in values.chunks(RUN).zip(live.chunks(RUN)) {
                if has_live(live) {
                    add_squares(&mut sums, values, live);
                }
            }
            sums.iter().sum::<f64>()
        })
    };
    let pieces: Vec<f64> = values.par_chunks(CHUNK).zip(live.par_chunks(CHUNK)).map(squares).collect();
    pieces.iter().sum::<f64>().sqrt()
}

/// Adds the squares of the `live` values to [`LANES`] partial sums.
#[inline(always)]
fn add_squares(sums: &mut [f64; LANES], values: &[f32], live: &[bool]) {
    let add = |(sum, (v, live)): (&mut f64, (&f32, &bool))| {
        *sum += if *live { f64::from(*v) * f64::from(*v) } else { 0.0 };
    };
    let ((values, values_rest), (live, live_rest)) = (values.as_chunks::<LANES>(), live.as_chunks::<LANES>());
    for (values, live) in values.iter().zip(live) {
        sums.iter_mut().zip(values.iter().zip(live)).for_each(add);
    }
    sums.iter_mut().zip(values_rest.iter().zip(live_rest)).for_each(add);
}

/// Writes `weights + scale direction` to `out`; with a mask, scalars that are not live are copied
/// unchanged.
pub fn perturb(weights: &[f32], direction: &[f32], scale: f32, live: Option<&[bool]>, out: &mut [f32]) {
    let pieces = out.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK)).zip(direction.par_chunks(CHUNK));
    match live {
        None => pieces.for_each(|((out, weights), direction)| {
            let pairs = weights.iter().zip(direction);
            arch().dispatch(|| out.iter_mut().zip(pairs).for_each(|(out, (w, d))| *out = w + scale * d));
        }),
        Some(live) => pieces.zip(live.par_chunks(CHUNK)).for_each(|(((out, weights), direction), live)| {
            arch().dispatch(|| {
                let runs =
                    out.chunks_mut(RUN).zip(weights.chunks(RUN)).zip(direction.chunks(RUN).zip(live.chunks(RUN)));
                for ((out, weights), (direction, live)) in runs {
                    if !has_live(live) {
                        out.copy_from_slice(weights);
                        continue;
                    }
                    let triples = weights.iter().zip(direction).zip(live);
                    for (out, ((w, d), live)) in out.iter_mut().zip(triples) {
                        let moved = w + scale * d;
                        *out = if *live { moved } else { *w };
                    }
                }
            });
        }),
    }
}

/// Whether any value is live. Reads all flags: with vectors, that is faster than stopping at the first.
#[inline(always)]
fn has_live(live: &[bool]) -> bool {
    live.iter().fold(false, |any, live| any | live)
}

/// Writes `alpha a + beta b`.
pub fn combine([alpha, beta]: [f32; 2], a: &[f32], b: &[f32], out: &mut [f32]) {
    let pieces = out.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK));
    pieces.for_each(|((out, a), b)| {
        arch().dispatch(|| {
            out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out = alpha * a + beta * b);
        });
    });
}

/// Writes `(|weight| + eta) value`.
pub fn scale_by_magnitude(weights: &[f32], eta: f32, values: &[f32], out: &mut [f32]) {
    let pieces = out.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK)).zip(values.par_chunks(CHUNK));
    pieces.for_each(|((out, weights), values)| {
        let pairs = weights.iter().zip(values);
        arch().dispatch(|| out.iter_mut().zip(pairs).for_each(|(out, (w, v))| *out = (w.abs() + eta) * v));
    });
}

/// Settings of a step of SGD, in PyTorch's semantics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Step size.
    pub lr: f32,
    /// Momentum mu; 0 for none.
    pub momentum: f32,
    /// Step with g + mu v in place of v.
    pub nesterov: bool,
    /// Weight decay, added to the gradient as a multiple of the weight.
    pub weight_decay: f32,
}

/// Updates v <- mu v + (g + wd w) and w <- w - lr v, or with Nesterov
/// w <- w - lr (g + wd w + mu v).
pub fn sgd_step(step: SgdStep, weights: &mut [f32], gradient: &[f32], velocity: &mut [f32]) {
    let SgdStep { lr, momentum, nesterov, weight_decay } = step;
    let pieces = weights.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
    pieces.zip(velocity.par_chunks_mut(CHUNK)).for_each(|((weights, gradient), velocity)| {
        arch().dispatch(|| {
            for ((w, g), v) in weights.iter_mut().zip(gradient).zip(velocity) {
                let g = g + weight_decay * *w;
                *v = momentum * *v + g;
                *w -= lr * if nesterov { g + momentum * *v } else { *v };
            }
        });
    });
}

/// Settings of a step of AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), in PyTorch's semantics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Step size.
    pub lr: f32,
    /// Decay rates of the averages of the gradient and of its square.
    pub betas: [f32; 2],
    /// Added to the root of the average square.
    pub epsilon: f32,
    /// Decoupled weight decay: a step subtracts lr times this multiple of the weight.
    pub weight_decay: f32,
    /// Steps taken before this one, for the correction of the averages' bias.
    pub taken: usize,
}

/// Updates m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2 and, in the t-th step,
/// w <- (1 - lr wd) w - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon).
pub fn adamw_step(step: AdamWStep, weights: &mut [f32], gradient: &[f32], m: &mut [f32], v: &mut [f32]) {
    let AdamWStep { lr, betas: [b1, b2], epsilon, weight_decay, taken } = step;
    let corrected = |beta: f32| 1.0 - f64::from(beta).powi(i32::try_from(taken + 1).unwrap_or(i32::MAX));
    let rate = (f64::from(lr) / corrected(b1)) as f32;
    let root = corrected(b2).sqrt() as f32;
    let kept = 1.0 - lr * weight_decay;
    let pieces = weights.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
    let pieces = pieces.zip(m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK)));
    pieces.for_each(|((weights, gradient), (m, v))| {
        arch().dispatch(|| {
            for ((w, g), (m, v)) in weights.iter_mut().zip(gradient).zip(m.iter_mut().zip(v)) {
                *m += (1.0 - b1) * (g - *m);
                *v = b2 * *v + (1.0 - b2) * g * g;
                *w = kept * *w - rate * *m / (v.sqrt() / root + epsilon);
            }
        });
    });
}

pub(crate) fn clear<T: Scalar>(values: &mut [T]) {
    values.fill(T::zero());
}

pub(crate) fn accumulate<T: Scalar>(sum: &mut [T], values: &[T]) {
    sum.iter_mut().zip(values).for_each(|(sum, v)| *sum += *v);
}

pub(crate) fn accumulate_scaled<T: Scalar>(sum: &mut [T], values: &[T], scale: T) {
    sum.iter_mut().zip(values).for_each(|(sum, v)| *sum += scale * *v);
}

pub(crate) fn accumulate_squares<T: Scalar>(sum: &mut [T], values: &[T]) {
    sum.iter_mut().zip(values).for_each(|(sum, v)| *sum += *v * *v);
}

pub(crate) fn scale<T: Scalar>(values: &mut [T], scale: T) {
    values.iter_mut().for_each(|v| *v *= scale);
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
        let live: Vec<bool> = b.iter().map(|b| *b > 2.0).collect();
        let squares = a.iter().zip(&live).filter(|(_, live)| **live).map(|(a, _)| f64::from(a * a));
        assert_eq!(masked_norm(&a, &live), squares.sum::<f64>().sqrt());
        assert_eq!(masked_norm(&a, &vec![true; a.len()]), norm(&a));
    }
}
