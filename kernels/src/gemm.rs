//! Matrix product on slices: a safe, single-threaded wrapper around the `gemm` crate. Callers
//! parallelise over blocks of output rows, which fixes the summation order.

use rayon::prelude::*;

use super::flops::FlopCount;
use super::simd::Scalar;

/// Minimum output rows per task of [`par_gemm`].
const ROWS_PER_TASK: usize = 32;
/// Maximum tasks per product: each one packs the right operand again.
const TASKS: usize = 64;

/// Strided input matrix: element (i, j) is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy)]
pub(super) struct MatRef<'a, T> {
    pub(super) data: &'a [T],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

impl<'a, T> MatRef<'a, T> {
    /// A row-major `rows` x `cols` matrix.
    pub(super) fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The transpose, by strides.
    pub(super) fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    fn rows_from(self, first: usize, rows: usize) -> Self {
        Self { data: &self.data[first * self.row_stride..], rows, ..self }
    }

    pub(super) fn spans(&self) -> bool {
        span(self.rows, self.cols, self.row_stride, self.col_stride) <= self.data.len()
    }
}

/// Row-major output matrix.
pub(super) struct MatMut<'a, T> {
    pub(super) data: &'a mut [T],
    pub(super) rows: usize,
    pub(super) cols: usize,
}

fn span(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> usize {
    if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + (cols - 1) * col_stride + 1 }
}

/// Computes `out = a b` or, with `accumulate`, `out += a b`.
///
/// # Panics
/// When shapes disagree or a matrix reaches past its slice.
pub(super) fn gemm<T: Scalar>(out: MatMut<'_, T>, a: MatRef<'_, T>, b: MatRef<'_, T>, accumulate: bool) {
    assert!(a.cols == b.rows && out.rows == a.rows && out.cols == b.cols, "gemm shapes disagree");
    assert!(a.spans() && b.spans(), "a gemm operand reaches past its slice");
    assert!(out.rows * out.cols <= out.data.len(), "the gemm output reaches past its slice");
    // SAFETY: the asserts above keep every element inside its slice; `out` is borrowed mutably, so it
    // overlaps neither operand; T is f32 or f64 (Scalar), which the crate supports.
    unsafe {
        gemm::gemm(
            out.rows,
            out.cols,
            a.cols,
            out.data.as_mut_ptr(),
            1,
            out.cols as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Runs [`gemm`] over blocks of output rows in parallel, added to `bias` in each row if there is one. The blocks are the same for any
/// number of threads.
pub(super) fn par_gemm<T: Scalar>(
    out: MatMut<'_, T>,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    bias: Option<&[T]>,
    flops: &FlopCount,
) {
    flops.add(2 * out.rows * out.cols * a.cols);
    let cols = out.cols;
    let rows_per_task = out.rows.div_ceil(TASKS).next_multiple_of(ROWS_PER_TASK);
    let blocks = out.data.par_chunks_mut(rows_per_task * cols).enumerate();
    blocks.for_each(|(block, data)| {
        let rows = data.len() / cols;
        if let Some(bias) = bias {
            data.chunks_exact_mut(cols).for_each(|row| row.copy_from_slice(bias));
        }
        gemm(MatMut { data, rows, cols }, a.rows_from(block * rows_per_task, rows), b, bias.is_some());
    });
}

/// Side of the matrices whose product measures the peak: 4 MiB of f32, which fits the caches.
const PEAK_SIDE: usize = 576;
/// Measurement rounds, of which the best counts.
const PEAK_ROUNDS: usize = 12;

/// Measures the CPU's matrix product peak in FLOP/s. Every thread multiplies its own matrices; the
/// best round counts.
pub fn peak() -> f64 {
    let n = PEAK_SIDE;
    let threads = rayon::current_num_threads();
    let mut work: Vec<[Vec<f32>; 3]> =
        (0..threads).map(|_| [vec![1.0; n * n], vec![1.0; n * n], vec![0.0; n * n]]).collect();
    let rounds = (0..PEAK_ROUNDS).map(|_| {
        let start = std::time::Instant::now();
        work.par_iter_mut().with_max_len(1).for_each(|[a, b, c]| {
            let (a, b) = (MatRef::new(a, n, n), MatRef::new(b, n, n));
            gemm(MatMut { data: c, rows: n, cols: n }, a, b, false);
        });
        (2 * n * n * n * threads) as f64 / start.elapsed().as_secs_f64()
    });
    rounds.fold(0.0, f64::max)
}
