//! Gradients in a backward pass: those of single values, and the collection of all of them.

use std::rc::Rc;

use candle_core::Tensor;
use rayon::prelude::*;
use sharpbench_kernels::{self as kernels, FlopCount, Moments, Source};

use super::node::{Normalised, cast, channels};
use crate::error::{Error, Result};
use crate::nn::params::{ByParam, ParamId};
use crate::nn::plan::{BackwardPlan, Owed};
use crate::nn::scalar::Scalar;
use crate::nn::slices::{tensor, with_slice};
use crate::nn::weights::Weights;

/// Samples whose squared gradients one task sums, fixed so that the summation order never depends
/// on the number of threads.
const SAMPLES: usize = 16;

/// Gradient of a value, perhaps still to be propagated through a batch normalisation.
#[derive(Clone)]
pub(in crate::nn) struct Gradient {
    pub(in crate::nn) raw: Tensor,
    /// Per-channel sums with the raw value whose normalised value this is the gradient of, ReLU
    /// applied.
    pub(in crate::nn) moments: Option<Moments>,
    pub(in crate::nn) through: Option<Rc<Through>>,
}

/// Backward map of a batch normalisation: `a d + b x + c` per channel, where d is the gradient, or
/// 0 where the normalisation's ReLU blocked the value.
pub(in crate::nn) struct Through {
    pub(in crate::nn) x: Tensor,
    pub(in crate::nn) normalised: Rc<Normalised>,
    pub(in crate::nn) terms: [Vec<f64>; 3],
}

/// Backward function of a layer, from its output's gradient to those of its inputs and parameters.
pub(in crate::nn) type Backward = Box<dyn FnOnce(Gradient, &mut Gradients<'_>) -> Result<()>>;

/// Gradients of a backward pass: those of values by slot, those of parameters in one flat vector.
pub(in crate::nn) struct Gradients<'a> {
    /// Weights of the pass.
    pub(in crate::nn) weights: Weights<'a>,
    /// Weights of convolutions and linear layers through which input gradients are taken.
    pub(in crate::nn) input_weights: Weights<'a>,
    /// Whether values are on a device.
    pub(super) on_device: bool,
    pub(super) plan: Option<&'a BackwardPlan>,
    pub(super) slots: Vec<Option<Gradient>>,
    /// Bytes of the flat gradient, and which parameters have been written.
    pub(super) flat: &'a mut [u8],
    pub(super) written: ByParam<bool>,
    /// Number of samples, if sums of squared per-sample gradients are required instead of the
    /// gradient.
    pub(super) by_sample: Option<usize>,
    /// FLOP counter of the pass.
    pub(in crate::nn) flops: FlopCount,
}

/// One of the equal parts of a batch: the whole batch or a sample.
#[derive(Clone, Copy)]
pub(in crate::nn) struct BatchPart {
    index: usize,
    of: usize,
}

impl BatchPart {
    /// Values of this part; the batch is the first axis.
    pub(in crate::nn) fn values<'v, T>(&self, values: &'v [T]) -> &'v [T] {
        let size = values.len() / self.of;
        &values[self.index * size..][..size]
    }

    /// This part of a kernel input.
    pub(in crate::nn) fn source<'v, T: Scalar>(&self, source: &Source<'v, T>) -> Source<'v, T> {
        source.part(self.index, self.of)
    }
}

impl Gradient {
    /// Wraps a gradient stored in memory.
    pub(in crate::nn) fn plain(raw: Tensor) -> Self {
        Self { raw, moments: None, through: None }
    }

    /// Runs `f` on the gradient as a kernel input.
    pub(in crate::nn) fn with_source<T: Scalar, R>(&self, f: impl FnOnce(Source<'_, T>) -> R) -> Result<R> {
        with_slice::<T, _>(&self.raw, |dy| match &self.through {
            None => Ok(f(Source::Plain(dy))),
            Some(through) => with_slice::<T, _>(&through.x, |x| {
                let [a, b, c] = through.terms.each_ref().map(|term| cast(term));
                through.normalised.with_gate(|gate| f(Source::Gradient { dy, x, gate, terms: [&a, &b, &c] }))
            }),
        })?
    }

    /// Materialised gradient with its per-channel sums with `x`, whose normalised value it is the
    /// gradient of. Reuses the sums if already measured.
    pub(in crate::nn) fn measured<T: Scalar>(self, x: &Tensor, seen: &Normalised) -> Result<(Tensor, Moments)> {
        let dy = self.value::<T>()?;
        let moments = match self.moments {
            Some(moments) => moments,
            None => with_slice::<T, _>(x, |x| {
                let channels = seen.scale.len();
                with_slice(&dy, |dy| seen.with_gate(|gate| kernels::gradient_moments(dy, x, channels, gate)))
            })??,
        };
        Ok((dy, moments))
    }

    /// Materialised gradient.
    pub(in crate::nn) fn value<T: Scalar>(&self) -> Result<Tensor> {
        if self.through.is_none() {
            return Ok(self.raw.clone());
        }
        let channels = channels(&self.raw);
        tensor(self.with_source::<T, _>(|dy| kernels::values(&dy, channels))?, self.raw.dims())
    }
}

impl<'a> Gradients<'a> {
    /// Required part of a parameter's gradient.
    fn owed(&self, id: ParamId) -> &'a Owed {
        self.plan.map_or(&Owed::Everything, |plan| plan.owed(id))
    }

    /// Adds to the gradient of the value with this slot. The first contribution is moved in, not
    /// added to zeros.
    pub(in crate::nn) fn add<T: Scalar>(&mut self, slot: Option<usize>, grad: Gradient) -> Result<()> {
        let Some(slot) = slot else { return Ok(()) };
        let sum = match self.slots[slot].take() {
            None => grad,
            Some(other) if self.on_device => Gradient::plain((other.raw + grad.raw)?),
            Some(other) => {
                let (a, b) = (other.value::<T>()?, grad.value::<T>()?);
                let sum = with_slice::<T, _>(&a, |a| with_slice(&b, |b| kernels::add(a, b)))??;
                let moments = other.moments.zip(grad.moments).map(|(a, b)| a.plus(&b));
                Gradient { moments, ..Gradient::plain(tensor(sum, a.dims())?) }
            }
        };
        self.slots[slot] = Some(sum);
        Ok(())
    }

    /// Takes what has been collected for a value, for a layer that adds its own contribution and
    /// puts the sum back.
    pub(in crate::nn) fn take(&mut self, slot: Option<usize>) -> Option<Gradient> {
        self.slots[slot?].take()
    }

    /// Whether per-sample gradients are required.
    pub(in crate::nn) fn is_by_sample(&self) -> bool {
        self.by_sample.is_some()
    }

    /// Lets `f` write a parameter's gradient over a part of the batch: the whole batch, or each
    /// sample.
    pub(in crate::nn) fn param<T: Scalar>(
        &mut self,
        id: ParamId,
        f: impl Fn(BatchPart, &mut [T]) + Sync,
    ) -> Result<()> {
        let Some(samples) = self.by_sample else {
            return self.param_whole(id, |grad| {
                f(BatchPart { index: 0, of: 1 }, grad);
                Ok(())
            });
        };
        if std::mem::replace(&mut self.written[id], true) {
            return Err(Error::Usage("a parameter that is used twice has no gradient by sample".into()));
        }
        let place = self.place::<T>(id);
        let indices: Vec<usize> = (0..samples).collect();
        let sums = indices.par_chunks(SAMPLES).map(|indices| {
            let [mut sum, mut grad] = [(); 2].map(|()| vec![T::zero(); place.len()]);
            for index in indices {
                f(BatchPart { index: *index, of: samples }, &mut grad);
                kernels::accumulate_squares(&mut sum, &grad);
            }
            sum
        });
        for sum in sums.collect::<Vec<_>>() {
            kernels::accumulate(place, &sum);
        }
        Ok(())
    }

    /// Adds a gradient that was summed over the batch in f64 to a parameter's gradient.
    pub(in crate::nn) fn add_param<T: Scalar>(&mut self, id: ParamId, grad: &[f64]) -> Result<()> {
        debug_assert!(self.by_sample.is_none(), "sums over the batch are no squares of samples");
        self.param_whole::<T>(id, |place| {
            round(grad, place);
            Ok(())
        })
    }

    /// Lets `f` write a parameter's gradient over the batch, if it is required. A second gradient
    /// of the same parameter is added.
    pub(in crate::nn) fn param_whole<T: Scalar>(
        &mut self,
        id: ParamId,
        f: impl FnOnce(&mut [T]) -> Result<()>,
    ) -> Result<()> {
        if *self.owed(id) == Owed::Nothing {
            return Ok(());
        }
        let more = std::mem::replace(&mut self.written[id], true);
        let place = self.place::<T>(id);
        if more {
            let mut more = vec![T::zero(); place.len()];
            f(&mut more)?;
            kernels::accumulate(place, &more);
            Ok(())
        } else {
            f(place)
        }
    }

    /// Lets `f` write the gradient of a parameter whose first axis is output channels: of all of
    /// them, or only of the given ones, in order. The gradient of the others is zero.
    pub(in crate::nn) fn param_channels<T: Scalar>(
        &mut self,
        id: ParamId,
        f: impl FnOnce(Option<&[usize]>, &mut [T]) -> Result<()>,
    ) -> Result<()> {
        let Owed::Channels(live) = self.owed(id) else { return self.param_whole(id, |grad| f(None, grad)) };
        let channels = self.weights.layout().spec(id).shape[0];
        self.param_whole(id, |grad| {
            let channel = grad.len() / channels;
            let mut gathered = vec![T::zero(); live.len() * channel];
            f(Some(live), &mut gathered)?;
            kernels::clear(grad);
            for (c, from) in live.iter().zip(gathered.chunks_exact(channel)) {
                grad[c * channel..][..channel].copy_from_slice(from);
            }
            Ok(())
        })
    }

    /// Fills gradients that are not required with zeros.
    ///
    /// # Errors
    /// Names a parameter whose gradient is required and was not written.
    pub(super) fn finish<T: Scalar>(&mut self) -> Result<()> {
        for spec in self.weights.layout().specs() {
            if !self.written[spec.id] {
                if *self.owed(spec.id) != Owed::Nothing {
                    return Err(Error::Usage(format!("parameter {} received no gradient", spec.name)));
                }
                kernels::clear(self.place::<T>(spec.id));
            }
        }
        Ok(())
    }

    /// Memory for a parameter's gradient.
    fn place<T: Scalar>(&mut self, id: ParamId) -> &mut [T] {
        let flat: &mut [T] = bytemuck::cast_slice_mut(self.flat);
        &mut flat[self.weights.layout().spec(id).range()]
    }
}

/// Rounds and writes sums taken in f64.
pub(in crate::nn) fn round<T: Scalar>(sums: &[f64], place: &mut [T]) {
    place.iter_mut().zip(sums).for_each(|(place, sum)| *place = T::from_f64(*sum));
}
