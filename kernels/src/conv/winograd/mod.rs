//! Winograd's minimal filtering F(2x2, 3x3) for 3x3 kernels of stride 1 and padding 1 (Lavin and
//! Gray 2016, section 4.1): 16 multiplications per channel pair instead of 36 for each 2x2 output
//! tile, forward and in both gradients.
//!
//! An input tile of 4x4 pixels, overlapping its neighbours by 2, is transformed to 16 points,
//! V = B' d B, and the weight to U = G g G'. At each point the channels are multiplied as matrices,
//! M = V U. An output tile is A' M A. The weight gradient is G' (sum over tiles of V' (A dy A')) G. The
//! transforms add, subtract and halve; in f32 the result is about as exact as the direct sum.

mod product;
mod transform;
mod weights;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Algorithm, ConvTask, Filter, Frame, InputGrad, WeightGrad, sum_parts};
use crate::flops::FlopCount;
use crate::moments::{Measure, Moments};
use crate::output::{pieces, write};
use crate::scratch::with_scratch;
use crate::simd::{Scalar, arch, many_registers, registers};
use crate::source::Source;

use product::{ROWS, accumulate, accumulate_rows, multiply, with_constants};
use weights::{pack_panel, put_panel, put_taps, with_lanes};

/// Points of a transformed tile.
const POINTS: usize = 16;
/// Channels per block: a tile's channels of one block are contiguous.
const BLOCK: usize = 16;
/// Output tiles multiplied together; a multiple of every register tile.
const TILES: usize = 32;
/// Values of S beyond which a layer is large: more images make a task of the backward pass, and more tasks its parts.
const LARGE: usize = 1 << 18;

/// Correlation with a 3x3 kernel; the output has the input's size.
pub(super) struct Winograd {
    frame: Frame,
    /// Rows and columns of tiles per image.
    tiles: (usize, usize),
    /// Output channels per register tile.
    panel: usize,
    /// Vectors per panel, 1 or 2.
    vectors: usize,
}

impl Winograd {
    pub(super) fn new<T: Scalar>(frame: Frame) -> Self {
        let lanes = registers::<T>().lanes;
        let vectors = if frame.out_channels.div_ceil(lanes).is_multiple_of(2) { 2 } else { 1 };
        Self { frame, tiles: (frame.out.0.div_ceil(2), frame.out.1.div_ceil(2)), panel: vectors * lanes, vectors }
    }

    fn image_tiles(&self) -> usize {
        self.tiles.0 * self.tiles.1
    }

    /// FLOPs of one product over this many images: its multiplications, plus the transforms with 32
    /// additions per tile and input channel and `additions` per tile and output channel.
    fn product_flops(&self, images: usize, additions: usize) -> usize {
        let (c_in, c_out) = (self.frame.channels, self.frame.out_channels);
        images * self.image_tiles() * (2 * POINTS * c_in * c_out + 32 * c_in + additions * c_out)
    }

    fn blocks(&self) -> usize {
        self.frame.channels.div_ceil(BLOCK)
    }

    fn panels(&self) -> usize {
        self.frame.out_channels.div_ceil(self.panel)
    }

    fn is_large(&self) -> bool {
        POINTS * self.frame.channels * self.frame.out_channels > LARGE
    }

    /// Rows and columns of the scratch of one image.
    fn padded(&self) -> (usize, usize) {
        (2 * self.tiles.0 + 2, 2 * self.tiles.1 + 2)
    }

    fn scratch_image(&self) -> usize {
        self.padded().0 * self.padded().1 * self.blocks() * BLOCK
    }

    /// Values of one point of V [blocks, tiles, BLOCK], plus one cache line: points a power of two
    /// apart would map to few cache sets.
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

impl<T: Scalar> Algorithm<T> for Winograd {
    fn group(&self) -> usize {
        TILES.div_ceil(self.image_tiles())
    }

    /// Packs U as [panels, POINTS, c_in, panel].
    fn pack(&self, filter: Filter<'_, T>) -> Vec<T> {
        let mut packed = vec![T::zero(); self.panels() * POINTS * self.u_point()];
        packed.par_chunks_mut(POINTS * self.u_point()).enumerate().for_each(|(panel, packed)| {
            with_lanes!(self.panel, pack_panel(self, &filter, panel * self.panel, packed));
        });
        packed
    }

    fn scratch(&self, images: usize) -> usize {
        images * self.scratch_image() + POINTS * (self.v_point() + self.m_point())
    }

    fn flops(&self, images: usize) -> usize {
        self.product_flops(images, 24)
    }

    #[inline(always)]
    fn correlate<S: Simd>(&self, simd: S, task: ConvTask<'_, Self, T>) {
        let ConvTask { x, first, weight, add, scratch, out, .. } = task;
        let images = out.len() / self.frame.out_image();
        let (padded, rest) = scratch.split_at_mut(images * self.scratch_image());
        let (v, m) = rest.split_at_mut(POINTS * self.v_point());
        for (i, padded) in padded.chunks_exact_mut(self.scratch_image()).enumerate() {
            self.fill(simd, x, first + i, padded);
        }
        self.correlate_padded(simd, padded, weight, add, (v, m), out);
    }
}

impl Winograd {
    /// Copies image `index` of `x` to its zero-padded scratch [rows, columns, channels in whole
    /// blocks]. Channels past the image's are left as they are: no product that is used reads them.
    #[inline(always)]
    fn fill<S: Simd, T: Scalar>(&self, simd: S, x: &Source<'_, T>, index: usize, scratch: &mut [T]) {
        let (channels, stride, (height, width)) = (self.frame.channels, self.blocks() * BLOCK, self.frame.size);
        for (row, scratch) in scratch.chunks_exact_mut(self.padded().1 * stride).enumerate() {
            if row == 0 || row > height {
                scratch.fill(T::zero());
                continue;
            }
            let (left, rest) = scratch.split_at_mut(stride);
            let (inside, right) = rest.split_at_mut(width * stride);
            left.fill(T::zero());
            right.fill(T::zero());
            x.read(simd, ((index * height + row - 1) * width * channels, width, channels), inside, stride);
        }
    }

    /// Correlates the images in `padded`; `v` and `m` are scratch.
    #[inline(always)]
    fn correlate_padded<S: Simd, T: Scalar>(
        &self,
        simd: S,
        padded: &[T],
        weight: &[T],
        add: Option<&[T]>,
        (v, m): (&mut [T], &mut [T]),
        out: &mut [T],
    ) {
        let (is_large, panels) = (self.is_large(), self.panels());
        let (v_point, m_point, u_point) = (self.v_point(), self.m_point(), self.u_point());
        let total = out.len() / self.frame.out_image() * self.image_tiles();
        for start in (0..total).step_by(TILES) {
            let tiles = start..(start + TILES).min(total);
            self.transform_input(simd, padded, tiles.clone(), 0..self.frame.channels, v);
            for i in 0..panels * POINTS {
                let (panel, point) = place(is_large, i, panels);
                let v = &v[point * v_point..][..v_point];
                let m = &mut m[point * m_point + panel * TILES * self.panel..][..TILES * self.panel];
                let weight = &weight[(panel * POINTS + point) * u_point..][..u_point];
                with_constants!(self, multiply(simd, tiles.len(), v, weight, m));
            }
            self.transform_output(simd, m, tiles, add, out);
        }
    }
}

/// The panel (or block) and the point of product number `i`. In a large layer, V and M of all points do not fit the cache, so
/// one point's are used for all panels.
#[inline(always)]
fn place(is_large: bool, i: usize, panels: usize) -> (usize, usize) {
    if is_large { (i % panels, i / panels) } else { (i / POINTS, i % POINTS) }
}

/// Backward pass over a group of images.
struct Backward<'a, T> {
    /// Forward correlation, and the correlation that computes the input gradient.
    forward: &'a Winograd,
    back: &'a Winograd,
    x: &'a Source<'a, T>,
    dy: &'a Source<'a, T>,
    images: std::ops::Range<usize>,
    scratch: &'a mut [T],
    /// Positions of the live output channels in a point of M, in whole groups of [`ROWS`]; empty if
    /// all are required.
    rows: &'a [usize],
    /// Transformed weight gradient S of some panels [panels, POINTS, c_in in whole blocks, panel], or by rows of some blocks
    /// [blocks, POINTS, rows, BLOCK].
    sums: &'a mut [T],
    /// The first panel or block of `sums`, and the values of each.
    first_unit: usize,
    unit: usize,
    /// Packed weight of the backward correlation, and what is added to its output.
    weight: &'a [T],
    add: Option<&'a [T]>,
    /// Input gradient; empty if not required.
    dx: &'a mut [T],
}

impl<T: Scalar> WithSimd for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { forward, back, x, dy, images, scratch, rows, sums, first_unit, unit, weight, add, dx } = self;
        let (c_in, c_out) = (forward.frame.channels, forward.frame.out_channels);
        let (is_large, units) = (forward.is_large(), first_unit..first_unit + sums.len() / unit);
        let (v_point, m_point, s_point) = (forward.v_point(), forward.m_point(), unit / POINTS);
        let (x_part, dy_part) = match rows {
            [] => (0..c_in, units.start * forward.panel..(units.end * forward.panel).min(c_out)),
            _ => (units.start * BLOCK..(units.end * BLOCK).min(c_in), 0..c_out),
        };
        let group = Algorithm::<T>::group(forward).min(images.len());
        let (x_padded, rest) = scratch.split_at_mut(group * forward.scratch_image());
        let (dy_padded, rest) = rest.split_at_mut(group * back.scratch_image());
        let (v, m) = rest.split_at_mut(POINTS * forward.v_point().max(back.v_point()));
        let image = back.frame.out_image();
        for first in images.clone().step_by(group) {
            let count = group.min(images.end - first);
            let x_padded = &mut x_padded[..count * forward.scratch_image()];
            let dy_padded = &mut dy_padded[..count * back.scratch_image()];
            let (x_images, dy_images) =
                (x_padded.chunks_exact_mut(forward.scratch_image()), dy_padded.chunks_exact_mut(back.scratch_image()));
            for (i, (x_padded, dy_padded)) in x_images.zip(dy_images).enumerate() {
                forward.fill(simd, x, first + i, x_padded);
                back.fill(simd, dy, first + i, dy_padded);
            }
            let total = count * forward.image_tiles();
            for start in (0..total).step_by(TILES) {
                let tiles = start..(start + TILES).min(total);
                forward.transform_input(simd, x_padded, tiles.clone(), x_part.clone(), v);
                forward.transform_grad(simd, dy_padded, tiles.clone(), dy_part.clone(), m);
                for i in 0..units.len() * POINTS {
                    let (at, point) = place(is_large, i, units.len());
                    let s = &mut sums[(at * POINTS + point) * s_point..][..s_point];
                    let (v, m) = (&v[point * v_point..][..v_point], &m[point * m_point..][..m_point]);
                    let at = units.start + at;
                    if rows.is_empty() {
                        let m = &m[at * TILES * forward.panel..][..TILES * forward.panel];
                        with_constants!(forward, accumulate(simd, (tiles.len(), c_in), v, m, s));
                    } else {
                        let v = &v[at * TILES * BLOCK..][..TILES * BLOCK];
                        accumulate_rows(simd, tiles.len(), v, (m, forward.panel), rows, s);
                    }
                }
            }
            if !dx.is_empty() {
                let place = (first - images.start) * image..(first - images.start + count) * image;
                let add = add.map(|add| &add[place.clone()]);
                back.correlate_padded(simd, dy_padded, weight, add, (&mut *v, &mut *m), &mut dx[place]);
            }
        }
    }
}

impl Winograd {
    /// Values of one point of a panel of S.
    fn s_point(&self) -> usize {
        self.blocks() * BLOCK * self.panel
    }

    /// Position of an output channel in a point of M.
    fn row(&self, channel: usize) -> usize {
        channel / self.panel * TILES * self.panel + channel % self.panel
    }

    /// FLOPs of the weight gradient saved by dead output channels.
    fn left_out_flops(&self, images: usize, live: &[usize]) -> usize {
        let dead = if live.is_empty() { 0 } else { self.frame.out_channels - live.len() };
        2 * images * self.image_tiles() * POINTS * self.frame.channels * dead
    }

    /// Images per task of the backward pass. This depends on shapes alone, so the summation order
    /// never depends on the number of threads. The sums of all tasks together stay small.
    fn backward_images(&self) -> usize {
        if self.is_large() { 32 } else { 8 }
    }

    /// Tasks of the weight gradient of the same images, each of some of so many channels. Every one of them transforms all of
    /// the other operand's channels, so a part is at least 64 wide.
    fn backward_parts(&self, chunks: usize, channels: usize) -> usize {
        if self.is_large() { (channels / 128).max(4usize.div_ceil(chunks)).min(channels / 64).max(1) } else { 1 }
    }
}

/// Computes the weight gradient and, with it, the input gradient (see [`super::conv2d_backward`]).
pub(super) fn backward<T: Scalar>(
    (forward, back): (&Winograd, &Winograd),
    batch: usize,
    dy: &Source<'_, T>,
    WeightGrad { x, dw, live }: WeightGrad<'_, T>,
    input: Option<(Filter<'_, T>, InputGrad<'_, T>)>,
    flops: &FlopCount,
) -> Option<(Vec<T>, Option<Moments>)> {
    let (c_in, images) = (forward.frame.channels, forward.backward_images());
    let live = live.unwrap_or_default();
    let mut rows: Vec<usize> = live.iter().map(|channel| forward.row(*channel)).collect();
    rows.resize(rows.len().next_multiple_of(ROWS), 0);
    flops.add(forward.product_flops(batch, 12) - forward.left_out_flops(batch, live));
    let (image, chunks) = (back.frame.out_image(), batch.div_ceil(images));
    // Values of a panel or block of S, and how many there are.
    let (unit, units) = match rows.len() {
        0 => (POINTS * forward.s_point(), forward.panels()),
        rows => (POINTS * rows * BLOCK, forward.blocks()),
    };
    let split = if rows.is_empty() { forward.frame.out_channels } else { c_in };
    let units_per_part = units.div_ceil(forward.backward_parts(chunks, split));
    let tasks = chunks * units.div_ceil(units_per_part);
    // Parts of the weight gradient share no work with the input gradient.
    let (fused, apart) = if tasks == chunks { (input, None) } else { (None, input) };
    let (mut weight, mut measure, mut add, mut dx_len) = (Vec::new(), Measure::Nothing, None, 0);
    if let Some((filter, input)) = fused {
        flops.add(Algorithm::<T>::flops(back, batch));
        (weight, measure, add, dx_len) = (back.pack(filter), input.measure, input.add, batch * image);
    }
    let size = units * unit;
    let scratch = Algorithm::<T>::group(forward) * (forward.scratch_image() + back.scratch_image())
        + POINTS * (forward.v_point().max(back.v_point()) + forward.m_point().max(back.m_point()));
    let mut partials = vec![T::zero(); chunks * size];
    let mut parts = measure.parts(batch, c_in);
    let dx = write(dx_len, |dx| {
        let sums = partials.chunks_exact_mut(size).enumerate().flat_map(|(chunk, sums)| {
            let of_part = move |(part, sums)| (chunk, part * units_per_part, sums);
            sums.chunks_mut(units_per_part * unit).enumerate().map(of_part)
        });
        let outs = pieces(dx, images * image, tasks).zip(pieces(&mut parts, images * 2 * c_in, tasks));
        let tasks: Vec<_> = sums.zip(outs).collect();
        tasks.into_par_iter().for_each(|((chunk, first_unit, sums), (dx, parts))| {
            let images = chunk * images..((chunk + 1) * images).min(batch);
            let first = images.start;
            let (weight, add) = (weight.as_slice(), add.map(|add| &add[first * image..][..dx.len()]));
            let rows = rows.as_slice();
            with_scratch(scratch, |scratch| {
                let dx = &mut *dx;
                arch().dispatch(Backward {
                    forward,
                    back,
                    x,
                    dy,
                    images,
                    scratch,
                    rows,
                    sums,
                    first_unit,
                    unit,
                    weight,
                    add,
                    dx,
                });
            });
            measure.pieces(first, dx, image, c_in, parts);
        });
    });
    let sums = sum_parts(partials, size);
    if live.is_empty() {
        dw.par_chunks_mut(forward.panel * c_in * 9).zip(sums.par_chunks(unit)).for_each(|(dw, sums)| {
            with_lanes!(forward.panel, put_panel(sums, c_in, dw));
        });
    } else {
        dw.par_chunks_mut(c_in * 9).enumerate().for_each(|(row, dw)| {
            for (dw, sums) in dw.chunks_mut(BLOCK * 9).zip(sums.chunks_exact(unit)) {
                put_taps::<T, BLOCK>(&sums[row * BLOCK..], unit / POINTS, dw, 9);
            }
        });
    }
    match apart {
        Some((filter, InputGrad { add, measure, .. })) => {
            Some(super::correlate(back, &back.frame, dy, filter, add, measure, flops))
        }
        None => fused.map(|_| (dx, Moments::measured(&parts, c_in))),
    }
}
