//! Global average pooling, the parameter-free shortcut and the change of layout: channels-last images
//! [batch, h, w, c].

use rayon::prelude::*;

use super::simd::Scalar;

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
