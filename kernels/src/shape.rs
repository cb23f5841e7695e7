//! Conversion of layouts.

use rayon::prelude::*;

use super::simd::Scalar;

pub(crate) fn channels_last<T: Scalar>(x: &[T], channels: usize, pixels: usize) -> Vec<T> {
    let mut y = vec![T::zero(); x.len()];
    let image = channels * pixels;
    y.par_chunks_mut(image).zip(x.par_chunks(image)).for_each(|(y, x)| {
        for (c, plane) in x.chunks(pixels).enumerate() {
            y[c..].iter_mut().step_by(channels).zip(plane).for_each(|(y, x)| *y = *x);
        }
    });
    y
}
