//! Batch normalisation over [batch, channels, pixels], fused with an optional ReLU. Statistics in f64.

use rayon::prelude::*;

use super::{Scalar, activation::positive_part};

/// Lanes of a running sum: wide enough to vectorise, fixed so that the order of sums is.
const LANES: usize = 8;

/// Mean and biased variance of one channel.
#[derive(Clone, Copy, Debug)]
pub(in crate::nn) struct ChannelStats {
    pub(in crate::nn) mean: f64,
    pub(in crate::nn) variance: f64,
}

/// Sums `f(i)` over `0..n` in a fixed order with [`LANES`] accumulators.
fn lane_sum<const K: usize>(n: usize, f: impl Fn(usize) -> [f64; K]) -> [f64; K] {
    let mut lanes = [[0f64; LANES]; K];
    let whole = n / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        let values: [[f64; K]; LANES] = std::array::from_fn(|lane| f(start + lane));
        for (k, lanes) in lanes.iter_mut().enumerate() {
            lanes.iter_mut().zip(&values).for_each(|(sum, value)| *sum += value[k]);
        }
    }
    let mut sums = lanes.map(|l| l.iter().sum());
    for value in (whole..n).map(f) {
        sums.iter_mut().zip(value).for_each(|(sum, v)| *sum += v);
    }
    sums
}

/// Sums `f(offset)` over all elements of one channel.
fn channel_sum<const K: usize>(
    (batch, channels, pixels): (usize, usize, usize),
    channel: usize,
    f: impl Fn(usize) -> [f64; K],
) -> [f64; K] {
    let mut total = [0f64; K];
    for image in 0..batch {
        let base = (image * channels + channel) * pixels;
        let sums = lane_sum(pixels, |i| f(base + i));
        total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
    }
    total
}

/// The batch's mean and variance by channel (two passes: the variance is taken about the mean).
pub(in crate::nn) fn batch_stats<T: Scalar>(x: &[T], dims: (usize, usize, usize)) -> Vec<ChannelStats> {
    let count = (dims.0 * dims.2) as f64;
    (0..dims.1)
        .into_par_iter()
        .map(|c| {
            let [sum] = channel_sum(dims, c, |i| [x[i].to_f64()]);
            let mean = sum / count;
            let [squares] = channel_sum(dims, c, |i| [(x[i].to_f64() - mean).powi(2)]);
            ChannelStats { mean, variance: squares / count }
        })
        .collect()
}

/// `y = gamma (x - mean) / sqrt(variance + eps) + beta`, then ReLU if asked.
pub(in crate::nn) fn batch_norm<T: Scalar>(
    x: &[T],
    dims: (usize, usize, usize),
    gamma: &[T],
    beta: &[T],
    stats: &[ChannelStats],
    eps: f64,
    relu: bool,
) -> Vec<T> {
    let (_, channels, pixels) = dims;
    let mut y = vec![T::zero(); x.len()];
    y.par_chunks_mut(channels * pixels).zip(x.par_chunks(channels * pixels)).for_each(|(y, x)| {
        for (c, (y, x)) in y.chunks_mut(pixels).zip(x.chunks(pixels)).enumerate() {
            let scale = gamma[c].to_f64() / (stats[c].variance + eps).sqrt();
            let shift = T::from_f64(beta[c].to_f64() - stats[c].mean * scale);
            let scale = T::from_f64(scale);
            if relu {
                y.iter_mut().zip(x).for_each(|(y, x)| *y = positive_part(*x * scale + shift));
            } else {
                y.iter_mut().zip(x).for_each(|(y, x)| *y = *x * scale + shift);
            }
        }
    });
    y
}

/// Sums of the output gradient, plain and times the normalised input: the gradients of beta and gamma.
/// With `y` given, the gradient passes only where the fused ReLU did.
fn output_grad_sums<T: Scalar>(
    x: &[T],
    dy: &[T],
    y: Option<&[T]>,
    dims: (usize, usize, usize),
    stats: &[ChannelStats],
    eps: f64,
) -> Vec<[f64; 2]> {
    (0..dims.1)
        .into_par_iter()
        .map(|c| {
            let (mean, inv) = (stats[c].mean, 1.0 / (stats[c].variance + eps).sqrt());
            let terms = |i: usize, dy: f64| [dy, dy * (x[i].to_f64() - mean)];
            let [sum, dot] = match y {
                None => channel_sum(dims, c, |i| terms(i, dy[i].to_f64())),
                Some(y) => channel_sum(dims, c, |i| terms(i, if y[i] > T::zero() { dy[i].to_f64() } else { 0.0 })),
            };
            [sum, dot * inv]
        })
        .collect()
}

/// Writes `dx = a dy' + b x + c` by channel, dy' being the gradient after the fused ReLU.
fn input_grad<T: Scalar>(
    x: &[T],
    dy: &[T],
    y: Option<&[T]>,
    (_, channels, pixels): (usize, usize, usize),
    coefficients: &[[f64; 3]],
) -> Vec<T> {
    let mut dx = vec![T::zero(); x.len()];
    let image = channels * pixels;
    dx.par_chunks_mut(image).enumerate().for_each(|(n, dx)| {
        for (channel, dx) in dx.chunks_mut(pixels).enumerate() {
            let range = n * image + channel * pixels..n * image + (channel + 1) * pixels;
            let (x, dy) = (&x[range.clone()], &dy[range.clone()]);
            let [a, b, c] = coefficients[channel].map(T::from_f64);
            match y {
                None => dx.iter_mut().zip(x).zip(dy).for_each(|((dx, x), dy)| *dx = a * *dy + b * *x + c),
                Some(y) => {
                    for (((dx, x), dy), y) in dx.iter_mut().zip(x).zip(dy).zip(&y[range]) {
                        let dy = if *y > T::zero() { *dy } else { T::zero() };
                        *dx = a * dy + b * *x + c;
                    }
                }
            }
        }
    });
    dx
}

/// Gradients (dx, dgamma, dbeta) when the statistics were the batch's own.
pub(in crate::nn) fn batch_norm_backward<T: Scalar>(
    x: &[T],
    dy: &[T],
    y: Option<&[T]>,
    dims: (usize, usize, usize),
    gamma: &[T],
    stats: &[ChannelStats],
    eps: f64,
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let sums = output_grad_sums(x, dy, y, dims, stats, eps);
    let count = (dims.0 * dims.2) as f64;
    // dx = gamma inv (dy - mean(dy) - xhat mean(dy xhat)), xhat = (x - mean) inv
    let coefficients: Vec<[f64; 3]> = (0..dims.1)
        .map(|c| {
            let inv = 1.0 / (stats[c].variance + eps).sqrt();
            let a = gamma[c].to_f64() * inv;
            let [sum, dot] = sums[c].map(|s| s / count);
            let b = -a * dot * inv;
            [a, b, -a * sum - b * stats[c].mean]
        })
        .collect();
    (input_grad(x, dy, y, dims, &coefficients), column(&sums, 1), column(&sums, 0))
}

/// Gradients (dx, dgamma, dbeta) when the statistics were constants (evaluation mode).
pub(in crate::nn) fn batch_norm_backward_fixed<T: Scalar>(
    x: &[T],
    dy: &[T],
    y: Option<&[T]>,
    dims: (usize, usize, usize),
    gamma: &[T],
    stats: &[ChannelStats],
    eps: f64,
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let sums = output_grad_sums(x, dy, y, dims, stats, eps);
    let coefficients: Vec<[f64; 3]> =
        (0..dims.1).map(|c| [gamma[c].to_f64() / (stats[c].variance + eps).sqrt(), 0.0, 0.0]).collect();
    (input_grad(x, dy, y, dims, &coefficients), column(&sums, 1), column(&sums, 0))
}

fn column<T: Scalar>(sums: &[[f64; 2]], k: usize) -> Vec<T> {
    sums.iter().map(|s| T::from_f64(s[k])).collect()
}
