//! Winograd's minimal filtering F(2x2, 3x3) for 3x3 kernels of stride 1 (Lavin and Gray 2016, section 4.1): 16
//! multiplications by channel pair in place of 36 for each 2x2 tile of the output, forward and in both gradients.
//!
//! A tile of the input, 4x4 pixels that overlap their neighbours by 2, is transformed to 16 points, V = B' d B; the weight
//! to U = G g G'. At each point the channels are multiplied as matrices, M = V U, and a tile of the output is A' M A.
//! The weight's gradient is G' (sum over tiles of V' (A dy A')) G. The transforms add, subtract and halve: in f32 the
//! result is about as exact as the direct sum.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{Algorithm, Filter, Frame, Task};
use crate::nn::cpu::executed::count_flops;
use crate::nn::cpu::scratch::with_scratch;
use crate::nn::cpu::simd::{Scalar, load, load_row, load_some, load_tile, store, store_some, store_tile};
use crate::nn::cpu::source::Source;

/// Points of a transformed tile.
const POINTS: usize = 16;
/// Channels of a block: a tile's channels of one block lie side by side.
const BLOCK: usize = 16;
/// Tiles of the output multiplied together; a multiple of every register tile.
const TILES: usize = 64;

/// A stride-1 correlation with a 3x3 kernel.
pub(super) struct Winograd {
    frame: Frame,
    /// Tiles of the output down and across.
    tiles: (usize, usize),
    /// Output channels of a register tile.
    panel: usize,
    /// Vectors of a panel, 1 or 2.
    vectors: usize,
}

/// Asks the CPU for the width of a panel.
struct PanelOf<T> {
    channels: usize,
    scalar: std::marker::PhantomData<T>,
}

impl<T: Scalar> WithSimd for PanelOf<T> {
    type Output = (usize, usize);

    fn with_simd<S: Simd>(self, _: S) -> (usize, usize) {
        let lanes = T::lanes::<S>();
        let vectors = if self.channels.div_ceil(lanes).is_multiple_of(2) { 2 } else { 1 };
        (lanes * vectors, vectors)
    }
}

impl Winograd {
    pub(super) fn new<T: Scalar>(frame: Frame) -> Self {
        let scalar = std::marker::PhantomData::<T>;
        let (panel, vectors) = Arch::new().dispatch(PanelOf { channels: frame.out_channels, scalar });
        Self { frame, tiles: (frame.out.0.div_ceil(2), frame.out.1.div_ceil(2)), panel, vectors }
    }

    fn image_tiles(&self) -> usize {
        self.tiles.0 * self.tiles.1
    }

    /// Counts the multiplications of one product of the batch and the additions of its two transforms of images.
    fn count(&self, batch: usize, additions: usize) {
        let (c_in, c_out) = (self.frame.channels, self.frame.out_channels);
        count_flops(batch * self.image_tiles() * (2 * POINTS * c_in * c_out + additions));
    }

    /// FLOPs of a correlation: 32 additions by input channel and 24 by output channel for each tile.
    pub(super) fn count_correlation(&self, batch: usize) {
        self.count(batch, 32 * self.frame.channels + 24 * self.frame.out_channels);
    }

    fn blocks(&self) -> usize {
        self.frame.channels.div_ceil(BLOCK)
    }

    fn panels(&self) -> usize {
        self.frame.out_channels.div_ceil(self.panel)
    }

    /// Rows and columns of the scratch of one image.
    fn padded(&self) -> (usize, usize) {
        (2 * self.tiles.0 + 2, 2 * self.tiles.1 + 2)
    }

    fn scratch_image(&self) -> usize {
        self.padded().0 * self.padded().1 * self.blocks() * BLOCK
    }

    /// Values of one point of V [blocks, tiles, BLOCK]. One line more than needed: points a power of two apart would
    /// share few sets of the cache.
    fn v_point(&self) -> usize {
        self.blocks() * TILES * BLOCK + BLOCK
    }

    /// Values of one point of M [panels, tiles, panel].
    fn m_point(&self) -> usize {
        self.panels() * TILES * self.panel + BLOCK
    }

    /// Values of one point of U [c_in, panel].
    fn u_point(&self) -> usize {
        self.frame.channels * self.panel
    }
}

/// Calls a kernel with the register tile as constants: V vectors of output channels by P tiles (or input channels).
macro_rules! with_constants {
    ($self:ident, $kernel:ident($($arg:expr),*)) => {
        match (S::REGISTER_COUNT > 16, $self.vectors) {
            (true, 2) => $kernel::<S, T, 2, 8>($($arg),*),
            (true, _) => $kernel::<S, T, 1, 16>($($arg),*),
            (false, 2) => $kernel::<S, T, 2, 4>($($arg),*),
            (false, _) => $kernel::<S, T, 1, 8>($($arg),*),
        }
    };
}

impl<T: Scalar> Algorithm<T> for Winograd {
    fn group(&self) -> usize {
        TILES.div_ceil(self.image_tiles())
    }

    /// U, as [panels, POINTS, c_in, panel].
    fn pack(&self, filter: Filter<'_, T>) -> Vec<T> {
        let (c_in, c_out) = (self.frame.channels, self.frame.out_channels);
        let tap = |t: usize| if filter.transposed { 2 - t } else { t };
        let mut packed = vec![T::zero(); self.panels() * POINTS * self.u_point()];
        packed.par_chunks_mut(POINTS * self.u_point()).enumerate().for_each(|(p, packed)| {
            for ci in 0..c_in {
                for (lane, co) in (p * self.panel..c_out).take(self.panel).enumerate() {
                    let g: [[T; 3]; 3] = std::array::from_fn(|y| std::array::from_fn(|x| filter.at(co, ci, tap(y), tap(x))));
                    let columns: [[T; 4]; 3] = std::array::from_fn(|x| expand([g[0][x], g[1][x], g[2][x]]));
                    for y in 0..4 {
                        let row = expand([columns[0][y], columns[1][y], columns[2][y]]);
                        for x in 0..4 {
                            packed[(4 * y + x) * self.u_point() + ci * self.panel + lane] = row[x];
                        }
                    }
                }
            }
        });
        packed
    }

    fn scratch(&self, images: usize) -> usize {
        images * self.scratch_image() + POINTS * (self.v_point() + self.m_point())
    }

    #[inline(always)]
    fn correlate<S: Simd>(&self, simd: S, task: Task<'_, Self, T>) {
        let Task { x, first, weight, add, scratch, out, .. } = task;
        let images = out.len() / self.frame.out_image();
        let (padded, rest) = scratch.split_at_mut(images * self.scratch_image());
        let (v, m) = rest.split_at_mut(POINTS * self.v_point());
        let place = self.input_place();
        for (i, padded) in padded.chunks_exact_mut(self.scratch_image()).enumerate() {
            place.fill(simd, x, first + i, padded);
        }
        let total = images * self.image_tiles();
        for start in (0..total).step_by(TILES) {
            let tiles = start..(start + TILES).min(total);
            self.transform_input(simd, padded, tiles.clone(), v);
            for (panel, weight) in weight.chunks_exact(POINTS * self.u_point()).enumerate() {
                for point in 0..POINTS {
                    let v = &v[point * self.v_point()..][..self.v_point()];
                    let m = &mut m[point * self.m_point() + panel * TILES * self.panel..][..TILES * self.panel];
                    let weight = &weight[point * self.u_point()..][..self.u_point()];
                    with_constants!(self, multiply(simd, tiles.len(), v, weight, m));
                }
            }
            self.transform_output(simd, m, tiles, add, out);
        }
    }
}

/// G g: three taps to four points.
fn expand<T: Scalar>([a, b, c]: [T; 3]) -> [T; 4] {
    let half = T::from_f64(0.5);
    [a, (a + b + c) * half, (a - b + c) * half, c]
}

/// G' s: four points to three taps. The last point has the other sign (see [`spread`]).
fn gather<T: Scalar>([a, b, c, d]: [T; 4]) -> [T; 3] {
    let half = T::from_f64(0.5);
    [a + (b + c) * half, (b - c) * half, (b + c) * half - d]
}

/// Where an image lies in its zero-padded scratch [rows, columns, channels in whole blocks].
struct Placement {
    size: (usize, usize),
    channels: usize,
    offset: isize,
    padded: (usize, usize),
}

impl Placement {
    /// Copies image `index` of `x` to the scratch, zeros around it.
    #[inline(always)]
    fn fill<S: Simd, T: Scalar>(&self, simd: S, x: &Source<'_, T>, index: usize, scratch: &mut [T]) {
        let (stride, (height, width)) = (self.channels.next_multiple_of(BLOCK), self.size);
        if stride != self.channels {
            scratch.fill(T::zero());
        }
        // Columns of the scratch that the image covers, and the image's first column there.
        let left = usize::try_from(self.offset).unwrap_or(0).min(self.padded.1);
        let skipped = usize::try_from(-self.offset).unwrap_or(0).min(width);
        let covered = (width - skipped).min(self.padded.1 - left);
        for (row, scratch) in scratch.chunks_exact_mut(self.padded.1 * stride).enumerate() {
            let y = row as isize - self.offset;
            let Some(y) = usize::try_from(y).ok().filter(|y| *y < height) else {
                scratch.fill(T::zero());
                continue;
            };
            let (before, rest) = scratch.split_at_mut(left * stride);
            let (inside, after) = rest.split_at_mut(covered * stride);
            before.fill(T::zero());
            after.fill(T::zero());
            let first = ((index * height + y) * width + skipped) * self.channels;
            x.read(simd, (first, covered, self.channels), inside, stride);
        }
    }
}

/// The tiles of `range` as runs within one row of tiles: (image, row of tiles, first column, place in the range, length).
fn runs(
    range: std::ops::Range<usize>,
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

/// B' d: four pixels to four points.
#[inline(always)]
fn scatter<S: Simd, T: Scalar>(simd: S, d: [T::Vector<S>; 4]) -> [T::Vector<S>; 4] {
    [
        T::minus(simd, d[0], d[2]),
        T::plus(simd, d[1], d[2]),
        T::minus(simd, d[2], d[1]),
        T::minus(simd, d[1], d[3]),
    ]
}

/// A' m: four points to two pixels.
#[inline(always)]
fn condense<S: Simd, T: Scalar>(simd: S, m: [T::Vector<S>; 4]) -> [T::Vector<S>; 2] {
    [
        T::plus(simd, T::plus(simd, m[0], m[1]), m[2]),
        T::minus(simd, T::minus(simd, m[1], m[2]), m[3]),
    ]
}

/// A y: two pixels to four points, but for the sign of the last.
#[inline(always)]
fn spread<S: Simd, T: Scalar>(simd: S, [a, b]: [T::Vector<S>; 2]) -> [T::Vector<S>; 4] {
    [a, T::plus(simd, a, b), T::minus(simd, a, b), b]
}

/// Four vectors, `step` values apart.
#[inline(always)]
fn load4<S: Simd, T: Scalar>(values: &[T], step: usize) -> [T::Vector<S>; 4] {
    [
        load::<S, T>(values),
        load::<S, T>(&values[step..]),
        load::<S, T>(&values[2 * step..]),
        load::<S, T>(&values[3 * step..]),
    ]
}

/// Stores four points of a tile, one row of them, `step` values apart.
#[inline(always)]
fn store4<S: Simd, T: Scalar>(row: [T::Vector<S>; 4], values: &mut [T], step: usize) {
    store::<S, T>(row[0], values);
    store::<S, T>(row[1], &mut values[step..]);
    store::<S, T>(row[2], &mut values[2 * step..]);
    store::<S, T>(row[3], &mut values[3 * step..]);
}

// No closures in these: code in a closure may end up compiled for less than the CPU's vectors.
impl Winograd {
    /// V [POINTS, blocks, TILES, BLOCK] of some tiles of the images in `scratch`.
    #[inline(always)]
    fn transform_input<S: Simd, T: Scalar>(
        &self,
        simd: S,
        scratch: &[T],
        tiles: std::ops::Range<usize>,
        v: &mut [T],
    ) {
        let (stride, lanes, point) = (self.blocks() * BLOCK, T::lanes::<S>(), self.v_point());
        let (rows, columns) = self.padded();
        for (image, ty, tx, place, length) in runs(tiles, self.tiles) {
            for channel in (0..stride).step_by(lanes) {
                let (block, lane) = (channel / BLOCK, channel % BLOCK);
                let from = &scratch[((image * rows + 2 * ty) * columns + 2 * tx) * stride + channel..];
                let to = &mut v[(block * TILES + place) * BLOCK + lane..];
                // Columns of four rows, transformed down; a tile's last two are the next tile's first.
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

    /// The pixels of some tiles from M [POINTS, panels, TILES, panel].
    #[inline(always)]
    fn transform_output<S: Simd, T: Scalar>(
        &self,
        simd: S,
        m: &[T],
        tiles: std::ops::Range<usize>,
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
                    for y in 0..2.min(height - 2 * ty) {
                        let pixels = condense::<S, T>(simd, [c0[y], c1[y], c2[y], c3[y]]);
                        for x in 0..2.min(width - 2 * (tx + i)) {
                            let pixel = (image * height + 2 * ty + y) * width + 2 * (tx + i) + x;
                            let to = pixel * c_out + first..pixel * c_out + first + valid;
                            let value = match add {
                                Some(add) => T::plus(simd, pixels[x], load_some(simd, &add[to.clone()])),
                                None => pixels[x],
                            };
                            store_some(simd, value, &mut out[to]);
                        }
                    }
                }
            }
        }
    }

    /// A dy A' [POINTS, panels, TILES, panel] of some tiles of the output gradients in `scratch`.
    #[inline(always)]
    fn transform_output_grad<S: Simd, T: Scalar>(
        &self,
        simd: S,
        scratch: &[T],
        tiles: std::ops::Range<usize>,
        m: &mut [T],
    ) {
        let (lanes, point) = (T::lanes::<S>(), self.m_point());
        let stride = self.frame.out_channels.next_multiple_of(BLOCK);
        let (rows, columns) = (2 * self.tiles.0, 2 * self.tiles.1);
        for (image, ty, tx, place, length) in runs(tiles, self.tiles) {
            for first in (0..self.frame.out_channels).step_by(lanes) {
                let (panel, lane) = (first / self.panel, first % self.panel);
                for i in 0..length {
                    let from = &scratch[((image * rows + 2 * ty) * columns + 2 * (tx + i)) * stride + first..];
                    let below = &from[columns * stride..];
                    let left = spread::<S, T>(simd, [load::<S, T>(from), load::<S, T>(below)]);
                    let right = spread::<S, T>(simd, [load::<S, T>(&from[stride..]), load::<S, T>(&below[stride..])]);
                    let to = &mut m[(panel * TILES + place + i) * self.panel + lane..];
                    for y in 0..4 {
                        let row = spread::<S, T>(simd, [left[y], right[y]]);
                        store4::<S, T>(row, &mut to[4 * y * point..], point);
                    }
                }
            }
        }
    }
}

/// At one point, M [tiles, panel] = V [blocks, TILES, BLOCK] U [c_in, panel]; up to whole register tiles.
#[inline(always)]
fn multiply<S: Simd, T: Scalar, const V: usize, const P: usize>(simd: S, tiles: usize, v: &[T], u: &[T], m: &mut [T]) {
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

/// At one point, adds to S [c_in in whole blocks, panel] the product V' M of V [blocks, TILES, BLOCK] and M [tiles, panel].
#[inline(always)]
fn accumulate<S: Simd, T: Scalar, const V: usize, const P: usize>(simd: S, tiles: usize, v: &[T], m: &[T], s: &mut [T]) {
    let panel = V * T::lanes::<S>();
    for (group, s) in s.chunks_exact_mut(P * panel).enumerate() {
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

/// The transformed weight gradient of some images, S [panels, POINTS, c_in in whole blocks, panel].
struct Partial<'a, T> {
    winograd: &'a Winograd,
    x: &'a Source<'a, T>,
    dy: &'a Source<'a, T>,
    images: std::ops::Range<usize>,
    scratch: &'a mut [T],
    sums: &'a mut [T],
}

impl<T: Scalar> WithSimd for Partial<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { winograd: this, x, dy, images, scratch, sums } = self;
        let group = Algorithm::<T>::group(this).min(images.len());
        let (x_padded, rest) = scratch.split_at_mut(group * this.scratch_image());
        let (dy_padded, rest) = rest.split_at_mut(group * this.scratch_grad());
        let (v, m) = rest.split_at_mut(POINTS * this.v_point());
        let (x_place, dy_place) = (this.input_place(), this.grad_place());
        for first in images.clone().step_by(group) {
            let count = group.min(images.end - first);
            let pairs = x_padded.chunks_exact_mut(this.scratch_image()).zip(dy_padded.chunks_exact_mut(this.scratch_grad()));
            for (i, (x_padded, dy_padded)) in pairs.take(count).enumerate() {
                x_place.fill(simd, x, first + i, x_padded);
                dy_place.fill(simd, dy, first + i, dy_padded);
            }
            let total = count * this.image_tiles();
            for start in (0..total).step_by(TILES) {
                let tiles = start..(start + TILES).min(total);
                this.transform_input(simd, x_padded, tiles.clone(), v);
                this.transform_output_grad(simd, dy_padded, tiles.clone(), m);
                for (row, s) in sums.chunks_exact_mut(this.s_point()).enumerate() {
                    let (panel, point) = (row / POINTS, row % POINTS);
                    let v = &v[point * this.v_point()..][..this.v_point()];
                    let m = &m[point * this.m_point() + panel * TILES * this.panel..][..TILES * this.panel];
                    with_constants!(this, accumulate(simd, tiles.len(), v, m, s));
                }
            }
        }
    }
}

impl Winograd {
    fn input_place(&self) -> Placement {
        let Frame { size, channels, offset, .. } = self.frame;
        Placement { size, channels, offset, padded: self.padded() }
    }

    /// Where the gradient of an output image lies: in whole tiles.
    fn grad_place(&self) -> Placement {
        let Frame { out, out_channels, .. } = self.frame;
        Placement { size: out, channels: out_channels, offset: 0, padded: (2 * self.tiles.0, 2 * self.tiles.1) }
    }

    fn scratch_grad(&self) -> usize {
        4 * self.image_tiles() * self.frame.out_channels.next_multiple_of(BLOCK)
    }

    /// Values of one point and panel of S.
    fn s_point(&self) -> usize {
        self.blocks() * BLOCK * self.panel
    }

    /// Images whose weight gradients one task sums. It depends on shapes alone, so the order of sums never depends on
    /// threads; the sums of all tasks together stay small.
    fn images_per_partial(&self) -> usize {
        if self.panels() * POINTS * self.s_point() <= 1 << 18 { 8 } else { 32 }
    }
}

/// The gradient of the weight, [c_out, c_in, 3, 3].
pub(super) fn weight_grad<T: Scalar>(
    winograd: &Winograd,
    batch: usize,
    x: &Source<'_, T>,
    dy: &Source<'_, T>,
    dw: &mut [T],
) {
    // 32 additions by input channel and 12 by output channel for each tile.
    winograd.count(batch, 32 * winograd.frame.channels + 12 * winograd.frame.out_channels);
    let (c_in, images) = (winograd.frame.channels, winograd.images_per_partial());
    let size = winograd.panels() * POINTS * winograd.s_point();
    let group = Algorithm::<T>::group(winograd);
    let scratch = Algorithm::<T>::scratch(winograd, group) + group * winograd.scratch_grad();
    let mut partials = vec![T::zero(); batch.div_ceil(images) * size];
    partials.par_chunks_mut(size).enumerate().for_each(|(i, sums)| {
        let images = i * images..((i + 1) * images).min(batch);
        with_scratch(scratch, |scratch| Arch::new().dispatch(Partial { winograd, x, dy, images, scratch, sums }));
    });
    let (s_point, panel) = (winograd.s_point(), winograd.panel);
    dw.par_chunks_mut(c_in * 9).enumerate().for_each(|(co, dw)| {
        for (ci, dw) in dw.chunks_exact_mut(9).enumerate() {
            let at = |point: usize| {
                let place = (co / panel * POINTS + point) * s_point + ci * panel + co % panel;
                partials.iter().skip(place).step_by(size).fold(T::zero(), |sum, p| sum + *p)
            };
            let columns: [[T; 3]; 4] =
                std::array::from_fn(|x| gather(std::array::from_fn(|y| at(4 * y + x))));
            for y in 0..3 {
                let row = gather(columns.map(|c| c[y]));
                dw[3 * y..3 * y + 3].copy_from_slice(&row);
            }
        }
    });
}
