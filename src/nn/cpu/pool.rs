//! Global average pooling.

use super::Scalar;

/// Mean of every plane of `pixels` values.
pub(in crate::nn) fn global_avg_pool<T: Scalar>(x: &[T], pixels: usize) -> Vec<T> {
    let mean = |plane: &[T]| T::from_f64(plane.iter().map(|v| v.to_f64()).sum::<f64>() / pixels as f64);
    x.chunks(pixels).map(mean).collect()
}

/// The gradient of [`global_avg_pool`]'s input.
pub(in crate::nn) fn global_avg_pool_backward<T: Scalar>(dy: &[T], pixels: usize) -> Vec<T> {
    let mut dx = Vec::with_capacity(dy.len() * pixels);
    for dy in dy {
        dx.resize(dx.len() + pixels, T::from_f64(dy.to_f64() / pixels as f64));
    }
    dx
}
