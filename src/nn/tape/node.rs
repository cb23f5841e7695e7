//! Values of a forward pass.

use std::rc::Rc;

use candle_core::Tensor;
use sharpbench_kernels::{self as kernels, Line, Moments, Source};

use crate::error::Result;
use crate::nn::scalar::Scalar;
use crate::nn::slices::{tensor, with_slice};

/// Batch normalisation that the consumers of a value apply: `scale x + shift` per channel (the last
/// axis), then an optional ReLU.
pub(in crate::nn) struct Normalised {
    pub(in crate::nn) scale: Vec<f64>,
    pub(in crate::nn) shift: Vec<f64>,
    pub(in crate::nn) relu: bool,
}

/// Value in a forward pass, with an optional normalisation applied lazily.
#[derive(Clone)]
pub struct Node {
    /// Value as stored in memory.
    pub(in crate::nn) raw: Tensor,
    pub(in crate::nn) normalised: Option<Rc<Normalised>>,
    /// Per-channel sums of the raw value, if its producer measured them.
    pub(in crate::nn) moments: Option<Rc<Moments>>,
    /// Slot in which its gradient is collected; `None` if the gradient is not required.
    pub(in crate::nn) slot: Option<usize>,
    /// Whether it is identical in both of two passes that share layers.
    pub(in crate::nn) common: bool,
}

impl Node {
    /// Wraps a value stored in memory.
    pub(in crate::nn) fn plain(value: Tensor, slot: Option<usize>) -> Self {
        Self { raw: value, normalised: None, moments: None, slot, common: false }
    }

    /// Shape; images are [batch, h, w, channels].
    pub fn dims(&self) -> &[usize] {
        self.raw.dims()
    }

    /// Materialised value.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn value<T: Scalar>(&self) -> Result<Tensor> {
        match self.normalised {
            None => Ok(self.raw.clone()),
            Some(_) => {
                let channels = self.channels();
                tensor(self.with_source::<T, _>(|x| kernels::values(&x, channels))?, self.dims())
            }
        }
    }

    /// Node with a materialised value.
    pub(in crate::nn) fn written<T: Scalar>(&self) -> Result<Self> {
        match self.normalised {
            None => Ok(self.clone()),
            Some(_) => Ok(Self::plain(self.value::<T>()?, self.slot)),
        }
    }

    /// Length of the last axis.
    pub(in crate::nn) fn channels(&self) -> usize {
        channels(&self.raw)
    }

    /// Runs `f` on the value as a kernel input.
    pub(in crate::nn) fn with_source<T: Scalar, R>(&self, f: impl FnOnce(Source<'_, T>) -> R) -> Result<R> {
        with_slice::<T, _>(&self.raw, |x| match &self.normalised {
            None => f(Source::Plain(x)),
            Some(n) => n.with_line(|line| f(Source::Normalised { x, line, relu: n.relu })),
        })
    }
}

impl Normalised {
    pub(in crate::nn) fn with_line<T: Scalar, R>(&self, f: impl FnOnce(Line<'_, T>) -> R) -> R {
        f(Line { scale: &cast(&self.scale), shift: &cast(&self.shift) })
    }

    /// Runs `f` on the normalisation if a ReLU follows it, which may have blocked values.
    pub(in crate::nn) fn with_gate<T: Scalar, R>(&self, f: impl FnOnce(Option<Line<'_, T>>) -> R) -> R {
        if self.relu { self.with_line(|line| f(Some(line))) } else { f(None) }
    }
}

/// Length of the last axis.
pub(super) fn channels(values: &Tensor) -> usize {
    values.dims().last().copied().unwrap_or(1)
}

/// Converts a normalisation's parameters to the type of the values.
pub(super) fn cast<T: Scalar>(values: &[f64]) -> Vec<T> {
    values.iter().map(|v| T::from_f64(*v)).collect()
}
