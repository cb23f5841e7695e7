//! 2-D convolution on channels-last images, by direct register-tiled kernels (docs/kernels.md).
//!
//! Images are [batch, h, w, c]. Each image is copied once into a zero-padded scratch in which channels come in
//! blocks of at most [`BLOCK`], so that the taps (kx, channel) of one kernel row are contiguous and neighbouring
//! pixels are a constant apart. A tile of P output pixels by V vectors of output channels then stays in registers
//! while all taps pass by. The input gradient is the same convolution of the (dilated) output gradient with the
//! flipped, transposed weight; the weight gradient keeps a tile of M taps by V vectors while all pixels pass by.
//!
//! Sums run over (channel block, ky, kx, channel) and over (image, y, x): the order depends on shapes alone.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::executed::count;
use super::simd::{Scalar, load, store};

/// Channels of a scratch block, at most.
const BLOCK: usize = 16;
/// Values that may stay in the first-level cache (16 KiB of f32).
const CACHED_VALUES: usize = 4096;
/// Images whose weight gradients one task sums. Fixed, so that the order of sums never depends on threads.
const IMAGES_PER_PARTIAL: usize = 16;

/// The geometry of one convolution: square kernel, equal stride and zero padding on both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nn) struct ConvShape {
    pub(in crate::nn) batch: usize,
    pub(in crate::nn) c_in: usize,
    pub(in crate::nn) height: usize,
    pub(in crate::nn) width: usize,
    pub(in crate::nn) c_out: usize,
    pub(in crate::nn) kernel: usize,
    pub(in crate::nn) stride: usize,
    pub(in crate::nn) padding: usize,
}

impl ConvShape {
    /// Output height.
    pub(in crate::nn) fn out_height(&self) -> usize {
        self.out_length(self.height)
    }

    /// Output length of an axis.
    ///
    /// # Panics
    /// When the kernel is larger than the padded image, or the stride 0. The kernels' unchecked loads rely on this.
    fn out_length(&self, length: usize) -> usize {
        let padded = length + 2 * self.padding;
        assert!(self.stride > 0 && self.kernel > 0 && self.kernel <= padded, "impossible convolution {self:?}");
        (padded - self.kernel) / self.stride + 1
    }

    /// Output width.
    pub(in crate::nn) fn out_width(&self) -> usize {
        self.out_length(self.width)
    }

    fn image(&self) -> usize {
        self.height * self.width * self.c_in
    }

    /// Multiply-adds of one of the three products, taps in the padding included.
    fn multiply_adds(&self) -> usize {
        self.batch * self.out_image() * self.c_in * self.kernel * self.kernel
    }

    fn out_image(&self) -> usize {
        self.out_height() * self.out_width() * self.c_out
    }
}

/// The register tile: V vectors of output channels by P pixels (forward) or taps (weight gradient).
#[derive(Clone, Copy)]
struct Tile {
    /// Output channels.
    channels: usize,
    pixels: usize,
}

/// Asks the CPU for its tile.
struct TileOf<T> {
    c_out: usize,
    scalar: std::marker::PhantomData<T>,
}

impl<T: Scalar> WithSimd for TileOf<T> {
    type Output = Tile;

    fn with_simd<S: Simd>(self, _: S) -> Tile {
        let lanes = T::lanes::<S>();
        match (S::REGISTER_COUNT > 16, self.c_out > lanes) {
            (true, true) => Tile { channels: 2 * lanes, pixels: 8 },
            (true, false) => Tile { channels: lanes, pixels: 16 },
            (false, _) => Tile { channels: 2 * lanes, pixels: 4 },
        }
    }
}

fn tile_of<T: Scalar>(c_out: usize) -> Tile {
    Arch::new().dispatch(TileOf::<T> { c_out, scalar: std::marker::PhantomData })
}

/// One image in a zero-padded, channel-blocked scratch [blocks, rows, columns, block], and the output to compute
/// from it.
#[derive(Clone, Copy)]
struct Layout {
    channels: usize,
    block: usize,
    rows: usize,
    columns: usize,
    kernel: usize,
    stride: usize,
    out_height: usize,
    out_width: usize,
    c_out: usize,
    tile: Tile,
}

impl Layout {
    fn new<T: Scalar>(channels: usize, c_out: usize, kernel: usize, stride: usize, out: (usize, usize)) -> Self {
        let tile = tile_of::<T>(c_out);
        // Tiles may reach over the right edge; their surplus pixels are computed and dropped.
        let reach = |n: usize| (n - 1) * stride + kernel;
        Self {
            channels,
            block: channels.next_power_of_two().clamp(4, BLOCK),
            rows: reach(out.0),
            columns: reach(out.1.next_multiple_of(tile.pixels)),
            kernel,
            stride,
            out_height: out.0,
            out_width: out.1,
            c_out,
            tile,
        }
    }

    fn blocks(&self) -> usize {
        self.channels.div_ceil(self.block)
    }

    /// Values of one scratch row.
    fn row(&self) -> usize {
        self.columns * self.block
    }

    fn scratch(&self) -> usize {
        self.blocks() * self.rows * self.row()
    }

    /// Output columns rounded up to whole tiles.
    fn sums_width(&self) -> usize {
        self.out_width.next_multiple_of(self.tile.pixels)
    }

    fn sums(&self) -> usize {
        self.out_height * self.sums_width() * self.tile.channels
    }

    /// Taps of one kernel row in one channel block.
    fn taps(&self) -> usize {
        self.kernel * self.block
    }

    /// Values of the packed weight for one tile of output channels.
    fn packed_tile(&self) -> usize {
        self.blocks() * self.kernel * self.taps() * self.tile.channels
    }

    fn packed(&self) -> usize {
        self.c_out.div_ceil(self.tile.channels) * self.packed_tile()
    }

    /// Place of the weight (output channel, input channel, ky, kx) in the packed weight
    /// [tiles of output channels, blocks, ky, kx, channel in block, channel in tile].
    fn packed_index(&self, co: usize, ci: usize, ky: usize, kx: usize) -> usize {
        let (tile, lane) = (co / self.tile.channels, co % self.tile.channels);
        let (block, channel) = (ci / self.block, ci % self.block);
        let tap = (block * self.kernel + ky) * self.taps() + kx * self.block + channel;
        tile * self.packed_tile() + tap * self.tile.channels + lane
    }

    /// Copies an image [height, width, channels] into the scratch, pixels `spacing` apart, starting at row and
    /// column `offset` (negative: cropped). Everything else in the scratch must be zero and stays so.
    fn fill<T: Scalar>(&self, scratch: &mut [T], image: &[T], size: (usize, usize), spacing: usize, offset: isize) {
        let place = |i: usize, n: usize| {
            let at = (i * spacing) as isize + offset;
            usize::try_from(at).ok().filter(|at| *at < n)
        };
        for y in 0..size.0 {
            let Some(row) = place(y, self.rows) else { continue };
            for x in 0..size.1 {
                let Some(column) = place(x, self.columns) else { continue };
                let pixel = &image[(y * size.1 + x) * self.channels..][..self.channels];
                for (b, channels) in pixel.chunks(self.block).enumerate() {
                    let at = ((b * self.rows + row) * self.columns + column) * self.block;
                    scratch[at..at + channels.len()].copy_from_slice(channels);
                }
            }
        }
    }
}

/// Calls a kernel with the tile, block and stride as constants.
macro_rules! with_constants {
    ($simd:ident, $layout:expr, $kernel:ident($($arg:expr),*)) => {{
        let l = $layout;
        macro_rules! stride {
            ($v:literal, $p:literal, $b:literal) => {
                match l.stride {
                    1 => $kernel::<S, T, $v, $p, $b, 1>($simd, $($arg),*),
                    2 => $kernel::<S, T, $v, $p, $b, 2>($simd, $($arg),*),
                    _ => $kernel::<S, T, $v, $p, $b, 0>($simd, $($arg),*),
                }
            };
        }
        macro_rules! block {
            ($v:literal, $p:literal) => {
                match l.block {
                    4 => stride!($v, $p, 4),
                    8 => stride!($v, $p, 8),
                    _ => stride!($v, $p, 16),
                }
            };
        }
        match (S::REGISTER_COUNT > 16, l.tile.channels > T::lanes::<S>()) {
            (true, true) => block!(2, 8),
            (true, false) => block!(1, 16),
            (false, _) => block!(2, 4),
        }
    }};
}

/// One image: scratch and packed weight to output pixels [out_height, out_width, c_out].
struct Correlate<'a, T> {
    layout: &'a Layout,
    scratch: &'a [T],
    weight: &'a [T],
    /// Running sums of one tile of output channels.
    sums: &'a mut [T],
    out: &'a mut [T],
}

impl<T: Scalar> WithSimd for Correlate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layout, scratch, weight, sums, out } = self;
        with_constants!(simd, layout, correlate(layout, scratch, weight, sums, out));
    }
}

#[inline(always)]
fn correlate<S: Simd, T: Scalar, const V: usize, const P: usize, const B: usize, const STRIDE: usize>(
    simd: S,
    l: &Layout,
    scratch: &[T],
    weight: &[T],
    sums: &mut [T],
    out: &mut [T],
) {
    let lanes = T::lanes::<S>();
    let stride = if STRIDE == 0 { l.stride } else { STRIDE };
    let (taps, plane) = (l.kernel * B, l.rows * l.row());
    for (tile, weight) in weight.chunks_exact(l.packed_tile()).enumerate() {
        // One channel block at a time, so that its weights stay in the first-level cache.
        for (block, weight) in weight.chunks_exact(l.kernel * taps * V * lanes).enumerate() {
            for oy in 0..l.out_height {
                for ox in (0..l.out_width).step_by(P) {
                    let sums = &mut sums[(oy * l.sums_width() + ox) * V * lanes..][..P * V * lanes];
                    let mut tile: [[T::Vector<S>; V]; P] = if block == 0 {
                        [[T::splat(simd, T::zero()); V]; P]
                    } else {
                        std::array::from_fn(|p| std::array::from_fn(|v| load::<S, T>(&sums[(p * V + v) * lanes..])))
                    };
                    for (ky, w) in weight.chunks_exact(taps * V * lanes).enumerate() {
                        let start = block * plane + (oy * stride + ky) * l.row() + ox * stride * B;
                        let x = &scratch[start..start + (P - 1) * stride * B + taps];
                        for (tap, w) in w.chunks_exact(V * lanes).enumerate() {
                            let w: [T::Vector<S>; V] = std::array::from_fn(|v| load::<S, T>(&w[v * lanes..]));
                            for (p, tile) in tile.iter_mut().enumerate() {
                                // SAFETY: tap < taps and p < P, so the index is below the length of `x`.
                                let x = T::splat(simd, unsafe { *x.get_unchecked(p * stride * B + tap) });
                                for v in 0..V {
                                    tile[v] = T::mul_add(simd, x, w[v], tile[v]);
                                }
                            }
                        }
                    }
                    for (p, tile) in tile.iter().enumerate() {
                        tile.iter().enumerate().for_each(|(v, s)| store::<S, T>(*s, &mut sums[(p * V + v) * lanes..]));
                    }
                }
            }
        }
        let first = tile * V * lanes;
        let valid = (V * lanes).min(l.c_out - first);
        for (out, sums) in out.chunks_exact_mut(l.out_width * l.c_out).zip(sums.chunks(l.sums_width() * V * lanes)) {
            for (out, sums) in out.chunks_exact_mut(l.c_out).zip(sums.chunks(V * lanes)) {
                out[first..first + valid].copy_from_slice(&sums[..valid]);
            }
        }
    }
}

/// One image: scratch and output gradient to the packed weight gradient, added.
struct Accumulate<'a, T> {
    layout: &'a Layout,
    scratch: &'a [T],
    /// [out_height, out_width, channels padded to whole tiles].
    dy: &'a [T],
    dw: &'a mut [T],
}

impl<T: Scalar> WithSimd for Accumulate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layout, scratch, dy, dw } = self;
        with_constants!(simd, layout, accumulate(layout, scratch, dy, dw));
    }
}

#[inline(always)]
fn accumulate<S: Simd, T: Scalar, const V: usize, const P: usize, const B: usize, const STRIDE: usize>(
    simd: S,
    l: &Layout,
    scratch: &[T],
    dy: &[T],
    dw: &mut [T],
) {
    let taps = l.kernel * B;
    // Taps are tiled by the largest of P, 8 and 4 that divides them.
    if taps.is_multiple_of(P) {
        accumulate_taps::<S, T, V, P, B, STRIDE>(simd, l, scratch, dy, dw);
    } else if P > 8 && taps.is_multiple_of(8) {
        accumulate_taps::<S, T, V, 8, B, STRIDE>(simd, l, scratch, dy, dw);
    } else {
        accumulate_taps::<S, T, V, 4, B, STRIDE>(simd, l, scratch, dy, dw);
    }
}

#[inline(always)]
fn accumulate_taps<S: Simd, T: Scalar, const V: usize, const M: usize, const B: usize, const STRIDE: usize>(
    simd: S,
    l: &Layout,
    scratch: &[T],
    dy: &[T],
    dw: &mut [T],
) {
    let lanes = T::lanes::<S>();
    let stride = if STRIDE == 0 { l.stride } else { STRIDE };
    let (taps, plane) = (l.kernel * B, l.rows * l.row());
    let dy_pixel = l.c_out.next_multiple_of(V * lanes);
    // A few rows at a time, so that their output gradients stay in the first-level cache while all taps pass by.
    let rows = (CACHED_VALUES / (l.out_width * V * lanes)).max(1);
    for (tile, dw) in dw.chunks_exact_mut(l.packed_tile()).enumerate() {
        let first = tile * V * lanes;
        for top in (0..l.out_height).step_by(rows) {
            for (row, dw) in dw.chunks_exact_mut(taps * V * lanes).enumerate() {
                let (block, ky) = (row / l.kernel, row % l.kernel);
                for (group, dw) in dw.chunks_exact_mut(M * V * lanes).enumerate() {
                    let mut sums: [[T::Vector<S>; V]; M] =
                        std::array::from_fn(|m| std::array::from_fn(|v| load::<S, T>(&dw[(m * V + v) * lanes..])));
                    for oy in top..(top + rows).min(l.out_height) {
                        let start = block * plane + (oy * stride + ky) * l.row() + group * M;
                        let x = &scratch[start..start + (l.out_width - 1) * stride * B + M];
                        let dy = &dy[oy * l.out_width * dy_pixel + first..];
                        for ox in 0..l.out_width {
                            let dy = &dy[ox * dy_pixel..];
                            let dy: [T::Vector<S>; V] = std::array::from_fn(|v| load::<S, T>(&dy[v * lanes..]));
                            for (m, sums) in sums.iter_mut().enumerate() {
                                // SAFETY: ox < out_width and m < M, so the index is below the length of `x`.
                                let x = T::splat(simd, unsafe { *x.get_unchecked(ox * stride * B + m) });
                                for v in 0..V {
                                    sums[v] = T::mul_add(simd, x, dy[v], sums[v]);
                                }
                            }
                        }
                    }
                    for (m, sums) in sums.iter().enumerate() {
                        sums.iter().enumerate().for_each(|(v, s)| store::<S, T>(*s, &mut dw[(m * V + v) * lanes..]));
                    }
                }
            }
        }
    }
}

/// `x` [batch, h, w, c_in], `w` [c_out, c_in, k, k] -> [batch, oh, ow, c_out].
pub(in crate::nn) fn conv2d<T: Scalar>(s: &ConvShape, x: &[T], w: &[T]) -> Vec<T> {
    let layout = Layout::new::<T>(s.c_in, s.c_out, s.kernel, s.stride, (s.out_height(), s.out_width()));
    let weight = pack(s, &layout, w, |co, ci, ky, kx| layout.packed_index(co, ci, ky, kx));
    count(s.multiply_adds());
    let mut out = vec![T::zero(); s.batch * s.out_image()];
    out.par_chunks_mut(s.out_image()).zip(x.par_chunks(s.image())).for_each_init(
        || (vec![T::zero(); layout.scratch()], vec![T::zero(); layout.sums()]),
        |(scratch, sums), (out, x)| {
            layout.fill(scratch, x, (s.height, s.width), 1, s.padding as isize);
            Arch::new().dispatch(Correlate { layout: &layout, scratch, weight: &weight, sums, out });
        },
    );
    out
}

/// The gradient of the input, [batch, h, w, c_in], from `dy` [batch, oh, ow, c_out]: the dilated, padded dy correlated
/// with the flipped, transposed weight.
pub(in crate::nn) fn conv2d_input_grad<T: Scalar>(s: &ConvShape, dy: &[T], w: &[T]) -> Vec<T> {
    let layout = Layout::new::<T>(s.c_out, s.c_in, s.kernel, 1, (s.height, s.width));
    let last = s.kernel - 1;
    let weight = pack(s, &layout, w, |co, ci, ky, kx| layout.packed_index(ci, co, last - ky, last - kx));
    // The zeros of the dilation are multiplied too.
    count(s.batch * s.image() * s.c_out * s.kernel * s.kernel);
    let mut dx = vec![T::zero(); s.batch * s.image()];
    dx.par_chunks_mut(s.image()).zip(dy.par_chunks(s.out_image())).for_each_init(
        || (vec![T::zero(); layout.scratch()], vec![T::zero(); layout.sums()]),
        |(scratch, sums), (dx, dy)| {
            let offset = last as isize - s.padding as isize;
            layout.fill(scratch, dy, (s.out_height(), s.out_width()), s.stride, offset);
            Arch::new().dispatch(Correlate { layout: &layout, scratch, weight: &weight, sums, out: dx });
        },
    );
    dx
}

/// The gradient of the weight, [c_out, c_in, k, k], summed over the batch in a fixed order.
pub(in crate::nn) fn conv2d_weight_grad<T: Scalar>(s: &ConvShape, x: &[T], dy: &[T]) -> Vec<T> {
    let layout = Layout::new::<T>(s.c_in, s.c_out, s.kernel, s.stride, (s.out_height(), s.out_width()));
    let padded = s.c_out.next_multiple_of(layout.tile.channels);
    count(s.multiply_adds());
    let partials: Vec<Vec<T>> = x
        .par_chunks(IMAGES_PER_PARTIAL * s.image())
        .zip(dy.par_chunks(IMAGES_PER_PARTIAL * s.out_image()))
        .map_init(
            || (vec![T::zero(); layout.scratch()], Vec::new()),
            |(scratch, whole), (x, dy)| {
                let mut dw = vec![T::zero(); layout.packed()];
                for (x, dy) in x.chunks(s.image()).zip(dy.chunks(s.out_image())) {
                    layout.fill(scratch, x, (s.height, s.width), 1, s.padding as isize);
                    let dy = whole_tiles(dy, s.c_out, padded, whole);
                    Arch::new().dispatch(Accumulate { layout: &layout, scratch, dy, dw: &mut dw });
                }
                dw
            },
        )
        .collect();
    let mut total = vec![T::zero(); layout.packed()];
    for partial in partials {
        total.iter_mut().zip(partial).for_each(|(t, p)| *t += p);
    }
    let mut dw = vec![T::zero(); s.c_out * s.c_in * s.kernel * s.kernel];
    for_each_weight(s, |i, co, ci, ky, kx| dw[i] = total[layout.packed_index(co, ci, ky, kx)]);
    dw
}

/// `dy` with its channels padded by zeros to whole tiles; itself where they are.
fn whole_tiles<'a, T: Scalar>(dy: &'a [T], channels: usize, padded: usize, scratch: &'a mut Vec<T>) -> &'a [T] {
    if channels == padded {
        return dy;
    }
    scratch.resize(dy.len() / channels * padded, T::zero());
    scratch.chunks_mut(padded).zip(dy.chunks(channels)).for_each(|(to, from)| to[..channels].copy_from_slice(from));
    scratch
}

fn pack<T: Scalar>(
    s: &ConvShape,
    layout: &Layout,
    w: &[T],
    index: impl Fn(usize, usize, usize, usize) -> usize,
) -> Vec<T> {
    let mut packed = vec![T::zero(); layout.packed()];
    for_each_weight(s, |i, co, ci, ky, kx| packed[index(co, ci, ky, kx)] = w[i]);
    packed
}

/// Calls `f(index in [c_out, c_in, k, k], co, ci, ky, kx)` for every weight.
fn for_each_weight(s: &ConvShape, mut f: impl FnMut(usize, usize, usize, usize, usize)) {
    let mut i = 0;
    for co in 0..s.c_out {
        for ci in 0..s.c_in {
            for ky in 0..s.kernel {
                for kx in 0..s.kernel {
                    f(i, co, ci, ky, kx);
                    i += 1;
                }
            }
        }
    }
}
