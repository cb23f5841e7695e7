//! Kernel inputs: values as stored in memory, or with a batch normalisation applied on the fly, so
//! that normalised activations and their gradients are never written to memory.

use std::ops::Range;

use pulp::Simd;

use super::simd::{Scalar, load_some, store_some};

/// Per-channel line `scale x + shift`.
#[derive(Clone, Copy)]
pub struct Line<'a, T> {
    /// Per-channel factors.
    pub scale: &'a [T],
    /// Per-channel terms.
    pub shift: &'a [T],
}

impl<T: Scalar> Line<'_, T> {
    /// Scale and shift of the channels of one vector.
    #[inline(always)]
    pub(super) fn load<S: Simd>(&self, simd: S, channels: Range<usize>) -> [T::Vector<S>; 2] {
        [load_some(simd, &self.scale[channels.clone()]), load_some(simd, &self.shift[channels])]
    }
}

/// Returns `d` where the ReLU after the normalisation `gate` of x passed the value, else 0; `d`
/// without a ReLU.
#[inline(always)]
pub(super) fn through_gate<S: Simd, T: Scalar>(
    simd: S,
    gate: Option<[T::Vector<S>; 2]>,
    x: T::Vector<S>,
    d: T::Vector<S>,
) -> T::Vector<S> {
    match gate {
        Some([scale, shift]) => T::where_positive(simd, T::mul_add(simd, x, scale, shift), d),
        None => d,
    }
}

/// Channels-last values [pixels, channels] to read.
#[derive(Clone, Copy)]
pub enum Source<'a, T> {
    /// Values as stored.
    Plain(&'a [T]),
    /// `scale x + shift`, then an optional ReLU.
    Normalised {
        /// Values to normalise.
        x: &'a [T],
        /// Per-channel scale and shift.
        line: Line<'a, T>,
        /// Whether a ReLU follows.
        relu: bool,
    },
    /// Input gradient of a batch normalisation, `a d + b x + c`, where d is `dy`, or 0 where the
    /// ReLU after the normalisation blocked the value.
    Gradient {
        /// Gradient of the normalised value (after the ReLU, if any).
        dy: &'a [T],
        /// Values before the normalisation.
        x: &'a [T],
        /// The normalisation, if a ReLU follows it.
        gate: Option<Line<'a, T>>,
        /// Per-channel [a, b, c].
        terms: [&'a [T]; 3],
    },
}

impl<'a, T: Scalar> Source<'a, T> {
    /// Number of values.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Plain(x) | Self::Normalised { x, .. } | Self::Gradient { x, .. } => x.len(),
        }
    }

    /// Part `index` of `of` equal parts.
    pub fn part(&self, index: usize, of: usize) -> Self {
        let size = self.len() / of;
        let range = index * size..(index + 1) * size;
        match *self {
            Self::Plain(x) => Self::Plain(&x[range]),
            Self::Normalised { x, line, relu } => Self::Normalised { x: &x[range], line, relu },
            Self::Gradient { dy, x, gate, terms } => {
                Self::Gradient { dy: &dy[range.clone()], x: &x[range], gate, terms }
            }
        }
    }

    /// Writes `pixels` pixels, starting at value `first`, to `out`, `stride` values apart.
    #[inline(always)]
    pub(super) fn read<S: Simd>(
        &self,
        simd: S,
        (first, pixels, channels): (usize, usize, usize),
        out: &mut [T],
        stride: usize,
    ) {
        let range = first..first + pixels * channels;
        match *self {
            Self::Plain(x) => {
                let x = &x[range];
                if stride == channels {
                    out[..x.len()].copy_from_slice(x);
                } else {
                    for (out, x) in out.chunks_mut(stride).zip(x.chunks_exact(channels)) {
                        out[..channels].copy_from_slice(x);
                    }
                }
            }
            Self::Normalised { x, line, relu } => {
                let x = &x[range];
                for c in vectors::<S, T>(channels) {
                    let [scale, shift] = line.load(simd, c.clone());
                    for (x, out) in x.chunks_exact(channels).zip(out.chunks_mut(stride)) {
                        let y = T::mul_add(simd, load_some(simd, &x[c.clone()]), scale, shift);
                        let y = if relu { T::positive_part(simd, y) } else { y };
                        store_some(simd, y, &mut out[c.clone()]);
                    }
                }
            }
            Self::Gradient { dy, x, gate, terms } => {
                let (x, dy) = (&x[range.clone()], &dy[range]);
                for c in vectors::<S, T>(channels) {
                    let [a, b, shift] = terms.map(|term| load_some(simd, &term[c.clone()]));
                    let gate = gate.map(|gate| gate.load(simd, c.clone()));
                    let pixels = x.chunks_exact(channels).zip(dy.chunks_exact(channels));
                    for ((x, d), out) in pixels.zip(out.chunks_mut(stride)) {
                        let (x, d) = (load_some(simd, &x[c.clone()]), load_some(simd, &d[c.clone()]));
                        let d = through_gate::<S, T>(simd, gate, x, d);
                        let dx = T::mul_add(simd, a, d, T::mul_add(simd, b, x, shift));
                        store_some(simd, dx, &mut out[c.clone()]);
                    }
                }
            }
        }
    }
}

/// Channels of each vector; the last may be shorter.
#[inline(always)]
pub(super) fn vectors<S: Simd, T: Scalar>(channels: usize) -> impl Iterator<Item = Range<usize>> {
    let lanes = T::lanes::<S>();
    (0..channels).step_by(lanes).map(move |first| first..(first + lanes).min(channels))
}
