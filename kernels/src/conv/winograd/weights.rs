//! Weights at the points of Winograd's filtering: packed for the products, and their gradients taken back to taps. Many lanes
//! are transformed at once: those of a panel of output channels, or of a block of input channels.

use super::{POINTS, Winograd};
use crate::conv::Filter;
use crate::simd::Scalar;

/// Calls a function with the number of lanes as a constant. A panel has one or two of the CPU's vectors.
macro_rules! with_lanes {
    ($lanes:expr, $function:ident($($arg:expr),*)) => {
        match $lanes {
            1 => $function::<T, 1>($($arg),*),
            2 => $function::<T, 2>($($arg),*),
            4 => $function::<T, 4>($($arg),*),
            8 => $function::<T, 8>($($arg),*),
            16 => $function::<T, 16>($($arg),*),
            32 => $function::<T, 32>($($arg),*),
            lanes => unreachable!("no CPU has panels of {lanes} channels"),
        }
    };
}
pub(super) use with_lanes;

/// Computes G g: three taps to four points.
#[inline(always)]
fn expand<T: Scalar, const L: usize>([a, b, c]: [&[T; L]; 3]) -> [[T; L]; 4] {
    let half = T::narrow(0.5);
    [*a, std::array::from_fn(|i| (a[i] + b[i] + c[i]) * half), std::array::from_fn(|i| (a[i] - b[i] + c[i]) * half), *c]
}

/// Computes G' s: four points to three taps. The last point has the opposite sign (see [`super::transform`]).
#[inline(always)]
fn gather<T: Scalar, const L: usize>([a, b, c, d]: [&[T; L]; 4]) -> [[T; L]; 3] {
    let half = T::narrow(0.5);
    [
        std::array::from_fn(|i| a[i] + (b[i] + c[i]) * half),
        std::array::from_fn(|i| (b[i] - c[i]) * half),
        std::array::from_fn(|i| (b[i] + c[i]) * half - d[i]),
    ]
}

/// Packs the panel of U that begins with output channel `first`, [POINTS, c_in, panel].
pub(super) fn pack_panel<T: Scalar, const L: usize>(
    winograd: &Winograd,
    filter: &Filter<'_, T>,
    first: usize,
    packed: &mut [T],
) {
    let (c_in, c_out) = (winograd.frame.channels, winograd.frame.out_channels);
    let tap = |t: usize| if filter.transposed { 2 - t } else { t };
    let mut taps = [[[T::zero(); L]; 3]; 3];
    for ci in 0..c_in {
        for (lane, co) in (first..c_out).take(L).enumerate() {
            for (y, taps) in taps.iter_mut().enumerate() {
                for (x, taps) in taps.iter_mut().enumerate() {
                    taps[lane] = filter.at(co, ci, tap(y), tap(x));
                }
            }
        }
        let columns: [[[T; L]; 4]; 3] = std::array::from_fn(|x| expand([&taps[0][x], &taps[1][x], &taps[2][x]]));
        for y in 0..4 {
            let row = expand([&columns[0][y], &columns[1][y], &columns[2][y]]);
            for (x, point) in row.iter().enumerate() {
                packed[(4 * y + x) * c_in * L + ci * L..][..L].copy_from_slice(point);
            }
        }
    }
}

/// Writes the weight gradients [lanes, 9] of L lanes, each `step` values after the one before, from their points, which begin
/// `point` values apart in `sums`. Lanes past the end of `dw` are left out.
#[inline(always)]
pub(super) fn put_taps<T: Scalar, const L: usize>(sums: &[T], point: usize, dw: &mut [T], step: usize) {
    let at = |i: usize| sums[i * point..].first_chunk::<L>().expect("whole lanes");
    let columns: [[[T; L]; 3]; 4] = std::array::from_fn(|x| gather([at(x), at(4 + x), at(8 + x), at(12 + x)]));
    let rows: [[[T; L]; 3]; 3] =
        std::array::from_fn(|y| gather([&columns[0][y], &columns[1][y], &columns[2][y], &columns[3][y]]));
    for (lane, dw) in dw.chunks_mut(step).enumerate().take(L) {
        for (dw, tap) in dw[..9].iter_mut().zip(rows.iter().flatten()) {
            *dw = tap[lane];
        }
    }
}

/// Writes the weight gradients [panel, c_in, 3, 3] of a panel from its sums [POINTS, c_in in whole blocks, panel].
pub(super) fn put_panel<T: Scalar, const L: usize>(sums: &[T], c_in: usize, dw: &mut [T]) {
    for ci in 0..c_in {
        put_taps::<T, L>(&sums[ci * L..], sums.len() / POINTS, &mut dw[9 * ci..], 9 * c_in);
    }
}
