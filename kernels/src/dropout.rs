//! Dropout with a given keep mask.

use super::activation::by_chunks;
use super::simd::Scalar;

pub(crate) fn dropout<T: Scalar>(x: &[T], kept: &[bool], scale: T) -> Vec<T> {
    by_chunks(x.len(), 1, |first, out| {
        let range = first..first + out.len();
        let pairs = x[range.clone()].iter().zip(&kept[range]);
        out.iter_mut().zip(pairs).for_each(|(y, (x, kept))| *y = if *kept { *x * scale } else { T::zero() });
    })
}
