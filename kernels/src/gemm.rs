//! Matrix products on slices: a safe, single-threaded wrapper around the `gemm` crate, and a parallel one by blocks of the output, which
//! fixes the summation order.

use rayon::prelude::*;

use super::flops::FlopCount;
use super::simd::Scalar;

/// Minimum output rows per task of [`par_gemm`].
const ROWS: usize = 32;
/// Minimum rows and columns of a task that shares rows of the output with others.
const BLOCK: [usize; 2] = [128, 96];
/// Maximum blocks beside each other, so that the last is not much narrower than the others.
const MOST_ACROSS: usize = 16;
/// Maximum tasks per product.
const TASKS: usize = 64;
/// Fewer tasks than this leave threads idle.
const FEW_TASKS: usize = 8;
/// Up to this many rows, the `gemm` crate may take another way, with another order of sums, that depends on the columns.
const FEW_ROWS: usize = 3;

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

    fn cols_from(self, first: usize, cols: usize) -> Self {
        // A matrix without rows has no such element.
        Self { data: self.data.get(first * self.col_stride..).unwrap_or_default(), cols, ..self }
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

/// A row-major output matrix or a part of it, which other tasks may write other parts of.
struct Block<T> {
    first: *mut T,
    rows: usize,
    cols: usize,
    /// Columns of the whole matrix.
    stride: usize,
}

// SAFETY: a shared block only hands out parts of itself; whoever writes to one promises that nobody else does.
unsafe impl<T: Send> Sync for Block<T> {}

impl<T: Copy> Block<T> {
    /// The part of at most `rows` x `cols` from element `(i, j)`.
    fn part(&self, (i, j): (usize, usize), [rows, cols]: [usize; 2]) -> Self {
        let (rows, cols) = (rows.min(self.rows - i), cols.min(self.cols - j));
        Self { first: self.first.wrapping_add(i * self.stride + j), rows, cols, ..*self }
    }

    /// Copies `row` to every row.
    ///
    /// # Safety
    /// As for [`gemm_block`].
    unsafe fn fill_rows(&self, row: &[T]) {
        assert_eq!(row.len(), self.cols, "a row has as many values as the block has columns");
        for i in 0..self.rows {
            // SAFETY: by this function's own condition; `row` is a shared slice and so none of the block's memory.
            unsafe { self.first.add(i * self.stride).copy_from_nonoverlapping(row.as_ptr(), row.len()) };
        }
    }
}

fn span(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> usize {
    if rows == 0 || cols == 0 {
        return 0;
    }
    (rows - 1).saturating_mul(row_stride).saturating_add((cols - 1).saturating_mul(col_stride)).saturating_add(1)
}

impl<T> MatMut<'_, T> {
    /// The whole matrix.
    ///
    /// # Panics
    /// When it reaches past its slice.
    fn whole(&mut self) -> Block<T> {
        let &mut Self { ref mut data, rows, cols } = self;
        let values = rows.checked_mul(cols).is_some_and(|values| values <= data.len());
        assert!(values, "the gemm output reaches past its slice");
        Block { first: data.as_mut_ptr(), rows, cols, stride: cols }
    }
}

/// Computes `out = a b` or, with `accumulate`, `out += a b`.
///
/// # Panics
/// When shapes disagree or a matrix reaches past its slice.
pub(super) fn gemm<T: Scalar>(mut out: MatMut<'_, T>, a: MatRef<'_, T>, b: MatRef<'_, T>, accumulate: bool) {
    // SAFETY: the matrix borrows its values mutably.
    unsafe { gemm_block(out.whole(), a, b, accumulate) }
}

/// [`gemm`] on a block.
///
/// # Safety
/// The block's `rows` rows of `cols` values, `stride` apart, must be valid, and nothing else may use them during the call.
unsafe fn gemm_block<T: Scalar>(out: Block<T>, a: MatRef<'_, T>, b: MatRef<'_, T>, accumulate: bool) {
    assert!(a.cols == b.rows && out.rows == a.rows && out.cols == b.cols, "gemm shapes disagree");
    assert!(a.spans() && b.spans(), "a gemm operand reaches past its slice");
    // SAFETY: the asserts above keep every element inside its slice; the block overlaps neither operand; T is f32 or f64 (Scalar), which
    // the crate supports.
    unsafe {
        gemm::gemm(
            out.rows,
            out.cols,
            a.cols,
            out.first,
            1,
            out.stride as isize,
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

/// Rows per task where every task computes whole rows.
fn whole_rows(rows: usize) -> usize {
    rows.div_ceil(TASKS).next_multiple_of(ROWS).max(ROWS)
}

/// Rows and columns of the blocks that tasks compute. Every task packs its part of the right operand again: where that means
/// transposing it, or where rows are too few to keep many threads busy, the columns are split and the rows in as few parts as
/// possible. Every sum has the same order as with whole rows.
fn block(rows: usize, cols: usize, b_is_transposed: bool) -> [usize; 2] {
    let height = whole_rows(rows);
    let across = (cols / BLOCK[1]).min(MOST_ACROSS);
    let few_left = (1..=FEW_ROWS).contains(&(rows % height));
    if few_left || across < 2 || !b_is_transposed && rows.div_ceil(height) >= FEW_TASKS {
        return [height, cols.max(1)];
    }
    let down = (TASKS / across).clamp(1, (rows / BLOCK[0]).max(1));
    [rows.div_ceil(down).max(1), cols.div_ceil(across)]
}

/// Runs [`gemm`] over blocks of the output in parallel, added to `bias` in each row if there is one. The blocks are the same for any
/// number of threads.
pub(super) fn par_gemm<T: Scalar>(
    mut out: MatMut<'_, T>,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    bias: Option<&[T]>,
    flops: &FlopCount,
) {
    flops.add(2 * out.rows * out.cols * a.cols);
    let [height, width] = block(out.rows, out.cols, b.col_stride != 1);
    let across = out.cols.div_ceil(width);
    let out = out.whole();
    (0..out.rows.div_ceil(height) * across).into_par_iter().for_each(|task| {
        let (i, j) = (task / across * height, task % across * width);
        let block = out.part((i, j), [height, width]);
        let (a, b) = (a.rows_from(i, block.rows), b.cols_from(j, block.cols));
        // SAFETY: `out` is inside its slice, which is borrowed mutably; the blocks of the tasks share no element.
        unsafe {
            if let Some(bias) = bias {
                block.fill_rows(&bias[j..j + block.cols]);
            }
            gemm_block(block, a, b, bias.is_some());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// By definition, in f64, for shapes of every split: narrow and wide, flat and tall, with sides that no block divides.
    #[test]
    fn parallel_products_are_sums_of_products_plus_the_bias() {
        for (rows, inner, cols) in
            [(0, 3, 2), (1, 1, 1), (130, 5, 10), (4, 0, 200), (132, 7, 200), (40, 3, 1000), (700, 3, 300), (5, 2, 6200)]
        {
            let value = |i: usize| (i * 37 % 101) as f64 - 50.0;
            let a: Vec<f64> = (0..rows * inner).map(value).collect();
            let b: Vec<f64> = (0..inner * cols).map(|i| value(i + 7)).collect();
            let bias: Vec<f64> = (0..cols).map(|i| value(i + 3)).collect();
            for (transposed, bias) in [(false, None), (true, None), (false, Some(&*bias)), (true, Some(&*bias))] {
                let right = if transposed { MatRef::new(&b, cols, inner).t() } else { MatRef::new(&b, inner, cols) };
                let mut out = vec![f64::NAN; rows * cols];
                let flops = FlopCount::default();
                par_gemm(MatMut { data: &mut out, rows, cols }, MatRef::new(&a, rows, inner), right, bias, &flops);
                for (at, found) in out.iter().enumerate() {
                    let (i, j) = (at / cols, at % cols);
                    let factor = |k: usize| b[if transposed { j * inner + k } else { k * cols + j }];
                    let sum: f64 = (0..inner).map(|k| a[i * inner + k] * factor(k)).sum();
                    // Whole numbers, so that any order of sums has the same bits.
                    assert_eq!(
                        *found,
                        sum + bias.map_or(0.0, |bias| bias[j]),
                        "{rows}x{inner}x{cols}, element {i}, {j}"
                    );
                }
            }
        }
    }

    /// The `gemm` crate orders sums by the shape of what it is given; k is above 512, which it sums in parts.
    #[test]
    fn the_order_of_sums_is_that_of_whole_rows() {
        let inner = 784;
        for cols in [10, 96, 192, 300, 1537] {
            for rows in [1, 2, 3, 31, 33, 64, 66, 128, 130, 700] {
                let value = |i: usize| (i * 37 % 1009) as f32 / 1009.0 - 0.3;
                let a: Vec<f32> = (0..rows * inner).map(value).collect();
                let b: Vec<f32> = (0..inner * cols).map(|i| value(i + 7)).collect();
                for right in [MatRef::new(&b, cols, inner).t(), MatRef::new(&b, inner, cols)] {
                    let left = MatRef::new(&a, rows, inner);
                    let [mut out, mut expected] = [(); 2].map(|()| vec![f32::NAN; rows * cols]);
                    par_gemm(MatMut { data: &mut out, rows, cols }, left, right, None, &FlopCount::default());
                    for (i, data) in expected.chunks_mut(whole_rows(rows) * cols).enumerate() {
                        let rows_here = data.len() / cols;
                        let left = left.rows_from(i * whole_rows(rows), rows_here);
                        gemm(MatMut { data, rows: rows_here, cols }, left, right, false);
                    }
                    assert!(
                        out == expected,
                        "{rows}x{inner}x{cols}, strides {}, {}",
                        right.row_stride,
                        right.col_stride
                    );
                }
            }
        }
    }

    #[test]
    fn no_product_has_too_many_tasks_or_narrow_blocks() {
        for cols in 1..3000 {
            for (rows, transposed) in [(4, false), (128, true), (10_000, true), (10_000, false)] {
                let [height, width] = block(rows, cols, transposed);
                let last = cols - (cols.div_ceil(width) - 1) * width;
                // The `gemm` crate sums blocks of up to 64 x 64 in other parts.
                assert!(width == cols || last > 64, "{rows}x{cols}: {height}x{width}, last {last}");
                assert!(rows.div_ceil(height) * cols.div_ceil(width) <= TASKS, "{rows}x{cols}");
            }
        }
    }
}
