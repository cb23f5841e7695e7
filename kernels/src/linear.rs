//! Fully connected layer, as matrix products.

use rayon::prelude::*;

use super::flops::FlopCount;
use super::gather::gather;
use super::gemm::{MatMut, MatRef, par_gemm};
use super::output::write;
use super::simd::Scalar;
use super::source::Source;

/// Rows whose bias gradients one task sums, fixed so that the summation order never depends on the
/// number of threads.
const ROWS: usize = 1024;

/// Geometry of a fully connected layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearShape {
    /// Number of rows: samples or tokens.
    pub rows: usize,
    /// Input features per row.
    pub d_in: usize,
    /// Output features per row.
    pub d_out: usize,
}

pub(crate) fn linear<T: Scalar>(s: &LinearShape, x: &[T], weight: &[T], bias: &[T], flops: &FlopCount) -> Vec<T> {
    let &LinearShape { rows, d_in, d_out } = s;
    let (x, w) = (MatRef::new(x, rows, d_in), MatRef::new(weight, d_out, d_in));
    write(rows * d_out, |data| par_gemm(MatMut { data, rows, cols: d_out }, x, w.t(), Some(bias), flops))
}

pub(crate) fn linear_weight_grad<T: Scalar>(
    s: &LinearShape,
    x: &[T],
    dy: &[T],
    live: Option<&[usize]>,
    dw: &mut [T],
    flops: &FlopCount,
) {
    let &LinearShape { rows, d_in, d_out } = s;
    let gathered = live.map(|live| gather(&Source::Plain(dy), d_out, live));
    let n = live.map_or(d_out, <[usize]>::len);
    let dy = MatRef::new(gathered.as_deref().unwrap_or(dy), rows, n);
    par_gemm(MatMut { data: dw, rows: n, cols: d_in }, dy.t(), MatRef::new(x, rows, d_in), None, flops);
}

pub(crate) fn linear_input_grad<T: Scalar>(s: &LinearShape, dy: &[T], weight: &[T], flops: &FlopCount) -> Vec<T> {
    let &LinearShape { rows, d_in, d_out } = s;
    let (dy, weight) = (MatRef::new(dy, rows, d_out), MatRef::new(weight, d_out, d_in));
    write(rows * d_in, |data| par_gemm(MatMut { data, rows, cols: d_in }, dy, weight, None, flops))
}

pub(crate) fn linear_bias_grad<T: Scalar>(dy: &[T], db: &mut [T]) {
    let n = db.len();
    let add = |mut sum: Vec<T>, row: &[T]| {
        sum.iter_mut().zip(row).for_each(|(sum, v)| *sum += *v);
        sum
    };
    let parts: Vec<Vec<T>> = dy.par_chunks(ROWS * n).map(|part| part.chunks(n).fold(vec![T::zero(); n], add)).collect();
    let sum = parts.into_iter().reduce(|sum, part| add(sum, &part)).unwrap_or_default();
    db.copy_from_slice(&sum);
}
