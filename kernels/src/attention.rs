//! Scaled dot-product attention (Vaswani et al. 2017), softmax(Q K^T / sqrt(d)) V for each head of each sample.
//!
//! A sample's tokens are laid out as [tokens, 3, heads, d]: queries, keys and values side by side,
//! as one linear layer produces them.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::flops::FlopCount;
use super::gemm::MatRef;
use super::lanes::{fold, sum, sum_of_pairs};
use super::output::write;
use super::scratch::with_scratch;
use super::simd::{Scalar, arch};
use super::tile::multiply;

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

pub(crate) fn attention<T: Scalar>(s: &AttentionShape, qkv: &[T], flops: &FlopCount) -> Vec<T> {
    flops.add(s.flops(2));
    let (n, width) = (s.tokens, s.width());
    assert_eq!(qkv.len(), s.batch * n * 3 * width, "attention reads queries, keys and values of whole samples");
    write(s.batch * n * width, |out| {
        qkv.par_chunks(3 * n * width).zip(out.par_chunks_mut(n * width)).for_each(|(qkv, out)| {
            with_scratch(n * (n + s.size), |scratch| arch().dispatch(Forward { s, qkv, scratch, out }));
        });
    })
}

/// Attention of a sample.
struct Forward<'a, T> {
    s: &'a AttentionShape,
    qkv: &'a [T],
    /// For a head's attention weights [tokens, tokens] and keys [size, tokens].
    scratch: &'a mut [T],
    out: &'a mut [T],
}

impl<T: Scalar> WithSimd for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { s, qkv, scratch, out } = self;
        let (weights, transposed) = scratch.split_at_mut(s.tokens * s.tokens);
        for head in 0..s.heads {
            attention_weights(simd, s, qkv, head, weights, transposed);
            let v = s.part(qkv, Part::Value, head);
            multiply(simd, s.square(weights), v, &mut out[head * s.size..], s.width());
        }
    }
}

pub(crate) fn attention_backward<T: Scalar>(s: &AttentionShape, qkv: &[T], dy: &[T], flops: &FlopCount) -> Vec<T> {
    flops.add(s.flops(5));
    let (n, width) = (s.tokens, s.width());
    assert!(qkv.len() == 3 * dy.len() && dy.len() == s.batch * n * width, "gradients have the shape of the values");
    write(qkv.len(), |dqkv| {
        let samples = dqkv.par_chunks_mut(3 * n * width).zip(qkv.par_chunks(3 * n * width));
        samples.zip(dy.par_chunks(n * width)).for_each(|((dqkv, qkv), dy)| {
            with_scratch(n * (2 * n + s.size), |scratch| arch().dispatch(Backward { s, qkv, dy, scratch, dqkv }));
        });
    })
}

/// Gradient of the attention of a sample. The attention weights are computed again: to keep those of the forward pass would take
/// more memory than all else together where tokens are many.
struct Backward<'a, T> {
    s: &'a AttentionShape,
    qkv: &'a [T],
    dy: &'a [T],
    /// For a head's weights and their gradient [tokens, tokens], and keys or values [size, tokens].
    scratch: &'a mut [T],
    dqkv: &'a mut [T],
}

impl<T: Scalar> WithSimd for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { s, qkv, dy, scratch, dqkv } = self;
        let (n, width) = (s.tokens, s.width());
        let (weights, scratch) = scratch.split_at_mut(n * n);
        let (scores, transposed) = scratch.split_at_mut(n * n);
        for head in 0..s.heads {
            attention_weights(simd, s, qkv, head, weights, transposed);
            let [q, k, v] = [Part::Query, Part::Key, Part::Value].map(|part| s.part(qkv, part, head));
            let dy = s.columns(&dy[head * s.size..], width);
            multiply(simd, dy, transpose(v, transposed), scores, n);
            softmax_backward(s, weights, scores);
            let products = [
                (Part::Query, s.square(scores), k),
                (Part::Key, s.square(scores).t(), q),
                (Part::Value, s.square(weights).t(), dy),
            ];
            for (place, a, b) in products {
                multiply(simd, a, b, &mut dqkv[s.first(place, head)..], 3 * width);
            }
        }
    }
}

/// Writes a head's attention weights, softmax(Q K^T / sqrt(d)); `transposed` is scratch.
#[inline(always)]
fn attention_weights<S: Simd, T: Scalar>(
    simd: S,
    s: &AttentionShape,
    qkv: &[T],
    head: usize,
    weights: &mut [T],
    transposed: &mut [T],
) {
    let [q, k] = [Part::Query, Part::Key].map(|part| s.part(qkv, part, head));
    multiply(simd, q, transpose(k, transposed), weights, s.tokens);
    softmax(s, weights);
}

/// Writes the transpose of `matrix`.
#[inline(always)]
fn transpose<'a, T: Scalar>(matrix: MatRef<'_, T>, out: &'a mut [T]) -> MatRef<'a, T> {
    let MatRef { rows, cols, col_stride, .. } = matrix;
    assert!(col_stride == 1, "a transposed matrix has contiguous rows");
    for (i, row) in matrix.data.chunks(matrix.row_stride).take(rows).enumerate() {
        row[..cols].iter().zip(out[i..].iter_mut().step_by(rows)).for_each(|(value, place)| *place = *value);
    }
    MatRef::new(out, cols, rows)
}

/// Converts scores to attention weights row by row, over the tokens that the row's token attends
/// to.
#[inline(always)]
fn softmax<T: Scalar>(s: &AttentionShape, scores: &mut [T]) {
    let scale = T::narrow(s.scale());
    // Ignores NaN, but NaN still reaches every weight through the sum.
    let larger = |max, v| if v > max { v } else { max };
    for (i, row) in scores.chunks_exact_mut(s.tokens).enumerate() {
        let (row, hidden) = row.split_at_mut(s.seen(i));
        let max = fold(row, T::narrow(f64::NEG_INFINITY), larger, larger);
        row.iter_mut().for_each(|v| *v = ((*v - max) * scale).exponential());
        let inverse = T::one() / sum(row, |v| v);
        row.iter_mut().for_each(|v| *v *= inverse);
        hidden.fill(T::zero());
    }
}

/// Converts the gradient of the weights to that of the unscaled scores, row by row:
/// scale p (dp - sum(p dp)).
#[inline(always)]
fn softmax_backward<T: Scalar>(s: &AttentionShape, weights: &[T], scores: &mut [T]) {
    let scale = T::narrow(s.scale());
    for (d, p) in scores.chunks_exact_mut(s.tokens).zip(weights.chunks_exact(s.tokens)) {
        let mean = sum_of_pairs(p, d, |p, d| p * d);
        d.iter_mut().zip(p).for_each(|(d, p)| *d = scale * *p * (*d - mean));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::with_avx2_and_best;

    /// Both directions by the definition, in f64, for counts that no vector or tile divides.
    #[test]
    fn attention_and_its_gradient_follow_the_definition() {
        for (tokens, heads, size, causal) in [(1, 1, 1, false), (17, 2, 3, true), (65, 1, 16, false), (20, 3, 33, true)]
        {
            let s = AttentionShape { batch: 2, tokens, heads, size, causal };
            let (n, width) = (tokens, s.width());
            let value = |i: usize| ((i * 37 % 101) as f64 - 50.0) / 60.0;
            let qkv: Vec<f64> = (0..2 * n * 3 * width).map(value).collect();
            let dy: Vec<f64> = (0..2 * n * width).map(|i| value(i + 5)).collect();
            let y = attention(&s, &qkv, &FlopCount::default());
            let dqkv = attention_backward(&s, &qkv, &dy, &FlopCount::default());
            let (mut expected, mut gradient) = (vec![0.0; y.len()], vec![0.0; qkv.len()]);
            for (sample, head, i) in (0..2 * heads * n).map(|at| (at / heads / n, at / n % heads, at % n)) {
                let place = |token: usize, part: usize| (sample * n + token) * 3 * width + part * width + head * size;
                let out = (sample * n + i) * width + head * size;
                let dots = |j: usize| (0..size).map(|c| qkv[place(i, 0) + c] * qkv[place(j, 1) + c]).sum::<f64>();
                let scores: Vec<f64> = (0..s.seen(i)).map(|j| (dots(j) * s.scale()).exp()).collect();
                let p: Vec<f64> = scores.iter().map(|score| score / scores.iter().sum::<f64>()).collect();
                let dp = |j: usize| (0..size).map(|c| dy[out + c] * qkv[place(j, 2) + c]).sum::<f64>();
                let mean: f64 = p.iter().enumerate().map(|(j, p)| p * dp(j)).sum();
                for (j, p) in p.iter().enumerate() {
                    let ds = s.scale() * p * (dp(j) - mean);
                    for c in 0..size {
                        expected[out + c] += p * qkv[place(j, 2) + c];
                        gradient[place(i, 0) + c] += ds * qkv[place(j, 1) + c];
                        gradient[place(j, 1) + c] += ds * qkv[place(i, 0) + c];
                        gradient[place(j, 2) + c] += p * dy[out + c];
                    }
                }
            }
            for (found, expected) in y.iter().chain(&dqkv).zip(expected.iter().chain(&gradient)) {
                assert!((found - expected).abs() < 1e-12, "{s:?}: {found} instead of {expected}");
            }
        }
    }

    #[test]
    fn attention_has_the_same_bits_with_narrower_vectors() {
        let s = AttentionShape { batch: 1, tokens: 19, heads: 2, size: 20, causal: true };
        let qkv: Vec<f32> = (0..19 * 120).map(|i| ((i * 37 % 101) as f32 - 50.0) / 60.0).collect();
        let bits = with_avx2_and_best(|| {
            let y = attention(&s, &qkv, &FlopCount::default());
            [y, attention_backward(&s, &qkv, &qkv[..19 * 40], &FlopCount::default())].concat()
        });
        assert!(bits.is_none_or(|[narrow, wide]| narrow == wide), "the bits of attention depend on the CPU");
    }
}
