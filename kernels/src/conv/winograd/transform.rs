//! Transforms of the images in Winograd's filtering. The matrices are those of F(2x2, 3x3), applied to columns
//! and rows.

use std::ops::Range;

use pulp::Simd;

use super::{BLOCK, TILES, Winograd};
use crate::conv::put;
use crate::simd::{Scalar, load, store};

/// Tiles of `range` as runs within one row of tiles: (image, row of tiles, first column, index in
/// the range, length).
fn runs(
    range: Range<usize>,
    (down, across): (usize, usize),
) -> impl Iterator<Item = (usize, usize, usize, usize, usize)> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        if at == range.end {
            return None;
        }
        let (image, within) = (at / (down * across), at % (down * across));
        let (ty, tx) = (within / across, within % across);
        let (place, length) = (at - range.start, (across - tx).min(range.end - at));
        at += length;
        Some((image, ty, tx, place, length))
    })
}

/// Computes B' d: four pixels to four points.
#[inline(always)]
fn scatter<S: Simd, T: Scalar>(simd: S, d: [T::Vector<S>; 4]) -> [T::Vector<S>; 4] {
    [T::minus(simd, d[0], d[2]), T::plus(simd, d[1], d[2]), T::minus(simd, d[2], d[1]), T::minus(simd, d[1], d[3])]
}

/// Computes A' m: four points to two pixels.
#[inline(always)]
fn condense<S: Simd, T: Scalar>(simd: S, m: [T::Vector<S>; 4]) -> [T::Vector<S>; 2] {
    [T::plus(simd, T::plus(simd, m[0], m[1]), m[2]), T::minus(simd, T::minus(simd, m[1], m[2]), m[3])]
}

/// Computes A y, two pixels to four points, with the sign of the last flipped.
#[inline(always)]
fn spread<S: Simd, T: Scalar>(simd: S, [a, b]: [T::Vector<S>; 2]) -> [T::Vector<S>; 4] {
    [a, T::plus(simd, a, b), T::minus(simd, a, b), b]
}

/// Loads four vectors, `step` values apart.
#[inline(always)]
fn load4<S: Simd, T: Scalar>(values: &[T], step: usize) -> [T::Vector<S>; 4] {
    [
        load::<S, T>(values),
        load::<S, T>(&values[step..]),
        load::<S, T>(&values[2 * step..]),
        load::<S, T>(&values[3 * step..]),
    ]
}

/// Stores one row of four points of a tile, `step` values apart.
#[inline(always)]
fn store4<S: Simd, T: Scalar>(row: [T::Vector<S>; 4], values: &mut [T], step: usize) {
    store::<S, T>(row[0], values);
    store::<S, T>(row[1], &mut values[step..]);
    store::<S, T>(row[2], &mut values[2 * step..]);
    store::<S, T>(row[3], &mut values[3 * step..]);
}

// No closures here: code in a closure may be compiled without the CPU's vector instructions.
impl Winograd {
    /// Computes V [POINTS, blocks, TILES, BLOCK] of some tiles of the images in `scratch`, of some channels, rounded up to
    /// whole vectors.
    #[inline(always)]
    pub(super) fn transform_input<S: Simd, T: Scalar>(
        &self,
        simd: S,
        scratch: &[T],
        tiles: Range<usize>,
        channels: Range<usize>,
        v: &mut [T],
    ) {
        let (stride, lanes, point) = (self.blocks() * BLOCK, T::lanes::<S>(), self.v_point());
        let (rows, columns) = self.padded();
        for (image, ty, tx, place, length) in runs(tiles, self.tiles) {
            for channel in channels.clone().step_by(lanes) {
                let (block, lane) = (channel / BLOCK, channel % BLOCK);
                let from = &scratch[((image * rows + 2 * ty) * columns + 2 * tx) * stride + channel..];
                let to = &mut v[(block * TILES + place) * BLOCK + lane..];
                // Columns of four rows, already transformed vertically. A tile's last two columns
                // are the next tile's first.
                let mut c0 = scatter::<S, T>(simd, load4::<S, T>(from, columns * stride));
                let mut c1 = scatter::<S, T>(simd, load4::<S, T>(&from[stride..], columns * stride));
                for i in 0..length {
                    let next = &from[(2 * i + 2) * stride..];
                    let c2 = scatter::<S, T>(simd, load4::<S, T>(next, columns * stride));
                    let c3 = scatter::<S, T>(simd, load4::<S, T>(&next[stride..], columns * stride));
                    for y in 0..4 {
                        let row = scatter::<S, T>(simd, [c0[y], c1[y], c2[y], c3[y]]);
                        store4::<S, T>(row, &mut to[4 * y * point + i * BLOCK..], point);
                    }
                    (c0, c1) = (c2, c3);
                }
            }
        }
    }

    /// Computes the pixels of some tiles from M [POINTS, panels, TILES, panel].
    #[inline(always)]
    pub(super) fn transform_output<S: Simd, T: Scalar>(
        &self,
        simd: S,
        m: &[T],
        tiles: Range<usize>,
        add: Option<&[T]>,
        out: &mut [T],
    ) {
        let (c_out, lanes, point) = (self.frame.out_channels, T::lanes::<S>(), self.m_point());
        let (height, width) = self.frame.out;
        for (image, ty, tx, place, length) in runs(tiles, self.tiles) {
            for first in (0..c_out).step_by(lanes) {
                let valid = lanes.min(c_out - first);
                let (panel, lane) = (first / self.panel, first % self.panel);
                for i in 0..length {
                    let m = &m[(panel * TILES + place + i) * self.panel + lane..];
                    let c0 = condense::<S, T>(simd, load4::<S, T>(m, 4 * point));
                    let c1 = condense::<S, T>(simd, load4::<S, T>(&m[point..], 4 * point));
                    let c2 = condense::<S, T>(simd, load4::<S, T>(&m[2 * point..], 4 * point));
                    let c3 = condense::<S, T>(simd, load4::<S, T>(&m[3 * point..], 4 * point));
                    let top = condense::<S, T>(simd, [c0[0], c1[0], c2[0], c3[0]]);
                    let bottom = condense::<S, T>(simd, [c0[1], c1[1], c2[1], c3[1]]);
                    // A tile may extend past the edge of an image with an odd side.
                    let (y, x) = (2 * ty, 2 * (tx + i));
                    let pixel = ((image * height + y) * width + x) * c_out + first;
                    let (right, below) = (x + 1 < width, y + 1 < height);
                    put(simd, top[0], add, out, pixel..pixel + valid);
                    if right {
                        put(simd, top[1], add, out, pixel + c_out..pixel + c_out + valid);
                    }
                    let pixel = pixel + width * c_out;
                    if below {
                        put(simd, bottom[0], add, out, pixel..pixel + valid);
                    }
                    if right && below {
                        put(simd, bottom[1], add, out, pixel + c_out..pixel + c_out + valid);
                    }
                }
            }
        }
    }

    /// Computes A dy A' [POINTS, panels, TILES, panel] of some tiles of the padded output gradients
    /// in `scratch`, whose channels are in whole blocks, and of some channels.
    #[inline(always)]
    pub(super) fn transform_grad<S: Simd, T: Scalar>(
        &self,
        simd: S,
        scratch: &[T],
        tiles: Range<usize>,
        channels: Range<usize>,
        m: &mut [T],
    ) {
        let (lanes, point) = (T::lanes::<S>(), self.m_point());
        let stride = self.frame.out_channels.next_multiple_of(BLOCK);
        let (rows, columns) = self.padded();
        for (image, ty, tx, place, length) in runs(tiles, self.tiles) {
            for first in channels.clone().step_by(lanes) {
                let (panel, lane) = (first / self.panel, first % self.panel);
                let from = &scratch[((image * rows + 2 * ty + 1) * columns + 2 * tx + 1) * stride + first..];
                let to = &mut m[(panel * TILES + place) * self.panel + lane..];
                for i in 0..length {
                    let from = &from[2 * i * stride..];
                    let below = &from[columns * stride..];
                    let left = spread::<S, T>(simd, [load::<S, T>(from), load::<S, T>(below)]);
                    let right = spread::<S, T>(simd, [load::<S, T>(&from[stride..]), load::<S, T>(&below[stride..])]);
                    let to = &mut to[i * self.panel..];
                    for y in 0..4 {
                        let row = spread::<S, T>(simd, [left[y], right[y]]);
                        store4::<S, T>(row, &mut to[4 * y * point..], point);
                    }
                }
            }
        }
    }
}
