//! 2-D convolution on channels-last images [batch, h, w, c] (docs/kernels.md): Winograd's minimal filtering for 3x3
//! kernels of stride 1, direct register-tiled kernels for all others.
//!
//! Inputs are [`Source`]s, so a batch normalisation before or after a convolution needs no extra
//! pass over memory. Outputs can be measured ([`Moments`]) while they are in the cache.

mod direct;
mod grouped;
#[cfg(test)]
mod tests;
mod winograd;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::flops::FlopCount;
use super::gather::gather;
use super::moments::{Measure, Moments};
use super::output::{pieces, write};
use super::scratch::with_scratch;
use super::simd::{Scalar, arch, load_some, store_some};
use super::source::Source;
use direct::Direct;
use winograd::Winograd;

/// Geometry of a convolution: square kernel, equal stride and zero padding on both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Number of images.
    pub batch: usize,
    /// Input channels.
    pub c_in: usize,
    /// Input height.
    pub height: usize,
    /// Input width.
    pub width: usize,
    /// Output channels.
    pub c_out: usize,
    /// Kernel height and width.
    pub kernel: usize,
    /// Distance in input pixels between neighbouring output pixels.
    pub stride: usize,
    /// Width of the zero padding.
    pub padding: usize,
    /// Independent groups of channels; must divide both channel counts.
    pub groups: usize,
}

impl ConvShape {
    /// Output height.
    pub fn out_height(&self) -> usize {
        self.out_length(self.height)
    }

    /// Output width.
    pub fn out_width(&self) -> usize {
        self.out_length(self.width)
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

    fn frame(&self) -> Frame {
        Frame {
            channels: self.c_in,
            size: (self.height, self.width),
            out_channels: self.c_out,
            out: (self.out_height(), self.out_width()),
        }
    }

    fn weights(&self) -> usize {
        self.c_out * self.c_in / self.groups * self.kernel * self.kernel
    }

    /// Whether Winograd's filtering applies. With fewer channels the transforms do not pay off.
    fn is_winograd(&self) -> bool {
        let same = self.kernel == 3 && self.stride == 1 && self.padding == 1;
        same && self.c_in.min(self.c_out) >= WINOGRAD_CHANNELS
    }
}

/// Minimum channels for Winograd's filtering.
const WINOGRAD_CHANNELS: usize = 8;

/// View of the weight [c_out, c_in, k, k] for a correlation: as is, or with channels exchanged (and
/// taps reversed), which makes the input gradient a correlation too.
#[derive(Clone, Copy)]
struct Filter<'a, T> {
    w: &'a [T],
    c_in: usize,
    kernel: usize,
    transposed: bool,
}

impl<T: Scalar> Filter<'_, T> {
    /// Weight from input channel `from` to output channel `to` at tap (ky, kx).
    #[inline(always)]
    fn at(&self, to: usize, from: usize, ky: usize, kx: usize) -> T {
        let (co, ci) = if self.transposed { (from, to) } else { (to, from) };
        self.w[((co * self.c_in + ci) * self.kernel + ky) * self.kernel + kx]
    }
}

/// Input and output images of a correlation.
#[derive(Clone, Copy)]
struct Frame {
    channels: usize,
    size: (usize, usize),
    out_channels: usize,
    out: (usize, usize),
}

impl Frame {
    fn image(&self) -> usize {
        self.size.0 * self.size.1 * self.channels
    }

    fn out_image(&self) -> usize {
        self.out.0 * self.out.1 * self.out_channels
    }
}

/// Implementation of a convolution. Tasks are groups of images; scratch memory is per thread.
trait Algorithm<T: Scalar>: Sync {
    /// Images per task of [`Algorithm::correlate`].
    fn group(&self) -> usize;

    /// Packs the weight for the kernel.
    fn pack(&self, filter: Filter<'_, T>) -> Vec<T>;

    /// Scratch values that a task of this many images needs.
    fn scratch(&self, images: usize) -> usize;

    /// FLOPs of a correlation over this many images.
    fn flops(&self, images: usize) -> usize;

    /// Runs a task.
    fn correlate<S: Simd>(&self, simd: S, task: ConvTask<'_, Self, T>);
}

/// Images to correlate with the packed weight.
struct ConvTask<'a, A: ?Sized, T> {
    algorithm: &'a A,
    x: &'a Source<'a, T>,
    /// The first image.
    first: usize,
    weight: &'a [T],
    /// Added to the result.
    add: Option<&'a [T]>,
    scratch: &'a mut [T],
    /// Output of the images; its length determines how many.
    out: &'a mut [T],
}

impl<T: Scalar, A: Algorithm<T>> WithSimd for ConvTask<'_, A, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.algorithm.correlate(simd, self);
    }
}

fn correlate<T: Scalar, A: Algorithm<T>>(
    algorithm: &A,
    frame: &Frame,
    x: &Source<'_, T>,
    filter: Filter<'_, T>,
    add: Option<&[T]>,
    measure: Measure<'_, T>,
    flops: &FlopCount,
) -> (Vec<T>, Option<Moments>) {
    let batch = x.len() / frame.image();
    flops.add(algorithm.flops(batch));
    let weight = algorithm.pack(filter);
    let (image, channels) = (frame.out_image(), frame.out_channels);
    let (group, mut parts) = (algorithm.group(), measure.parts(batch, channels));
    let out = write(batch * image, |out| {
        let outs = out.chunks_mut(group * image);
        let n = outs.len();
        let tasks: Vec<_> = outs.zip(pieces(&mut parts, group * 2 * channels, n)).enumerate().collect();
        tasks.into_par_iter().for_each(|(i, (out, parts))| {
            let first = i * group;
            let add = add.map(|add| &add[first * image..][..out.len()]);
            // Scratch is taken here: code in a closure would not be compiled for the dispatched CPU
            // features.
            with_scratch(algorithm.scratch(out.len() / image), |scratch| {
                arch().dispatch(ConvTask { algorithm, x, first, weight: &weight, add, scratch, out });
            });
            measure.pieces(first, out, image, channels, parts);
        });
    });
    (out, Moments::measured(&parts, channels))
}

pub(crate) fn conv2d<T: Scalar>(
    s: &ConvShape,
    x: &Source<'_, T>,
    w: &[T],
    measure: bool,
    flops: &FlopCount,
) -> (Vec<T>, Option<Moments>) {
    if s.groups > 1 {
        return grouped::conv2d(s, x, w, measure, flops);
    }
    let filter = Filter { w, c_in: s.c_in, kernel: s.kernel, transposed: false };
    let measure = if measure { Measure::Values } else { Measure::Nothing };
    let frame = s.frame();
    if s.is_winograd() {
        correlate(&Winograd::new::<T>(frame), &frame, x, filter, None, measure, flops)
    } else {
        correlate(&Direct::forward::<T>(frame, s.kernel, s.stride, s.padding), &frame, x, filter, None, measure, flops)
    }
}

/// Destination of a convolution's weight gradient, and the input it is computed from.
pub struct WeightGrad<'a, T> {
    /// The convolution's input.
    pub x: &'a Source<'a, T>,
    /// Gradient [c_out, c_in, k, k], or of the live output channels alone.
    pub dw: &'a mut [T],
    /// Output channels whose weight gradients are required, ascending, at least one; `None` for
    /// all.
    pub live: Option<&'a [usize]>,
}

/// Options of a convolution's input gradient.
#[derive(Clone, Copy)]
pub struct InputGrad<'a, T> {
    /// Weight through which the gradient is taken, [c_out, c_in, k, k].
    pub weight: &'a [T],
    /// Added to the result: the gradient contributed by other readers of the input.
    pub add: Option<&'a [T]>,
    /// Measurement taken of the sum.
    pub measure: Measure<'a, T>,
}

pub(crate) fn conv2d_backward<T: Scalar>(
    s: &ConvShape,
    dy: &Source<'_, T>,
    weight: Option<WeightGrad<'_, T>>,
    input: Option<InputGrad<'_, T>>,
    flops: &FlopCount,
) -> Option<(Vec<T>, Option<Moments>)> {
    if let Some(WeightGrad { dw, live, .. }) = &weight {
        let channels = live.map_or(s.c_out, <[usize]>::len);
        assert_eq!(dw.len() * s.c_out, s.weights() * channels, "a weight gradient has the weight's size");
    }
    if s.groups > 1 {
        return grouped::backward(s, dy, weight, input, flops);
    }
    let frame = s.frame();
    let back = Frame { channels: s.c_out, size: frame.out, out_channels: s.c_in, out: frame.size };
    let filter = |w| Filter { w, c_in: s.c_in, kernel: s.kernel, transposed: true };
    match weight {
        Some(weight) if s.is_winograd() => {
            let (forward, back) = (Winograd::new::<T>(frame), Winograd::new::<T>(back));
            let input = input.map(|input| (filter(input.weight), input));
            return winograd::backward((&forward, &back), s.batch, dy, weight, input, flops);
        }
        Some(WeightGrad { x, dw, live: None }) => {
            direct::weight_grad(&Direct::forward::<T>(frame, s.kernel, s.stride, s.padding), s.batch, x, dy, dw, flops);
        }
        Some(WeightGrad { x, dw, live: Some(live) }) => {
            let few = gather(dy, s.c_out, live);
            let frame = Frame { out_channels: live.len(), ..frame };
            let forward = Direct::forward::<T>(frame, s.kernel, s.stride, s.padding);
            direct::weight_grad(&forward, s.batch, x, &Source::Plain(&few), dw, flops);
        }
        None => {}
    }
    input.map(|InputGrad { weight, add, measure }| {
        if s.is_winograd() {
            correlate(&Winograd::new::<T>(back), &back, dy, filter(weight), add, measure, flops)
        } else {
            let direct = Direct::input_grad::<T>(back, s.kernel, s.stride, s.padding);
            correlate(&direct, &back, dy, filter(weight), add, measure, flops)
        }
    })
}

/// Writes a pixel's channels to their positions, plus those of `add`.
#[inline(always)]
fn put<S: Simd, T: Scalar>(
    simd: S,
    value: T::Vector<S>,
    add: Option<&[T]>,
    out: &mut [T],
    place: std::ops::Range<usize>,
) {
    let value = match add {
        Some(add) => T::plus(simd, value, load_some(simd, &add[place.clone()])),
        None => value,
    };
    store_some(simd, value, &mut out[place]);
}

/// Values per task of [`sum_parts`].
const SUMMED: usize = 4096;

/// Sums the parts of `size` values in order.
fn sum_parts<T: Scalar>(mut parts: Vec<T>, size: usize) -> Vec<T> {
    let (total, rest) = parts.split_at_mut(size);
    total.par_chunks_mut(SUMMED).enumerate().for_each(|(i, total)| {
        for part in rest.chunks_exact(size) {
            total.iter_mut().zip(&part[i * SUMMED..]).for_each(|(t, p)| *t += *p);
        }
    });
    parts.truncate(size);
    parts
}
