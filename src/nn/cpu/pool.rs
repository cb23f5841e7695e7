//! Pooling, the parameter-free shortcut and the change of layout: channels-last images [batch, h, w, c].

use rayon::prelude::*;

use super::simd::Scalar;
use super::write;
use crate::error::{Error, Result};
use crate::nn::windows::Windows;

/// The geometry of a pooling.
#[derive(Clone, Copy, Debug)]
pub(in crate::nn) struct PoolShape {
    batch: usize,
    channels: usize,
    pub(in crate::nn) windows: Windows,
}

impl PoolShape {
    /// The pooling of images [batch, height, width, channels].
    pub(in crate::nn) fn new(
        (batch, height, width, channels): (usize, usize, usize, usize),
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<Self> {
        let fits = kernel <= height.min(width) + 2 * padding;
        // Every window must hold a pixel, and the place of a winner must fit a byte.
        if stride == 0 || !(1..=15).contains(&kernel) || 2 * padding > kernel || !fits {
            return Err(Error::Usage(format!(
                "impossible pooling: windows of {kernel}, stride {stride}, padding {padding} on images of \
                 {height} x {width}"
            )));
        }
        Ok(Self { batch, channels, windows: Windows { height, width, kernel, stride, padding } })
    }

    /// [batch, out height, out width, channels].
    pub(in crate::nn) fn out_dims(&self) -> [usize; 4] {
        let (out_height, out_width) = self.windows.out();
        [self.batch, out_height, out_width, self.channels]
    }

    fn image(&self) -> usize {
        self.windows.height * self.windows.width * self.channels
    }

    fn out_image(&self) -> usize {
        self.out_dims()[1..].iter().product()
    }
}

/// The largest value of each window, and its place there.
pub(in crate::nn) fn max_pool2d<T: Scalar>(s: &PoolShape, x: &[T]) -> (Vec<T>, Vec<u8>) {
    let (c, image, out_image) = (s.channels, s.image(), s.out_image());
    let mut winners = vec![0u8; s.batch * out_image];
    let y = write(winners.len(), |y| {
        let outs = y.par_chunks_mut(out_image).zip(winners.par_chunks_mut(out_image));
        outs.zip(x.par_chunks(image)).for_each(|((y, winners), x)| {
            y.fill(T::from_f64(f64::NEG_INFINITY));
            for (out, place, pixel) in s.windows.pairs() {
                let best = y[out * c..][..c].iter_mut().zip(&mut winners[out * c..][..c]);
                for ((best, winner), x) in best.zip(&x[pixel * c..][..c]) {
                    // NaN wins, so that a diverged run is seen.
                    if *x > *best || x.to_f64().is_nan() {
                        (*best, *winner) = (*x, place as u8);
                    }
                }
            }
        });
    });
    (y, winners)
}

/// The gradient of [`max_pool2d`]'s input: each value to the winner of its window.
pub(in crate::nn) fn max_pool2d_backward<T: Scalar>(s: &PoolShape, winners: &[u8], dy: &[T]) -> Vec<T> {
    let (c, image, out_image) = (s.channels, s.image(), s.out_image());
    write(s.batch * image, |dx| {
        let grads = dy.par_chunks(out_image).zip(winners.par_chunks(out_image));
        dx.par_chunks_mut(image).zip(grads).for_each(|(dx, (dy, winners))| {
            dx.fill(T::zero());
            for (out, place, pixel) in s.windows.pairs() {
                let grads = dy[out * c..][..c].iter().zip(&winners[out * c..][..c]);
                for (dx, (dy, winner)) in dx[pixel * c..][..c].iter_mut().zip(grads) {
                    if usize::from(*winner) == place {
                        *dx += *dy;
                    }
                }
            }
        });
    })
}

/// The mean of each window.
pub(in crate::nn) fn avg_pool2d<T: Scalar>(s: &PoolShape, x: &[T]) -> Vec<T> {
    let (c, scale) = (s.channels, T::from_f64(1.0 / (s.windows.kernel * s.windows.kernel) as f64));
    write(s.batch * s.out_image(), |y| {
        y.par_chunks_mut(s.out_image()).zip(x.par_chunks(s.image())).for_each(|(y, x)| {
            y.fill(T::zero());
            for (out, _, pixel) in s.windows.pairs() {
                y[out * c..][..c].iter_mut().zip(&x[pixel * c..][..c]).for_each(|(y, x)| *y += *x);
            }
            y.iter_mut().for_each(|y| *y *= scale);
        });
    })
}

/// The gradient of [`avg_pool2d`]'s input.
pub(in crate::nn) fn avg_pool2d_backward<T: Scalar>(s: &PoolShape, dy: &[T]) -> Vec<T> {
    let (c, scale) = (s.channels, T::from_f64(1.0 / (s.windows.kernel * s.windows.kernel) as f64));
    write(s.batch * s.image(), |dx| {
        dx.par_chunks_mut(s.image()).zip(dy.par_chunks(s.out_image())).for_each(|(dx, dy)| {
            dx.fill(T::zero());
            for (out, _, pixel) in s.windows.pairs() {
                dx[pixel * c..][..c].iter_mut().zip(&dy[out * c..][..c]).for_each(|(dx, dy)| *dx += *dy * scale);
            }
        });
    })
}

/// Mean over the pixels of each image: [batch, pixels, channels] -> [batch, channels].
pub(in crate::nn) fn global_avg_pool<T: Scalar>(x: &[T], pixels: usize, channels: usize) -> Vec<T> {
    let mut y = Vec::with_capacity(x.len() / pixels);
    for image in x.chunks(pixels * channels) {
        let mut sums = vec![0f64; channels];
        for pixel in image.chunks(channels) {
            sums.iter_mut().zip(pixel).for_each(|(s, x)| *s += x.to_f64());
        }
        y.extend(sums.iter().map(|s| T::from_f64(s / pixels as f64)));
    }
    y
}

/// The gradient of [`global_avg_pool`]'s input.
pub(in crate::nn) fn global_avg_pool_backward<T: Scalar>(dy: &[T], pixels: usize, channels: usize) -> Vec<T> {
    let mut dx = Vec::with_capacity(dy.len() * pixels);
    for dy in dy.chunks(channels) {
        let pixel: Vec<T> = dy.iter().map(|d| T::from_f64(d.to_f64() / pixels as f64)).collect();
        (0..pixels).for_each(|_| dx.extend_from_slice(&pixel));
    }
    dx
}

/// Pairs (input pixel, output pixel) of a subsampling by two.
fn subsampled(height: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
    let out_width = width.div_ceil(2);
    (0..height.div_ceil(2)).flat_map(move |y| (0..out_width).map(move |x| (2 * y * width + 2 * x, y * out_width + x)))
}

/// The shortcut of He et al. (2016), option A: every second pixel of every second row, the channels padded with zeros
/// equally on both sides. `dims` = [batch, height, width, c_in] of the input.
pub(in crate::nn) fn shortcut<T: Scalar>(x: &[T], dims: [usize; 4], c_out: usize) -> Vec<T> {
    let [batch, h, w, c_in] = dims;
    let (image, pad) = (h.div_ceil(2) * w.div_ceil(2) * c_out, (c_out - c_in) / 2);
    let mut y = vec![T::zero(); batch * image];
    y.par_chunks_mut(image).zip(x.par_chunks(h * w * c_in)).for_each(|(y, x)| {
        for (from, to) in subsampled(h, w) {
            y[to * c_out + pad..][..c_in].copy_from_slice(&x[from * c_in..][..c_in]);
        }
    });
    y
}

/// The gradient of [`shortcut`]'s input; `dims` are the input's.
pub(in crate::nn) fn shortcut_backward<T: Scalar>(dy: &[T], dims: [usize; 4], c_out: usize) -> Vec<T> {
    let [batch, h, w, c_in] = dims;
    let (image, pad) = (h.div_ceil(2) * w.div_ceil(2) * c_out, (c_out - c_in) / 2);
    let mut dx = vec![T::zero(); batch * h * w * c_in];
    dx.par_chunks_mut(h * w * c_in).zip(dy.par_chunks(image)).for_each(|(dx, dy)| {
        for (from, to) in subsampled(h, w) {
            dx[from * c_in..][..c_in].copy_from_slice(&dy[to * c_out + pad..][..c_in]);
        }
    });
    dx
}

/// Images [batch, c, pixels] to [batch, pixels, c].
pub(in crate::nn) fn channels_last<T: Scalar>(x: &[T], channels: usize, pixels: usize) -> Vec<T> {
    let mut y = vec![T::zero(); x.len()];
    let image = channels * pixels;
    y.par_chunks_mut(image).zip(x.par_chunks(image)).for_each(|(y, x)| {
        for (c, plane) in x.chunks(pixels).enumerate() {
            y[c..].iter_mut().step_by(channels).zip(plane).for_each(|(y, x)| *y = *x);
        }
    });
    y
}
