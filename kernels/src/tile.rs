//! Products of small matrices whose tiles stay in registers. They cost no packing, which would take longer than the product itself.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::gemm::MatRef;
use super::simd::{Scalar, load_some, many_registers, store, store_some};

/// Writes `a b` to the leading columns of the rows of `out`, which are `stride` values apart. Each sum runs over the inner index in
/// order, so the bits do not depend on the vector width.
///
/// # Panics
/// When shapes disagree, a matrix reaches past its slice, or the rows of `b` are not contiguous or overlap.
#[inline(always)]
pub(super) fn multiply<S: Simd, T: Scalar>(simd: S, a: MatRef<'_, T>, b: MatRef<'_, T>, out: &mut [T], stride: usize) {
    assert!(
        a.cols == b.rows && b.col_stride == 1 && b.cols <= b.row_stride.min(stride),
        "shapes of a small product disagree"
    );
    assert!(a.spans() && b.spans(), "an operand of a small product reaches past its slice");
    assert!(a.rows == 0 || (a.rows - 1) * stride + b.cols <= out.len(), "a small product reaches past its output");
    let lanes = T::lanes::<S>();
    let mut column = 0;
    while column < b.cols {
        let vectors = if b.cols - column >= 2 * lanes { 2 } else { 1 };
        let columns = column..(column + vectors * lanes).min(b.cols);
        let panel = Panel { a, b, columns, out: &mut *out, stride };
        // More rows would need more addresses than there are registers for.
        match (many_registers::<S>(), vectors) {
            (true, 2) => simd.vectorize(Tiles::<T, 2, 8>(panel)),
            (false, 2) => simd.vectorize(Tiles::<T, 2, 4>(panel)),
            _ => simd.vectorize(Tiles::<T, 1, 8>(panel)),
        }
        column += vectors * lanes;
    }
}

/// Some columns of a product that has been checked.
struct Panel<'a, T> {
    a: MatRef<'a, T>,
    b: MatRef<'a, T>,
    columns: Range<usize>,
    out: &'a mut [T],
    stride: usize,
}

/// A panel of at most `V` vectors, by tiles of `P` rows. Inlined into its caller it would compete with that for registers;
/// `vectorize` usually makes it a function of its own.
struct Tiles<'a, T, const V: usize, const P: usize>(Panel<'a, T>);

impl<T: Scalar, const V: usize, const P: usize> WithSimd for Tiles<'_, T, V, P> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let rows = self.0.a.rows;
        let whole = rows / P * P;
        for first in (0..whole).step_by(P) {
            self.0.tile::<S, V, P>(simd, first);
        }
        for first in whole..rows {
            self.0.tile::<S, V, 1>(simd, first);
        }
    }
}

impl<T: Scalar> Panel<'_, T> {
    /// `P` rows of the panel from row `first`, in registers.
    #[inline(always)]
    fn tile<S: Simd, const V: usize, const P: usize>(&mut self, simd: S, first: usize) {
        let &mut Self { a, b, ref columns, ref mut out, stride } = self;
        let lanes = T::lanes::<S>();
        assert!(a.cols == b.rows && a.spans() && b.spans(), "checked by `multiply`");
        assert!(first + P <= a.rows && columns.end <= b.cols && (V == 1 || columns.len() == V * lanes));
        let mut sums = [[T::splat(simd, T::zero()); V]; P];
        for k in 0..a.cols {
            // SAFETY: k is a row of `b` and a column of `a`, `first + p` a row of `a`, `columns` are columns of `b`, and both matrices
            // span their slices (asserted).
            let (row, left) = unsafe {
                let row = b.data.get_unchecked(k * b.row_stride..).get_unchecked(columns.clone());
                (row, a.data.as_ptr().add(first * a.row_stride + k * a.col_stride))
            };
            let mut right = [T::splat(simd, T::zero()); V];
            for (v, right) in right.iter_mut().enumerate() {
                *right = if V > 1 {
                    // SAFETY: the row has V vectors (asserted).
                    unsafe { row.as_ptr().add(v * lanes).cast::<T::Vector<S>>().read_unaligned() }
                } else {
                    load_some(simd, row)
                };
            }
            for (p, sums) in sums.iter_mut().enumerate() {
                // SAFETY: see above.
                let x = T::splat(simd, unsafe { *left.add(p * a.row_stride) });
                sums.iter_mut().zip(right).for_each(|(sum, right)| *sum = T::mul_add(simd, x, right, *sum));
            }
        }
        for (sums, out) in sums.iter().zip(out[first * stride..].chunks_mut(stride)) {
            let out = &mut out[columns.clone()];
            for (v, sum) in sums.iter().enumerate() {
                if V > 1 {
                    store::<S, T>(*sum, &mut out[v * lanes..]);
                } else {
                    store_some(simd, *sum, out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pulp::{Simd, WithSimd};

    use super::*;
    use crate::simd::{FORCED, arch, avx2};

    struct Product<'a> {
        a: MatRef<'a, f32>,
        b: MatRef<'a, f32>,
        out: &'a mut [f32],
        stride: usize,
    }

    impl WithSimd for Product<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            multiply(simd, self.a, self.b, self.out, self.stride);
        }
    }

    #[test]
    fn products_are_the_sums_in_order_for_every_vector_width_and_leave_other_columns_alone() {
        for forced in [None, Some(pulp::Arch::Scalar), avx2()] {
            FORCED.set(forced);
            for (rows, inner, cols) in [(64, 16, 64), (65, 16, 65), (17, 33, 5), (1, 1, 1), (7, 64, 32), (16, 3, 48)] {
                let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 16.0;
                let a: Vec<f32> = (0..rows * inner).map(value).collect();
                let (b_stride, stride) = (cols + 3, cols + 2);
                let b: Vec<f32> = (0..inner * b_stride).map(|i| value(i + 11)).collect();
                let right = MatRef { row_stride: b_stride, ..MatRef::new(&b, inner, cols) };
                for transposed in [false, true] {
                    let left = if transposed { MatRef::new(&a, inner, rows).t() } else { MatRef::new(&a, rows, inner) };
                    let mut out = vec![7.0; rows * stride];
                    arch().dispatch(Product { a: left, b: right, out: &mut out, stride });
                    for (i, row) in out.chunks(stride).enumerate() {
                        for (j, found) in row.iter().enumerate() {
                            let at = |k: usize| a[if transposed { k * rows + i } else { i * inner + k }];
                            let expected = match j < cols {
                                true => (0..inner).fold(0f32, |sum, k| at(k).mul_add(b[k * b_stride + j], sum)),
                                false => 7.0,
                            };
                            assert_eq!(*found, expected, "{rows}x{inner}x{cols}, element {i}, {j}");
                        }
                    }
                }
            }
        }
        FORCED.set(None);
    }
}
