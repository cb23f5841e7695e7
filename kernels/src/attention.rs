//! Scaled dot-product attention (Vaswani et al. 2017), softmax(Q K^T / sqrt(d)) V for each head of each sample.
//!
//! A sample's tokens are laid out as [tokens, 3, heads, d]: queries, keys and values side by side,
//! as one linear layer produces them.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::flops::FlopCount;
use super::gemm::{MatMut, MatRef, gemm};
use super::output::write;
use super::scratch::with_scratch;
use super::simd::{Scalar, arch};

/// Geometry of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Samples.
    pub batch: usize,
    /// Tokens per sample.
    pub tokens: usize,
    /// Heads per token.
    pub heads: usize,
    /// Dimension of a query, key or value.
    pub size: usize,
    /// Whether a token attends only to itself and earlier tokens.
    pub causal: bool,
}

/// Queries, keys or values, by their index among the three.
#[derive(Clone, Copy)]
enum Part {
    Query,
    Key,
    Value,
}

impl AttentionShape {
    /// Output features per token.
    fn width(&self) -> usize {
        self.heads * self.size
    }

    fn scale(&self) -> f64 {
        1.0 / (self.size as f64).sqrt()
    }

    /// Number of tokens that token `i` attends to.
    fn seen(&self, i: usize) -> usize {
        if self.causal { i + 1 } else { self.tokens }
    }

    fn first(&self, part: Part, head: usize) -> usize {
        part as usize * self.width() + head * self.size
    }

    /// One head's queries, keys or values of a sample, [tokens, size].
    fn part<'a, T: Scalar>(&self, sample: &'a [T], part: Part, head: usize) -> MatRef<'a, T> {
        self.columns(&sample[self.first(part, head)..], 3 * self.width())
    }

    /// One head's columns, of rows of `stride` values.
    fn columns<'a, T: Scalar>(&self, data: &'a [T], stride: usize) -> MatRef<'a, T> {
        MatRef { row_stride: stride, ..MatRef::new(data, self.tokens, self.size) }
    }

    fn square<'a, T: Scalar>(&self, data: &'a [T]) -> MatRef<'a, T> {
        MatRef::new(data, self.tokens, self.tokens)
    }

    /// FLOPs of this many matrix products over all heads. Entries hidden by a causal mask are
    /// computed too.
    fn flops(&self, products: usize) -> usize {
        2 * products * self.batch * self.heads * self.tokens * self.tokens * self.size
    }
}

pub(crate) fn attention<T: Scalar>(s: &AttentionShape, qkv: &[T], flops: &FlopCount) -> (Vec<T>, Vec<T>) {
    flops.add(s.flops(2));
    let (n, width) = (s.tokens, s.width());
    let mut outputs = Vec::new();
    let weights = write(s.batch * s.heads * n * n, |weights| {
        outputs = write(s.batch * n * width, |out| {
            let samples = qkv.par_chunks(3 * n * width).zip(out.par_chunks_mut(n * width));
            samples.zip(weights.par_chunks_mut(s.heads * n * n)).for_each(|((qkv, out), weights)| {
                with_scratch(n * s.size, |y| {
                    for (head, weights) in weights.chunks_exact_mut(n * n).enumerate() {
                        let [q, k, v] = [Part::Query, Part::Key, Part::Value].map(|part| s.part(qkv, part, head));
                        gemm(MatMut { data: weights, rows: n, cols: n }, q, k.t(), false);
                        arch().dispatch(Softmax { shape: s, scores: weights });
                        gemm(MatMut { data: y, rows: n, cols: s.size }, s.square(weights), v, false);
                        put(y, &mut out[head * s.size..], s.size, width);
                    }
                });
            });
        });
    });
    (outputs, weights)
}

pub(crate) fn attention_backward<T: Scalar>(
    s: &AttentionShape,
    qkv: &[T],
    weights: &[T],
    dy: &[T],
    flops: &FlopCount,
) -> Vec<T> {
    flops.add(s.flops(4));
    let (n, width) = (s.tokens, s.width());
    write(qkv.len(), |dqkv| {
        let samples = dqkv.par_chunks_mut(3 * n * width).zip(qkv.par_chunks(3 * n * width));
        let upstream = dy.par_chunks(n * width).zip(weights.par_chunks(s.heads * n * n));
        samples.zip(upstream).for_each(|((dqkv, qkv), (dy, weights))| {
            with_scratch(n * n, |scores| {
                with_scratch(n * s.size, |part| {
                    for (head, weights) in weights.chunks_exact(n * n).enumerate() {
                        let [q, k, v] = [Part::Query, Part::Key, Part::Value].map(|part| s.part(qkv, part, head));
                        let dy = s.columns(&dy[head * s.size..], width);
                        gemm(MatMut { data: scores, rows: n, cols: n }, dy, v.t(), false);
                        arch().dispatch(SoftmaxBackward { shape: s, weights, scores });
                        let products = [
                            (Part::Query, s.square(scores), k),
                            (Part::Key, s.square(scores).t(), q),
                            (Part::Value, s.square(weights).t(), dy),
                        ];
                        for (place, a, b) in products {
                            gemm(MatMut { data: &mut *part, rows: n, cols: s.size }, a, b, false);
                            put(part, &mut dqkv[s.first(place, head)..], s.size, 3 * width);
                        }
                    }
                });
            });
        });
    })
}

/// Writes rows of `size` values to rows `stride` apart.
fn put<T: Scalar>(rows: &[T], out: &mut [T], size: usize, stride: usize) {
    rows.chunks_exact(size).zip(out.chunks_mut(stride)).for_each(|(row, out)| out[..size].copy_from_slice(row));
}

/// Lanes of a sum, fixed so that the summation order does not depend on the CPU.
const LANES: usize = 16;

/// Sum of `f(i)` for all i below `n`, accumulated in lanes.
#[inline(always)]
fn sum<T: Scalar>(n: usize, f: impl Fn(usize) -> T) -> T {
    let mut lanes = [T::zero(); LANES];
    let whole = n / LANES * LANES;
    for first in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(first + lane);
        }
    }
    (whole..n).for_each(|i| lanes[i - whole] += f(i));
    lanes.into_iter().fold(T::zero(), |sum, lane| sum + lane)
}

/// Converts scores to attention weights row by row, over the tokens that the row's token attends
/// to.
struct Softmax<'a, T> {
    shape: &'a AttentionShape,
    scores: &'a mut [T],
}

impl<T: Scalar> WithSimd for Softmax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let scale = T::narrow(self.shape.scale());
        for (i, row) in self.scores.chunks_exact_mut(self.shape.tokens).enumerate() {
            let (row, hidden) = row.split_at_mut(self.shape.seen(i));
            // The maximum ignores NaN, but NaN still reaches every weight through the sum.
            let max = row.iter().fold(T::narrow(f64::NEG_INFINITY), |max, v| if *v > max { *v } else { max });
            row.iter_mut().for_each(|v| *v = ((*v - max) * scale).exponential());
            let inverse = T::one() / sum(row.len(), |j| row[j]);
            row.iter_mut().for_each(|v| *v *= inverse);
            hidden.fill(T::zero());
        }
    }
}

/// Converts the gradient of the weights to that of the unscaled scores, row by row:
/// scale p (dp - sum(p dp)).
struct SoftmaxBackward<'a, T> {
    shape: &'a AttentionShape,
    weights: &'a [T],
    scores: &'a mut [T],
}

impl<T: Scalar> WithSimd for SoftmaxBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (scale, n) = (T::narrow(self.shape.scale()), self.shape.tokens);
        for (d, p) in self.scores.chunks_exact_mut(n).zip(self.weights.chunks_exact(n)) {
            let mean = sum(n, |j| p[j] * d[j]);
            d.iter_mut().zip(p).for_each(|(d, p)| *d = scale * *p * (*d - mean));
        }
    }
}
