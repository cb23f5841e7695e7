//! Batch normalisation of channels-last values [pixels, channels], fused with an optional ReLU. Statistics in f64.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::activation::positive_part;
use super::simd::Scalar;

/// Pixels of one task. Fixed, so that the order of sums never depends on threads.
const PIXELS: usize = 1024;

/// Mean and biased variance of one channel.
#[derive(Clone, Copy, Debug)]
pub(in crate::nn) struct ChannelStats {
    pub(in crate::nn) mean: f64,
    pub(in crate::nn) variance: f64,
}

/// Sums `K` terms by channel over all pixels: `add(chunk of pixels, sums [K, channels])` for each chunk, then over the
/// chunks in order.
fn channel_sums(
    values: usize,
    channels: usize,
    k: usize,
    add: impl Fn(std::ops::Range<usize>, &mut [f64]) + Sync,
) -> Vec<f64> {
    let chunk = PIXELS * channels;
    let partials: Vec<Vec<f64>> = (0..values.div_ceil(chunk))
        .into_par_iter()
        .map(|i| {
            let mut sums = vec![0.0; k * channels];
            add(i * chunk..((i + 1) * chunk).min(values), &mut sums);
            sums
        })
        .collect();
    let mut total = vec![0.0; k * channels];
    for partial in partials {
        total.iter_mut().zip(partial).for_each(|(t, p)| *t += p);
    }
    total
}

/// The batch's mean and variance by channel (two passes: the variance is taken about the mean).
pub(in crate::nn) fn batch_stats<T: Scalar>(x: &[T], channels: usize) -> Vec<ChannelStats> {
    let count = (x.len() / channels) as f64;
    let sums = channel_sums(x.len(), channels, 1, |range, sums| {
        Arch::new().dispatch(|| {
            for pixel in x[range].chunks_exact(channels) {
                sums.iter_mut().zip(pixel).for_each(|(s, x)| *s += x.to_f64());
            }
        });
    });
    let means: Vec<f64> = sums.iter().map(|s| s / count).collect();
    let squares = channel_sums(x.len(), channels, 1, |range, sums| {
        Arch::new().dispatch(|| {
            for pixel in x[range].chunks_exact(channels) {
                for ((s, x), mean) in sums.iter_mut().zip(pixel).zip(&means) {
                    let d = x.to_f64() - mean;
                    *s += d * d;
                }
            }
        });
    });
    means.iter().zip(squares).map(|(mean, s)| ChannelStats { mean: *mean, variance: s / count }).collect()
}

/// `y = gamma (x - mean) / sqrt(variance + eps) + beta`, then ReLU if asked.
pub(in crate::nn) fn batch_norm<T: Scalar>(
    x: &[T],
    gamma: &[T],
    beta: &[T],
    stats: &[ChannelStats],
    eps: f64,
    relu: bool,
) -> Vec<T> {
    let channels = stats.len();
    let lines: Vec<(T, T)> = stats
        .iter()
        .zip(gamma.iter().zip(beta))
        .map(|(s, (gamma, beta))| {
            let scale = gamma.to_f64() / (s.variance + eps).sqrt();
            (T::from_f64(scale), T::from_f64(beta.to_f64() - s.mean * scale))
        })
        .collect();
    let (scale, shift): (Vec<T>, Vec<T>) = lines.into_iter().unzip();
    let mut y = vec![T::zero(); x.len()];
    y.par_chunks_mut(PIXELS * channels).zip(x.par_chunks(PIXELS * channels)).for_each(|(y, x)| {
        Arch::new().dispatch(|| {
            for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                let lines = scale.iter().zip(&shift);
                if relu {
                    y.iter_mut().zip(x).zip(lines).for_each(|((y, x), (a, b))| *y = positive_part(*x * *a + *b));
                } else {
                    y.iter_mut().zip(x).zip(lines).for_each(|((y, x), (a, b))| *y = *x * *a + *b);
                }
            }
        });
    });
    y
}

/// Gradients of a batch normalisation: of the input, gamma and beta.
pub(in crate::nn) struct BatchNormGrad<T> {
    pub(in crate::nn) dx: Vec<T>,
    pub(in crate::nn) dgamma: Vec<T>,
    pub(in crate::nn) dbeta: Vec<T>,
}

/// Whether the statistics were the batch's own, so that the gradient passes through them, or constants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::nn) enum Statistics {
    Batch,
    Fixed,
}

/// Gradients from `dy`; with `y` given, only where the fused ReLU let values pass.
pub(in crate::nn) fn batch_norm_backward<T: Scalar>(
    x: &[T],
    dy: &[T],
    y: Option<&[T]>,
    gamma: &[T],
    (stats, statistics): (&[ChannelStats], Statistics),
    eps: f64,
) -> BatchNormGrad<T> {
    let channels = stats.len();
    let count = (x.len() / channels) as f64;
    let means: Vec<f64> = stats.iter().map(|s| s.mean).collect();
    let sums = channel_sums(x.len(), channels, 2, |range, sums| {
        let (plain, dot) = sums.split_at_mut(channels);
        let y = y.map(|y| &y[range.clone()]);
        Arch::new().dispatch(GradSums { x: &x[range.clone()], dy: &dy[range], y, means: &means, plain, dot });
    });
    let (plain, dot) = sums.split_at(channels);
    let inv: Vec<f64> = stats.iter().map(|s| 1.0 / (s.variance + eps).sqrt()).collect();
    // dx = a dy + b x + c: gamma inv (dy - mean(dy) - xhat mean(dy xhat)) with xhat = (x - mean) inv.
    let coefficients = (0..channels).map(|c| {
        let a = gamma[c].to_f64() * inv[c];
        if statistics == Statistics::Fixed {
            return [a, 0.0, 0.0];
        }
        let b = -a * dot[c] * inv[c] * inv[c] / count;
        [a, b, -a * plain[c] / count - b * stats[c].mean]
    });
    let [mut a, mut b, mut shift] = [const { Vec::new() }; 3];
    for coefficient in coefficients {
        a.push(T::from_f64(coefficient[0]));
        b.push(T::from_f64(coefficient[1]));
        shift.push(T::from_f64(coefficient[2]));
    }
    let mut dx = vec![T::zero(); x.len()];
    let chunk = PIXELS * channels;
    dx.par_chunks_mut(chunk).enumerate().for_each(|(i, dx)| {
        let range = i * chunk..i * chunk + dx.len();
        let y = y.map(|y| &y[range.clone()]);
        let lines = [a.as_slice(), &b, &shift];
        Arch::new().dispatch(InputGrad { x: &x[range.clone()], dy: &dy[range], y, lines, dx });
    });
    BatchNormGrad {
        dx,
        dgamma: dot.iter().zip(&inv).map(|(d, inv)| T::from_f64(d * inv)).collect(),
        dbeta: plain.iter().map(|s| T::from_f64(*s)).collect(),
    }
}

/// Adds, by channel, dy to `plain` and dy (x - mean) to `dot`, where the fused ReLU let values pass. A type, since a
/// closure with this much in it was not compiled for the CPU's vectors.
struct GradSums<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    y: Option<&'a [T]>,
    means: &'a [f64],
    plain: &'a mut [f64],
    dot: &'a mut [f64],
}

impl<T: Scalar> WithSimd for GradSums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, dy, y, means, plain, dot } = self;
        let n = means.len();
        let (plain, dot) = (&mut plain[..n], &mut dot[..n]);
        let pixels = x.chunks_exact(n).zip(dy.chunks_exact(n));
        match y {
            None => {
                for (x, dy) in pixels {
                    for c in 0..n {
                        let d = dy[c].to_f64();
                        plain[c] += d;
                        dot[c] += d * (x[c].to_f64() - means[c]);
                    }
                }
            }
            Some(y) => {
                for ((x, dy), y) in pixels.zip(y.chunks_exact(n)) {
                    for c in 0..n {
                        let d = if y[c] > T::zero() { dy[c].to_f64() } else { 0.0 };
                        plain[c] += d;
                        dot[c] += d * (x[c].to_f64() - means[c]);
                    }
                }
            }
        }
    }
}

/// Writes dx = a dy + b x + shift, dy being zero where the fused ReLU stopped values; `lines` = [a, b, shift].
struct InputGrad<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    y: Option<&'a [T]>,
    lines: [&'a [T]; 3],
    dx: &'a mut [T],
}

impl<T: Scalar> WithSimd for InputGrad<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, dy, y, lines: [a, b, shift], dx } = self;
        let n = a.len();
        let (b, shift) = (&b[..n], &shift[..n]);
        let pixels = dx.chunks_exact_mut(n).zip(x.chunks_exact(n).zip(dy.chunks_exact(n)));
        match y {
            None => {
                for (dx, (x, dy)) in pixels {
                    for c in 0..n {
                        dx[c] = a[c] * dy[c] + b[c] * x[c] + shift[c];
                    }
                }
            }
            Some(y) => {
                for ((dx, (x, dy)), y) in pixels.zip(y.chunks_exact(n)) {
                    for c in 0..n {
                        let d = if y[c] > T::zero() { dy[c] } else { T::zero() };
                        dx[c] = a[c] * d + b[c] * x[c] + shift[c];
                    }
                }
            }
        }
    }
}
