//! 2-D convolution on channels-last images [batch, h, w, c] (docs/kernels.md): Winograd's minimal filtering for 3x3
//! kernels of stride 1, direct register-tiled kernels for all others.
//!
//! Inputs are [`Source`]s, so a batch normalisation before or after a convolution costs no pass over memory of its own;
//! outputs can be measured ([`Moments`]) while they are in the cache.

mod direct;
mod winograd;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::moments::{MomentSums, Moments};
use super::scratch::with_scratch;
use super::simd::Scalar;
use super::source::{Line, Source};
use super::write;
use direct::Direct;
use winograd::Winograd;

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

    /// Output width.
    pub(in crate::nn) fn out_width(&self) -> usize {
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

    fn weights(&self) -> usize {
        self.c_out * self.c_in * self.kernel * self.kernel
    }

    fn is_winograd(&self) -> bool {
        self.kernel == 3 && self.stride == 1 && self.c_in >= WINOGRAD_CHANNELS && self.c_out >= WINOGRAD_CHANNELS
    }
}

/// Fewer channels are not worth the transforms.
const WINOGRAD_CHANNELS: usize = 8;

/// The weight [c_out, c_in, k, k] as a correlation reads it: itself, or with the channels exchanged (and the taps in
/// reverse), by which the gradient of the input is a correlation too.
#[derive(Clone, Copy)]
struct Filter<'a, T> {
    w: &'a [T],
    c_in: usize,
    kernel: usize,
    transposed: bool,
}

impl<T: Scalar> Filter<'_, T> {
    /// The weight between channel `from` of what is read and channel `to` of what is written, at tap (ky, kx).
    #[inline(always)]
    fn at(&self, to: usize, from: usize, ky: usize, kx: usize) -> T {
        let (co, ci) = if self.transposed { (from, to) } else { (to, from) };
        self.w[((co * self.c_in + ci) * self.kernel + ky) * self.kernel + kx]
    }
}

/// What is read, how it lies in a zero-padded scratch, and the size of what comes out of a correlation of it.
#[derive(Clone, Copy)]
struct Frame {
    channels: usize,
    size: (usize, usize),
    /// Row and column of the scratch where the first pixel lies; negative: cropped.
    offset: isize,
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

/// How a convolution is computed. Tasks are groups of images; scratch memory is the thread's.
trait Algorithm<T: Scalar>: Sync {
    /// Images of one task of [`Algorithm::correlate`].
    fn group(&self) -> usize;

    /// The weight as the kernel wants it.
    fn pack(&self, filter: Filter<'_, T>) -> Vec<T>;

    /// Values of scratch memory that a task of so many images needs.
    fn scratch(&self, images: usize) -> usize;

    /// Runs a task.
    fn correlate<S: Simd>(&self, simd: S, task: Task<'_, Self, T>);
}

/// Some images to correlate with the packed weight.
struct Task<'a, A: ?Sized, T> {
    algorithm: &'a A,
    x: &'a Source<'a, T>,
    /// The first image.
    first: usize,
    weight: &'a [T],
    /// Added to the result.
    add: Option<&'a [T]>,
    scratch: &'a mut [T],
    /// As many images as this holds.
    out: &'a mut [T],
}

impl<T: Scalar, A: Algorithm<T>> WithSimd for Task<'_, A, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.algorithm.correlate(simd, self);
    }
}

/// What is measured of a correlation's output, image by image: the moments of the values themselves, or of a gradient
/// with the values whose gradient it is.
#[derive(Clone, Copy)]
enum Measure<'a, T> {
    Nothing,
    Values,
    Gradient { x: &'a [T], gate: Option<Line<'a, T>> },
}

fn correlate<T: Scalar, A: Algorithm<T>>(
    algorithm: &A,
    frame: &Frame,
    x: &Source<'_, T>,
    filter: Filter<'_, T>,
    add: Option<&[T]>,
    measure: Measure<'_, T>,
) -> (Vec<T>, Option<Moments>) {
    let batch = x.len() / frame.image();
    let weight = algorithm.pack(filter);
    let (image, channels) = (frame.out_image(), frame.out_channels);
    let group = algorithm.group();
    let mut parts = match measure {
        Measure::Nothing => Vec::new(),
        Measure::Values | Measure::Gradient { .. } => vec![0.0; batch * 2 * channels],
    };
    let run = |first: usize, out: &mut [T], parts: &mut [f64]| {
        let range = first * image..first * image + out.len();
        let add = add.map(|add| &add[range.clone()]);
        // Scratch is found here: code in a closure would not be compiled for the CPU that the dispatch finds.
        with_scratch(algorithm.scratch(out.len() / image), |scratch| {
            Arch::new().dispatch(Task { algorithm, x, first, weight: &weight, add, scratch, out });
        });
        for (i, (sums, out)) in parts.chunks_mut(2 * channels).zip(out.chunks(image)).enumerate() {
            let (b, gate) = match measure {
                Measure::Gradient { x, gate } => (&x[(first + i) * image..][..image], gate),
                Measure::Nothing | Measure::Values => (out, None),
            };
            Arch::new().dispatch(MomentSums { a: out, b, gate, sums });
        }
    };
    let out = write(batch * image, |out| {
        let outs = out.par_chunks_mut(group * image).enumerate();
        if parts.is_empty() {
            outs.for_each(|(i, out)| run(i * group, out, &mut []));
        } else {
            outs.zip(parts.par_chunks_mut(group * 2 * channels))
                .for_each(|((i, out), parts)| run(i * group, out, parts));
        }
    });
    let moments = (!parts.is_empty()).then(|| Moments::sum(&parts, channels));
    (out, moments)
}

/// `x` [batch, h, w, c_in], `w` [c_out, c_in, k, k] -> [batch, oh, ow, c_out], and its moments if they are asked for.
pub(in crate::nn) fn conv2d<T: Scalar>(
    s: &ConvShape,
    x: &Source<'_, T>,
    w: &[T],
    measure: bool,
) -> (Vec<T>, Option<Moments>) {
    let frame = Frame {
        channels: s.c_in,
        size: (s.height, s.width),
        offset: s.padding as isize,
        out_channels: s.c_out,
        out: (s.out_height(), s.out_width()),
    };
    let filter = Filter { w, c_in: s.c_in, kernel: s.kernel, transposed: false };
    let measure = if measure { Measure::Values } else { Measure::Nothing };
    if s.is_winograd() {
        let winograd = Winograd::new::<T>(frame);
        winograd.count_correlation(s.batch);
        correlate(&winograd, &frame, x, filter, None, measure)
    } else {
        let direct = Direct::forward::<T>(frame, s.kernel, s.stride);
        direct.count(s.batch);
        correlate(&direct, &frame, x, filter, None, measure)
    }
}

/// The gradient of the input, [batch, h, w, c_in], from `dy` [batch, oh, ow, c_out]: the dilated, padded dy correlated
/// with the flipped, transposed weight. `add` is added to it. With `x` given, the values before a normalisation whose
/// output the convolution read, the sum is measured with it.
pub(in crate::nn) fn conv2d_input_grad<T: Scalar>(
    s: &ConvShape,
    dy: &Source<'_, T>,
    w: &[T],
    add: Option<&[T]>,
    x: Option<(&[T], Option<Line<'_, T>>)>,
) -> (Vec<T>, Option<Moments>) {
    let frame = Frame {
        channels: s.c_out,
        size: (s.out_height(), s.out_width()),
        offset: (s.kernel - 1) as isize - s.padding as isize,
        out_channels: s.c_in,
        out: (s.height, s.width),
    };
    let filter = Filter { w, c_in: s.c_in, kernel: s.kernel, transposed: true };
    let measure = x.map_or(Measure::Nothing, |(x, gate)| Measure::Gradient { x, gate });
    if s.is_winograd() {
        let winograd = Winograd::new::<T>(frame);
        winograd.count_correlation(s.batch);
        correlate(&winograd, &frame, dy, filter, add, measure)
    } else {
        let direct = Direct::input_grad::<T>(frame, s.kernel, s.stride, s.padding);
        direct.count(s.batch);
        correlate(&direct, &frame, dy, filter, add, measure)
    }
}

/// The gradient of the weight, `dw` [c_out, c_in, k, k], summed over the batch in a fixed order.
pub(in crate::nn) fn conv2d_weight_grad<T: Scalar>(s: &ConvShape, x: &Source<'_, T>, dy: &Source<'_, T>, dw: &mut [T]) {
    assert_eq!(dw.len(), s.weights(), "a weight gradient has the weight's size");
    let frame = Frame {
        channels: s.c_in,
        size: (s.height, s.width),
        offset: s.padding as isize,
        out_channels: s.c_out,
        out: (s.out_height(), s.out_width()),
    };
    if s.is_winograd() {
        winograd::weight_grad(&Winograd::new::<T>(frame), s.batch, x, dy, dw);
    } else {
        direct::weight_grad(&Direct::forward::<T>(frame, s.kernel, s.stride), s.batch, x, dy, dw);
    }
}
