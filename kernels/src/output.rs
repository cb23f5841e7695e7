//! Output memory of kernels.

use std::mem::MaybeUninit;

use super::simd::Scalar;

/// Allocates a vector of `len` values, uninitialised, and lets `f` write every one of them.
pub(super) fn write<T: Scalar>(len: usize, f: impl FnOnce(&mut [T])) -> Vec<T> {
    let mut values = Vec::with_capacity(len);
    let spare: &mut [MaybeUninit<T>] = &mut values.spare_capacity_mut()[..len];
    if cfg!(test) {
        // NaN exposes values that a kernel forgets to write.
        spare.iter_mut().for_each(|v| _ = v.write(T::narrow(f64::NAN)));
    }
    // SAFETY: floats have no invalid bit patterns, and `f` writes each before anything reads it.
    f(unsafe { &mut *(std::ptr::from_mut(spare) as *mut [T]) });
    // SAFETY: the capacity is at least `len` and all values are written.
    unsafe { values.set_len(len) };
    values
}

/// Splits `values` into `n` pieces of `size` values; surplus pieces are empty.
pub(super) fn pieces<T>(values: &mut [T], size: usize, n: usize) -> impl Iterator<Item = &mut [T]> {
    values.chunks_mut(size.max(1)).chain(std::iter::repeat_with(Default::default)).take(n)
}
