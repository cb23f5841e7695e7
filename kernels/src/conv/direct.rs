//! Direct register-tiled correlation for any kernel size and stride.
//!
//! Each image is copied once into a zero-padded scratch buffer whose channels are blocked by at
//! most [`BLOCK`], so that the taps (kx, channel) of one kernel row are contiguous and neighbouring
//! pixels are a constant distance apart. A tile of P output pixels by V vectors of output channels
//! stays in registers while the kernel iterates over all taps. The weight gradient keeps a tile of
//! M taps by V vectors in registers while it iterates over all pixels.
//!
//! Sums run over (channel block, ky, kx, channel) and over (image, y, x), so the order depends on
//! shapes alone.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Algorithm, ConvTask, Filter, Frame, put, sum_parts};
use crate::flops::FlopCount;
use crate::scratch::with_scratch;
use crate::simd::{
    Registers, Scalar, arch, load_row, load_some, load_tile, many_registers, registers, store_some, store_tile,
};
use crate::source::{Source, vectors};

/// Maximum channels per scratch block.
const BLOCK: usize = 16;
/// Values that fit the first-level cache (16 KiB of f32).
const CACHED_VALUES: usize = 4096;
/// Images whose weight gradients one task sums, fixed so that the summation order never depends on
/// the number of threads.
const IMAGES_PER_PARTIAL: usize = 16;

/// Register tile: V vectors of output channels by P pixels (forward) or taps (weight gradient).
#[derive(Clone, Copy)]
struct Tile {
    /// Output channels.
    channels: usize,
    pixels: usize,
}

impl Tile {
    fn new<T: Scalar>(c_out: usize) -> Self {
        let Registers { lanes, many } = registers::<T>();
        match (many, c_out > lanes) {
            (true, true) => Self { channels: 2 * lanes, pixels: 8 },
            (true, false) => Self { channels: lanes, pixels: 16 },
            (false, _) => Self { channels: 2 * lanes, pixels: 4 },
        }
    }
}

/// Output pixels that read the same taps: those at `origin` and every `step` pixels from there. A
/// forward pass has one phase. The input gradient of stride s has s x s phases, each with its own
/// part of the kernel.
struct Phase {
    /// Kernel rows and columns that its pixels read, in reading order.
    taps: (Vec<usize>, Vec<usize>),
    /// Scratch row and column where the taps of the first output pixel start.
    base: (usize, usize),
    origin: (usize, usize),
    /// Output height and width in pixels.
    out: (usize, usize),
    /// Start of the packed weight.
    packed: usize,
}

/// Correlation with a zero-padded, channel-blocked scratch buffer [blocks, rows, columns, block]
/// per image.
pub(super) struct Direct {
    frame: Frame,
    phases: Vec<Phase>,
    /// Distance between output pixels of a phase.
    step: usize,
    block: usize,
    /// Distance in the scratch between the taps of neighbouring output pixels.
    stride: usize,
    /// Scratch row and column of the first pixel.
    offset: usize,
    rows: usize,
    columns: usize,
    tile: Tile,
}

impl Direct {
    /// Forward pass with a square kernel of size `kernel`.
    pub(super) fn forward<T: Scalar>(frame: Frame, kernel: usize, stride: usize, padding: usize) -> Self {
        let taps: Vec<usize> = (0..kernel).collect();
        let phase = Phase { taps: (taps.clone(), taps), base: (0, 0), origin: (0, 0), out: frame.out, packed: 0 };
        Self::new::<T>(frame, vec![phase], padding, stride, 1)
    }

    /// Input gradient of a convolution with a square kernel of size `kernel`. Input pixel y
    /// collects the output pixels (y + padding - ky) / stride for the ky that divide evenly, so no
    /// zeros of a dilation are multiplied.
    pub(super) fn input_grad<T: Scalar>(frame: Frame, kernel: usize, stride: usize, padding: usize) -> Self {
        // By origin: the taps from last to first, and the output pixel that the first pixel's last
        // tap reads.
        let axis = |origin: usize| {
            let first = (origin + padding) % stride;
            let taps: Vec<usize> = (first..kernel).step_by(stride).rev().collect();
            let start = ((origin + padding) / stride) as isize - taps.len() as isize + 1;
            (taps, start)
        };
        // Reading starts at the scratch's edge or later.
        let offset = (0..stride).map(|origin| -axis(origin).1).fold(0, isize::max);
        let base = |start: isize| (start + offset) as usize;
        let count = |length: usize, origin: usize| (length - origin).div_ceil(stride);
        let mut phases = Vec::new();
        for y in 0..stride.min(frame.out.0) {
            for x in 0..stride.min(frame.out.1) {
                let ((down, top), (across, left)) = (axis(y), axis(x));
                let out = (count(frame.out.0, y), count(frame.out.1, x));
                phases.push(Phase {
                    taps: (down, across),
                    base: (base(top), base(left)),
                    origin: (y, x),
                    out,
                    packed: 0,
                });
            }
        }
        Self::new::<T>(frame, phases, offset as usize, 1, stride)
    }

    fn new<T: Scalar>(frame: Frame, phases: Vec<Phase>, offset: usize, stride: usize, step: usize) -> Self {
        let tile = Tile::new::<T>(frame.out_channels);
        // Tiles may extend past the right edge; their surplus pixels are computed and dropped.
        let reach = |base: usize, n: usize, kernel: usize| base + (n - 1) * stride + kernel;
        let rows = phases.iter().map(|p| reach(p.base.0, p.out.0, p.taps.0.len())).max();
        let columns =
            phases.iter().map(|p| reach(p.base.1, p.out.1.next_multiple_of(tile.pixels), p.taps.1.len())).max();
        let block = frame.channels.next_power_of_two().clamp(4, BLOCK);
        let (rows, columns) = (rows.unwrap_or(0), columns.unwrap_or(0));
        let mut this = Self { frame, phases, step, block, stride, offset, rows, columns, tile };
        let mut packed = 0;
        for i in 0..this.phases.len() {
            this.phases[i].packed = packed;
            packed += this.packed(&this.phases[i]);
        }
        this
    }

    fn blocks(&self) -> usize {
        self.frame.channels.div_ceil(self.block)
    }

    /// Values of one scratch row.
    fn row(&self) -> usize {
        self.columns * self.block
    }

    /// Values of the scratch of one image.
    fn image_scratch(&self) -> usize {
        self.blocks() * self.rows * self.row()
    }

    /// Values of one image row, rounded up to whole cache lines.
    fn row_scratch(&self) -> usize {
        (self.frame.size.1 * self.frame.channels).next_multiple_of(BLOCK)
    }

    /// Output columns rounded up to whole tiles.
    fn sums_width(&self, phase: &Phase) -> usize {
        phase.out.1.next_multiple_of(self.tile.pixels)
    }

    /// Scratch values for the sums of one tile of output channels.
    fn sums(&self) -> usize {
        let sums = self.phases.iter().map(|p| p.out.0 * self.sums_width(p) * self.tile.channels);
        sums.max().unwrap_or(0)
    }

    /// Packed weight values of a phase for one tile of output channels.
    fn packed_tile(&self, phase: &Phase) -> usize {
        self.blocks() * phase.taps.0.len() * phase.taps.1.len() * self.block * self.tile.channels
    }

    /// Output channels rounded up to whole tiles.
    fn padded_channels(&self) -> usize {
        self.tiles() * self.tile.channels
    }

    /// Number of output channel tiles.
    fn tiles(&self) -> usize {
        self.frame.out_channels.div_ceil(self.tile.channels)
    }

    fn packed(&self, phase: &Phase) -> usize {
        self.tiles() * self.packed_tile(phase)
    }

    /// Index into a phase's packed weight [tiles of output channels, blocks, ky, kx, channel in
    /// block, channel in tile].
    fn packed_index(&self, phase: &Phase, co: usize, ci: usize, ky: usize, kx: usize) -> usize {
        let (tile, lane) = (co / self.tile.channels, co % self.tile.channels);
        let (block, channel) = (ci / self.block, ci % self.block);
        let tap = ((block * phase.taps.0.len() + ky) * phase.taps.1.len() + kx) * self.block + channel;
        tile * self.packed_tile(phase) + tap * self.tile.channels + lane
    }

    /// Copies image `index` of `x` into the zero-padded scratch. `row` is a buffer for one image
    /// row.
    #[inline(always)]
    fn fill<S: Simd, T: Scalar>(&self, simd: S, x: &Source<'_, T>, index: usize, row: &mut [T], scratch: &mut [T]) {
        let (channels, (height, width)) = (self.frame.channels, self.frame.size);
        scratch.fill(T::zero());
        // Skips rows at the far edges of a strided convolution that no tap reads.
        for y in 0..height.min(self.rows.saturating_sub(self.offset)) {
            x.read(simd, ((index * height + y) * width * channels, width, channels), row, channels);
            for (column, pixel) in
                row.chunks_exact(channels).take(width.min(self.columns.saturating_sub(self.offset))).enumerate()
            {
                for (b, values) in pixel.chunks(self.block).enumerate() {
                    let at = ((b * self.rows + self.offset + y) * self.columns + self.offset + column) * self.block;
                    let place = &mut scratch[at..at + values.len()];
                    for v in vectors::<S, T>(values.len()) {
                        store_some(simd, load_some(simd, &values[v.clone()]), &mut place[v]);
                    }
                }
            }
        }
    }
}

/// Calls a kernel with tile, block and stride as const generics.
macro_rules! with_constants {
    ($simd:ident, $direct:expr, $kernel:ident($($arg:expr),*)) => {{
        let l = $direct;
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
        match (many_registers::<S>(), l.tile.channels > T::lanes::<S>()) {
            (true, true) => block!(2, 8),
            (true, false) => block!(1, 16),
            (false, _) => block!(2, 4),
        }
    }};
}

impl Direct {
    /// Writes the sums of a phase's tile of output channels to its pixels of an image.
    #[inline(always)]
    fn write<S: Simd, T: Scalar>(
        &self,
        simd: S,
        phase: &Phase,
        tile: usize,
        sums: &[T],
        add: Option<&[T]>,
        out: &mut [T],
    ) {
        let first = tile * self.tile.channels;
        let valid = self.tile.channels.min(self.frame.out_channels - first);
        let rows = sums.chunks_exact(self.sums_width(phase) * self.tile.channels);
        for (y, sums) in rows.take(phase.out.0).enumerate() {
            for (x, sums) in sums.chunks_exact(self.tile.channels).take(phase.out.1).enumerate() {
                let (y, x) = (phase.origin.0 + y * self.step, phase.origin.1 + x * self.step);
                let at = (y * self.frame.out.1 + x) * self.frame.out_channels + first;
                for v in vectors::<S, T>(valid) {
                    put(simd, load_some(simd, &sums[v.clone()]), add, out, at + v.start..at + v.end);
                }
            }
        }
    }
}

impl<T: Scalar> Algorithm<T> for Direct {
    fn group(&self) -> usize {
        1
    }

    fn pack(&self, filter: Filter<'_, T>) -> Vec<T> {
        let mut packed = vec![T::zero(); self.phases.iter().map(|p| self.packed(p)).sum()];
        for phase in &self.phases {
            let packed = &mut packed[phase.packed..];
            for co in 0..self.frame.out_channels {
                for ci in 0..self.frame.channels {
                    for (y, ky) in phase.taps.0.iter().enumerate() {
                        for (x, kx) in phase.taps.1.iter().enumerate() {
                            packed[self.packed_index(phase, co, ci, y, x)] = filter.at(co, ci, *ky, *kx);
                        }
                    }
                }
            }
        }
        packed
    }

    fn scratch(&self, _images: usize) -> usize {
        self.image_scratch() + self.row_scratch() + self.sums()
    }

    /// FLOPs of the multiply-adds, taps in the padding included.
    fn flops(&self, images: usize) -> usize {
        let pixels = self.phases.iter().map(|p| p.out.0 * p.out.1 * p.taps.0.len() * p.taps.1.len());
        2 * images * pixels.sum::<usize>() * self.frame.channels * self.frame.out_channels
    }

    #[inline(always)]
    fn correlate<S: Simd>(&self, simd: S, task: ConvTask<'_, Self, T>) {
        let ConvTask { x, first, weight, add, scratch, out, .. } = task;
        let image = self.frame.out_image();
        let (scratch, rest) = scratch.split_at_mut(self.image_scratch());
        let (row, sums) = rest.split_at_mut(self.row_scratch());
        for (i, out) in out.chunks_exact_mut(image).enumerate() {
            self.fill(simd, x, first + i, row, scratch);
            let add = add.map(|add| &add[i * image..][..image]);
            for phase in &self.phases {
                for tile in 0..self.tiles() {
                    let size = self.packed_tile(phase);
                    let weight = &weight[phase.packed + tile * size..][..size];
                    if weight.is_empty() {
                        sums.fill(T::zero());
                    } else {
                        with_constants!(simd, self, correlate(self, phase, scratch, weight, sums));
                    }
                    self.write(simd, phase, tile, sums, add, out);
                }
            }
        }
    }
}

/// Computes one tile of output channels of a phase of an image: from scratch and packed weight to
/// sums [out rows, whole tiles of out columns, channels of the tile].
#[inline(always)]
fn correlate<S: Simd, T: Scalar, const V: usize, const P: usize, const B: usize, const STRIDE: usize>(
    simd: S,
    l: &Direct,
    phase: &Phase,
    scratch: &[T],
    weight: &[T],
    sums: &mut [T],
) {
    let lanes = T::lanes::<S>();
    let stride = if STRIDE == 0 { l.stride } else { STRIDE };
    let (taps, plane) = (phase.taps.1.len() * B, l.rows * l.row());
    // One channel block at a time, so that its weights stay in the first-level cache.
    for (block, weight) in weight.chunks_exact(phase.taps.0.len() * taps * V * lanes).enumerate() {
        for oy in 0..phase.out.0 {
            for ox in (0..phase.out.1).step_by(P) {
                let sums = &mut sums[(oy * l.sums_width(phase) + ox) * V * lanes..][..P * V * lanes];
                let mut tile: [[T::Vector<S>; V]; P] =
                    if block == 0 { [[T::splat(simd, T::zero()); V]; P] } else { load_tile::<S, T, V, P>(simd, sums) };
                for (ky, w) in weight.chunks_exact(taps * V * lanes).enumerate() {
                    let start =
                        block * plane + (phase.base.0 + oy * stride + ky) * l.row() + (phase.base.1 + ox * stride) * B;
                    let x = &scratch[start..start + (P - 1) * stride * B + taps];
                    for (tap, w) in w.chunks_exact(V * lanes).enumerate() {
                        let w = load_row::<S, T, V>(simd, w);
                        for (p, tile) in tile.iter_mut().enumerate() {
                            // SAFETY: tap < taps and p < P, so the index is below the length of `x`.
                            let x = T::splat(simd, unsafe { *x.get_unchecked(p * stride * B + tap) });
                            for v in 0..V {
                                tile[v] = T::mul_add(simd, x, w[v], tile[v]);
                            }
                        }
                    }
                }
                store_tile(&tile, sums);
            }
        }
    }
}

#[inline(always)]
fn accumulate<S: Simd, T: Scalar, const V: usize, const P: usize, const B: usize, const STRIDE: usize>(
    simd: S,
    l: &Direct,
    scratch: &[T],
    dy: &[T],
    dw: &mut [T],
) {
    let taps = l.phases[0].taps.1.len() * B;
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
    l: &Direct,
    scratch: &[T],
    dy: &[T],
    dw: &mut [T],
) {
    let lanes = T::lanes::<S>();
    let stride = if STRIDE == 0 { l.stride } else { STRIDE };
    let (kernel, (out_height, out_width)) = (l.phases[0].taps.0.len(), l.frame.out);
    let (taps, plane) = (kernel * B, l.rows * l.row());
    let dy_pixel = l.frame.out_channels.next_multiple_of(V * lanes);
    // A few rows at a time, so that their output gradients stay in the first-level cache across all
    // taps.
    let rows = (CACHED_VALUES / (out_width * V * lanes)).max(1);
    for (tile, dw) in dw.chunks_exact_mut(l.packed_tile(&l.phases[0])).enumerate() {
        let first = tile * V * lanes;
        for top in (0..out_height).step_by(rows) {
            for (row, dw) in dw.chunks_exact_mut(taps * V * lanes).enumerate() {
                let (block, ky) = (row / kernel, row % kernel);
                for (group, dw) in dw.chunks_exact_mut(M * V * lanes).enumerate() {
                    let mut sums = load_tile::<S, T, V, M>(simd, dw);
                    for oy in top..(top + rows).min(out_height) {
                        let start = block * plane + (oy * stride + ky) * l.row() + group * M;
                        let x = &scratch[start..start + (out_width - 1) * stride * B + M];
                        let dy = &dy[oy * out_width * dy_pixel + first..];
                        for ox in 0..out_width {
                            let dy = &dy[ox * dy_pixel..];
                            let dy = load_row::<S, T, V>(simd, dy);
                            for (m, sums) in sums.iter_mut().enumerate() {
                                // SAFETY: ox < out_width and m < M, so the index is below the length of `x`.
                                let x = T::splat(simd, unsafe { *x.get_unchecked(ox * stride * B + m) });
                                for v in 0..V {
                                    sums[v] = T::mul_add(simd, x, dy[v], sums[v]);
                                }
                            }
                        }
                    }
                    store_tile(&sums, dw);
                }
            }
        }
    }
}

/// Packed weight gradient of a group of images.
struct Partial<'a, T> {
    direct: &'a Direct,
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
        let Self { direct, x, dy, images, scratch, sums } = self;
        let frame = &direct.frame;
        let (pixels, channels) = (frame.out.0 * frame.out.1, frame.out_channels);
        let (scratch, rest) = scratch.split_at_mut(direct.image_scratch());
        let (row, dy_image) = rest.split_at_mut(direct.row_scratch());
        dy_image.fill(T::zero());
        for image in images {
            direct.fill(simd, x, image, row, scratch);
            dy.read(simd, (image * frame.out_image(), pixels, channels), dy_image, direct.padded_channels());
            with_constants!(simd, direct, accumulate(direct, scratch, dy_image, sums));
        }
    }
}

/// Computes the weight gradient, [c_out, c_in, k, k].
pub(super) fn weight_grad<T: Scalar>(
    direct: &Direct,
    batch: usize,
    x: &Source<'_, T>,
    dy: &Source<'_, T>,
    dw: &mut [T],
    flops: &FlopCount,
) {
    // The same count as a forward pass.
    flops.add(Algorithm::<T>::flops(direct, batch));
    let phase = &direct.phases[0];
    let size = direct.packed(phase);
    let dy_image = direct.frame.out.0 * direct.frame.out.1 * direct.padded_channels();
    let scratch = direct.image_scratch() + direct.row_scratch() + dy_image;
    let mut partials = vec![T::zero(); batch.div_ceil(IMAGES_PER_PARTIAL) * size];
    partials.par_chunks_mut(size).enumerate().for_each(|(i, sums)| {
        let images = i * IMAGES_PER_PARTIAL..((i + 1) * IMAGES_PER_PARTIAL).min(batch);
        with_scratch(scratch, |scratch| arch().dispatch(Partial { direct, x, dy, images, scratch, sums }));
    });
    let sums = sum_parts(partials, size);
    let per_channel = dw.len() / direct.frame.out_channels;
    dw.par_chunks_exact_mut(per_channel).enumerate().for_each(|(co, dw)| {
        let mut i = 0;
        for ci in 0..direct.frame.channels {
            for ky in &phase.taps.0 {
                for kx in &phase.taps.1 {
                    dw[i] = sums[direct.packed_index(phase, co, ci, *ky, *kx)];
                    i += 1;
                }
            }
        }
    });
}
