//! Matrix products at the points of Winograd's filtering, over channels and over tiles.

use pulp::Simd;

use super::{BLOCK, TILES};
use crate::simd::{Scalar, load, load_row, load_tile, store, store_tile};

/// Calls a kernel with the register tile as const generics: V vectors of output channels by P tiles
/// (or input channels).
macro_rules! with_constants {
    ($self:ident, $kernel:ident($($arg:expr),*)) => {
        match (many_registers::<S>(), $self.vectors) {
            (true, 2) => $kernel::<S, T, 2, 8>($($arg),*),
            (true, _) => $kernel::<S, T, 1, 16>($($arg),*),
            (false, 2) => $kernel::<S, T, 2, 4>($($arg),*),
            (false, _) => $kernel::<S, T, 1, 8>($($arg),*),
        }
    };
}
pub(super) use with_constants;

/// Computes M [tiles, panel] = V [blocks, TILES, BLOCK] U [c_in, panel] at one point, rounded up to
/// whole register tiles.
#[inline(always)]
pub(super) fn multiply<S: Simd, T: Scalar, const V: usize, const P: usize>(
    simd: S,
    tiles: usize,
    v: &[T],
    u: &[T],
    m: &mut [T],
) {
    let panel = V * T::lanes::<S>();
    for t in (0..tiles).step_by(P) {
        let mut sums = [[T::splat(simd, T::zero()); V]; P];
        for (block, u) in u.chunks(BLOCK * panel).enumerate() {
            let x = &v[(block * TILES + t) * BLOCK..][..P * BLOCK];
            for (k, u) in u.chunks_exact(panel).enumerate() {
                let u = load_row::<S, T, V>(simd, u);
                for (p, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: k < BLOCK, since a chunk of u holds at most BLOCK rows, and p < P.
                    let x = T::splat(simd, unsafe { *x.get_unchecked(p * BLOCK + k) });
                    for i in 0..V {
                        sums[i] = T::mul_add(simd, x, u[i], sums[i]);
                    }
                }
            }
        }
        store_tile(&sums, &mut m[t * panel..]);
    }
}

/// Adds the product V' M of V [blocks, TILES, BLOCK] and M [tiles, panel] to S [c_in in whole
/// blocks, panel] at one point, c_in rounded up to whole register tiles.
#[inline(always)]
pub(super) fn accumulate<S: Simd, T: Scalar, const V: usize, const P: usize>(
    simd: S,
    (tiles, c_in): (usize, usize),
    v: &[T],
    m: &[T],
    s: &mut [T],
) {
    let panel = V * T::lanes::<S>();
    for (group, s) in s.chunks_exact_mut(P * panel).take(c_in.div_ceil(P)).enumerate() {
        let (block, first) = (group * P / BLOCK, group * P % BLOCK);
        let x = &v[block * TILES * BLOCK + first..][..(tiles - 1) * BLOCK + P];
        let mut sums = load_tile::<S, T, V, P>(simd, s);
        for (t, m) in m.chunks_exact(panel).take(tiles).enumerate() {
            let m = load_row::<S, T, V>(simd, m);
            for (p, sums) in sums.iter_mut().enumerate() {
                // SAFETY: t < tiles and p < P, so the index is below the length of `x`.
                let x = T::splat(simd, unsafe { *x.get_unchecked(t * BLOCK + p) });
                for i in 0..V {
                    sums[i] = T::mul_add(simd, x, m[i], sums[i]);
                }
            }
        }
        store_tile(&sums, s);
    }
}

/// Rows that [`accumulate_rows`] sums together.
pub(super) const ROWS: usize = 8;

/// Adds to S [rows, BLOCK], at one point, the products of one block of V [TILES, BLOCK] with the
/// rows of M' [panels, TILES, panel] given by `rows` (whole groups of [`ROWS`]). This is
/// [`accumulate`] transposed, so that single output channels can be left out.
#[inline(always)]
pub(super) fn accumulate_rows<S: Simd, T: Scalar>(
    simd: S,
    tiles: usize,
    v: &[T],
    (m, panel): (&[T], usize),
    rows: &[usize],
    s: &mut [T],
) {
    let lanes = T::lanes::<S>();
    let reach = (tiles - 1) * panel + 1;
    for (rows, s) in rows.chunks_exact(ROWS).zip(s.chunks_exact_mut(ROWS * BLOCK)) {
        // One pointer per row, so that all rows share one offset.
        let mut m_rows = [&m[..0]; ROWS];
        for (row, place) in m_rows.iter_mut().zip(rows) {
            *row = &m[*place..][..reach];
        }
        for lane in (0..BLOCK).step_by(lanes) {
            let mut sums = [T::splat(simd, T::zero()); ROWS];
            for (p, sum) in sums.iter_mut().enumerate() {
                *sum = load::<S, T>(&s[p * BLOCK + lane..]);
            }
            let mut at = 0;
            for v in v.chunks_exact(BLOCK).take(tiles) {
                let v = load::<S, T>(&v[lane..]);
                for (sum, row) in sums.iter_mut().zip(m_rows) {
                    // SAFETY: `at` is a multiple of `panel` for one of `tiles` tiles, so it is below `reach`.
                    let d = T::splat(simd, unsafe { *row.get_unchecked(at) });
                    *sum = T::mul_add(simd, d, v, *sum);
                }
                at += panel;
            }
            for (p, sum) in sums.iter().enumerate() {
                store::<S, T>(*sum, &mut s[p * BLOCK + lane..]);
            }
        }
    }
}
