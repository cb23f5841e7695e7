//! The tape: what a forward pass records so that a backward pass can follow.

use std::collections::VecDeque;
use std::rc::Rc;

use candle_core::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sharpbench_kernels::{self as kernels, FlopCount, Line, Moments, Source};

use super::objective::Loss;
use super::params::{ParamId, RunningId, RunningStats, Weights};
use super::plan::{BackwardPlan, Owed};
use super::prefix::{Kept, Prefix, Sharing};
use super::scalar::Scalar;
use super::slices::{tensor, with_slice};
use crate::error::{Error, Result};

/// Which statistics BatchNorm uses, and whether it learns from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchNormMode {
    /// Batch statistics, folded into the running ones (the papers' choice in both of SAM's passes).
    Update,
    /// Batch statistics, running ones untouched.
    Freeze,
    /// Running statistics.
    Eval,
}

/// A batch normalisation that readers of a value work out: `scale x + shift` by channel (the last axis), then ReLU if
/// there is one.
pub(super) struct Normalised {
    pub(super) scale: Vec<f64>,
    pub(super) shift: Vec<f64>,
    pub(super) relu: bool,
}

/// A value in a forward pass, perhaps seen through a normalisation.
#[derive(Clone)]
pub struct Node {
    /// What is in memory.
    pub(super) raw: Tensor,
    pub(super) normalised: Option<Rc<Normalised>>,
    /// Sums of the raw value by channel, where its maker took them.
    pub(super) moments: Option<Rc<Moments>>,
    /// Where its gradient is collected; none means nobody needs it.
    pub(super) slot: Option<usize>,
    /// Whether it is the same in the other of two passes that share layers.
    pub(super) common: bool,
}

/// The gradient of a value, perhaps still to be taken through a batch normalisation.
#[derive(Clone)]
pub(super) struct Gradient {
    pub(super) raw: Tensor,
    /// Sums by channel with the raw value whose normalised value this is the gradient of, ReLU applied.
    pub(super) moments: Option<Moments>,
    pub(super) through: Option<Rc<Through>>,
}

/// The way of a gradient through a batch normalisation: `a d + b x + c` by channel, d being the gradient, or 0 where the
/// normalisation's ReLU stopped the value.
pub(super) struct Through {
    pub(super) x: Tensor,
    pub(super) normalised: Rc<Normalised>,
    pub(super) terms: [Vec<f64>; 3],
}

pub(super) type Backward = Box<dyn FnOnce(Gradient, &mut Gradients<'_>) -> Result<()>>;

/// One forward pass through a model, with everything a layer may ask for.
pub struct Pass<'a> {
    /// The weights to use: the model's own, or perturbed ones.
    pub weights: Weights<'a>,
    /// Running statistics, read in evaluation and written under [`BatchNormMode::Update`].
    pub running: &'a mut RunningStats,
    /// What BatchNorm does.
    pub batch_norm: BatchNormMode,
    /// Where dropout draws from.
    pub(super) dropout: Option<ChaCha8Rng>,
    /// The samples of a batch that this pass is of, and how many the batch has, where it is of a part.
    pub(super) samples: Option<(&'a [usize], usize)>,
    /// Where candle's operations compute; where there is none, our kernels do, on the CPU.
    pub(super) device: Option<&'a Device>,
    /// What the backward pass owes; all gradients where there is none.
    plan: Option<&'a BackwardPlan>,
    /// The weights through which gradients of inputs are taken, where these are others.
    input_weights: Option<Weights<'a>>,
    tape: Option<Vec<(usize, Backward)>>,
    slots: usize,
    sharing: Sharing,
    /// The layer that is being kept, if one is.
    keeping: Option<Keeping>,
    /// Counts the FLOPs of the pass, there and back.
    pub(super) flops: FlopCount,
}

/// What a layer does while it is kept.
#[derive(Default)]
struct Keeping {
    backward: Option<(usize, Backward)>,
    learned: Option<(RunningId, Vec<[f32; 2]>)>,
}

/// Gradients on their way back: of values by slot, of parameters in one flat vector.
pub(super) struct Gradients<'a> {
    /// The weights of the pass.
    pub(super) weights: Weights<'a>,
    /// The weights of convolutions and linear layers through which gradients of their inputs are taken.
    pub(super) input_weights: Weights<'a>,
    /// Whether values are on a device.
    on_device: bool,
    plan: Option<&'a BackwardPlan>,
    slots: Vec<Option<Gradient>>,
    /// The flat gradient's bytes, and which parameters have theirs.
    flat: &'a mut [u8],
    written: Vec<bool>,
    /// Samples of the batch, where sums of squares of their own gradients are wanted in place of the gradient.
    by_sample: Option<usize>,
    /// Counts the FLOPs of the pass.
    pub(super) flops: FlopCount,
}

/// One of equal parts of a batch: the whole of it, or a sample.
#[derive(Clone, Copy)]
pub(super) struct Part {
    index: usize,
    of: usize,
}

impl Part {
    /// The values of this part, the batch being the first axis.
    pub(super) fn values<'v, T>(&self, values: &'v [T]) -> &'v [T] {
        let size = values.len() / self.of;
        &values[self.index * size..][..size]
    }

    /// The same of what a kernel reads.
    pub(super) fn source<'v, T: Scalar>(&self, source: &Source<'v, T>) -> Source<'v, T> {
        source.part(self.index, self.of)
    }
}

/// Samples whose squared gradients one task sums. Fixed, so that the order of sums never depends on threads.
const SAMPLES: usize = 16;

impl Node {
    /// A value that is what is in memory.
    pub(super) fn plain(value: Tensor, slot: Option<usize>) -> Self {
        Self { raw: value, normalised: None, moments: None, slot, common: false }
    }

    /// Its shape; images are [batch, h, w, channels].
    pub fn dims(&self) -> &[usize] {
        self.raw.dims()
    }

    /// The value.
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

    /// The same value as what is in memory: one that is seen through a normalisation is written out.
    pub(super) fn written<T: Scalar>(&self) -> Result<Self> {
        match self.normalised {
            None => Ok(self.clone()),
            Some(_) => Ok(Self::plain(self.value::<T>()?, self.slot)),
        }
    }

    /// Length of the last axis.
    pub(super) fn channels(&self) -> usize {
        channels(&self.raw)
    }

    /// Runs `f` on the value as kernels read it.
    pub(super) fn with_source<T: Scalar, R>(&self, f: impl FnOnce(Source<'_, T>) -> R) -> Result<R> {
        with_slice::<T, _>(&self.raw, |x| match &self.normalised {
            None => f(Source::Plain(x)),
            Some(n) => n.with_line(|line| f(Source::Normalised { x, line, relu: n.relu })),
        })
    }
}

impl Normalised {
    pub(super) fn with_line<T: Scalar, R>(&self, f: impl FnOnce(Line<'_, T>) -> R) -> R {
        f(Line { scale: &cast(&self.scale), shift: &cast(&self.shift) })
    }

    /// The same, where there is a ReLU that may have stopped values.
    pub(super) fn with_gate<T: Scalar, R>(&self, f: impl FnOnce(Option<Line<'_, T>>) -> R) -> R {
        if self.relu { self.with_line(|line| f(Some(line))) } else { f(None) }
    }
}

/// Writes sums taken in f64.
pub(super) fn round<T: Scalar>(sums: &[f64], place: &mut [T]) {
    place.iter_mut().zip(sums).for_each(|(place, sum)| *place = T::from_f64(*sum));
}

/// Length of the last axis.
fn channels(values: &Tensor) -> usize {
    values.dims().last().copied().unwrap_or(1)
}

fn cast<T: Scalar>(values: &[f64]) -> Vec<T> {
    values.iter().map(|v| T::from_f64(*v)).collect()
}

impl Gradient {
    /// A gradient that is what is in memory.
    pub(super) fn plain(raw: Tensor) -> Self {
        Self { raw, moments: None, through: None }
    }

    /// Runs `f` on the gradient as kernels read it.
    pub(super) fn with_source<T: Scalar, R>(&self, f: impl FnOnce(Source<'_, T>) -> R) -> Result<R> {
        with_slice::<T, _>(&self.raw, |dy| match &self.through {
            None => Ok(f(Source::Plain(dy))),
            Some(through) => with_slice::<T, _>(&through.x, |x| {
                let [a, b, c] = through.terms.each_ref().map(|term| cast(term));
                through.normalised.with_gate(|gate| f(Source::Gradient { dy, x, gate, terms: [&a, &b, &c] }))
            }),
        })?
    }

    /// The same gradient written out, with its sums by channel with the value `x` whose normalised value it is of: those
    /// its maker took, or taken here.
    pub(super) fn measured<T: Scalar>(self, x: &Tensor, seen: &Normalised) -> Result<(Tensor, Moments)> {
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

    /// The gradient, written out where it is not.
    pub(super) fn value<T: Scalar>(&self) -> Result<Tensor> {
        if self.through.is_none() {
            return Ok(self.raw.clone());
        }
        let channels = channels(&self.raw);
        tensor(self.with_source::<T, _>(|dy| kernels::values(&dy, channels))?, self.raw.dims())
    }
}

impl<'a> Pass<'a> {
    /// A pass that can be followed by [`Pass::backward`].
    pub fn training(weights: Weights<'a>, running: &'a mut RunningStats, batch_norm: BatchNormMode) -> Self {
        Self {
            weights,
            running,
            batch_norm,
            dropout: None,
            samples: None,
            device: None,
            plan: None,
            input_weights: None,
            tape: Some(Vec::new()),
            slots: 0,
            sharing: Sharing::Nothing,
            keeping: None,
            flops: FlopCount::default(),
        }
    }

    /// A pass that records nothing, in evaluation mode.
    pub fn evaluation(weights: Weights<'a>, running: &'a mut RunningStats) -> Self {
        let training = Self::training(weights, running, BatchNormMode::Eval);
        Self { tape: None, ..training }
    }

    /// The same pass, of these samples of a batch of `of`: dropout leaves out of each what it would in the whole batch.
    pub fn with_samples(self, samples: Option<&'a [usize]>, of: usize) -> Self {
        Self { samples: samples.map(|samples| (samples, of)), ..self }
    }

    /// The same pass, computed by candle's operations on `device`, where one is given.
    pub fn on(self, device: Option<&'a Device>) -> Self {
        Self { device, ..self }
    }

    /// Adds the FLOPs that the pass executes, there and back, to `flops`.
    pub fn counting(self, flops: &FlopCount) -> Self {
        Self { flops: flops.clone(), ..self }
    }

    /// The same pass without a way back, for losses alone.
    pub fn without_tape(self) -> Self {
        Self { tape: None, ..self }
    }

    /// The same pass, whose backward pass computes what `plan` owes and nothing else.
    pub fn with_plan(self, plan: Option<&'a BackwardPlan>) -> Self {
        Self { plan, ..self }
    }

    /// The same pass, in whose backward pass convolutions and linear layers take the gradient of their input through
    /// `weights` (of the same layout): implicit sparse SAM's masked ones.
    pub fn with_input_weights(self, weights: Option<Weights<'a>>) -> Self {
        Self { input_weights: weights, ..self }
    }

    /// The same pass, which keeps the layers that depend on no parameter of which its plan owes anything, for a pass over the
    /// same samples that owes everything, with weights that differ from its own in those parameters alone.
    pub fn keeping_prefix(self) -> Self {
        let Some(plan) = self.plan else { return self };
        let common = plan.owes_nothing();
        Self { sharing: Sharing::Keep(Prefix { layers: VecDeque::new(), common, slots: 0 }), ..self }
    }

    /// What was kept, once the loss is there.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn take_prefix(&mut self) -> Result<Option<Prefix>> {
        match std::mem::replace(&mut self.sharing, Sharing::Nothing) {
            Sharing::Keep(prefix) => Ok(Some(Prefix { slots: self.slots, ..prefix.without_unread()? })),
            Sharing::Nothing | Sharing::Take(_) => Ok(None),
        }
    }

    /// The same pass, which takes what another kept.
    pub fn with_prefix(self, prefix: Option<Prefix>) -> Self {
        let Some(prefix) = prefix else { return self };
        Self { slots: prefix.slots, sharing: Sharing::Take(prefix), ..self }
    }

    /// The same pass with a stream that dropout draws from.
    pub fn with_dropout(self, stream: Option<ChaCha8Rng>) -> Self {
        Self { dropout: stream, ..self }
    }

    /// Whether dropout is off: in evaluation, and for gradients in evaluation mode.
    pub(super) fn is_evaluation(&self) -> bool {
        self.batch_norm == BatchNormMode::Eval
    }

    /// Takes an input, whose own gradient nobody needs, to where the pass computes.
    ///
    /// # Errors
    /// When the device cannot hold it.
    pub fn input(&self, value: Tensor) -> Result<Node> {
        let value = self.device.map_or_else(|| Ok(value.clone()), |device| value.to_device(device))?;
        Ok(Node { common: true, ..Node::plain(value, None) })
    }

    /// Whether the backward pass owes any of a parameter's gradient; that of the other pass, while a layer is kept for it.
    pub(super) fn owes(&self, id: ParamId) -> bool {
        let owed = |plan: &BackwardPlan| self.keeping.is_some() || *plan.owed(id) != Owed::Nothing;
        self.tape.is_some() && self.plan.is_none_or(owed)
    }

    /// Computes a layer that reads `inputs` and `params`, or takes it from the pass that kept it.
    pub(super) fn layer<const N: usize>(
        &mut self,
        inputs: [&Node; N],
        params: &[ParamId],
        run: impl FnOnce([&Node; N], &mut Self) -> Result<Node>,
    ) -> Result<Node> {
        let common = inputs.iter().all(|x| x.common) && self.sharing.is_common(params);
        match &mut self.sharing {
            Sharing::Take(prefix) if common => {
                let kept = prefix.layers.pop_front();
                self.take(
                    kept.ok_or_else(|| Error::Usage("two passes that share layers are of different models".into()))?,
                )
            }
            Sharing::Keep(_) if common => {
                self.keeping = Some(Keeping::default());
                let node = run(inputs, self);
                let Keeping { backward, learned } = self.keeping.take().unwrap_or_default();
                let node = Node { common: true, ..node? };
                if let Sharing::Keep(prefix) = &mut self.sharing {
                    let (node, dropout) = (node.clone(), self.dropout.clone());
                    prefix.layers.push_back(Kept { node, read: false, backward, learned, dropout });
                }
                Ok(node)
            }
            // Nobody goes back into what is kept: that is for the other pass.
            Sharing::Keep(prefix) => {
                prefix.mark_read(&inputs);
                let cut = inputs.map(|x| Node { slot: x.slot.filter(|_| !x.common), ..x.clone() });
                run(cut.each_ref(), self)
            }
            Sharing::Nothing | Sharing::Take(_) => run(inputs, self),
        }
    }

    /// A kept layer, with all that computing it would have done beside.
    fn take(&mut self, Kept { node, backward, learned, dropout, .. }: Kept) -> Result<Node> {
        if let (Some(tape), Some(backward)) = (&mut self.tape, backward) {
            tape.push(backward);
        }
        if let Some((id, statistics)) = learned {
            self.learn(id, statistics);
        }
        self.dropout = dropout;
        Ok(node)
    }

    /// Learns running statistics from means and unbiased variances of a batch, where the pass is to.
    pub(super) fn learn(&mut self, id: RunningId, statistics: Vec<[f32; 2]>) {
        if self.batch_norm == BatchNormMode::Update {
            self.running.learn(id, &statistics);
        }
        if let Some(keeping) = &mut self.keeping {
            keeping.learned = Some((id, statistics));
        }
    }

    /// Layers recorded so far.
    #[cfg(test)]
    pub(super) fn recorded(&self) -> usize {
        self.slots
    }

    /// Records the output of a layer that reads `inputs` and `params`, and how to go back from its gradient; nothing, where
    /// that gradient would be of use to nobody.
    pub(super) fn record(
        &mut self,
        value: Tensor,
        inputs: &[&Node],
        params: &[ParamId],
        backward: impl FnOnce(Gradient, &mut Gradients<'_>) -> Result<()> + 'static,
    ) -> Node {
        let wanted = inputs.iter().any(|x| x.slot.is_some()) || params.iter().any(|id| self.owes(*id));
        let Some(tape) = self.tape.as_mut().filter(|_| wanted) else { return Node::plain(value, None) };
        let slot = self.slots;
        self.slots += 1;
        match &mut self.keeping {
            Some(keeping) => keeping.backward = Some((slot, Box::new(backward))),
            None => tape.push((slot, Box::new(backward))),
        }
        Node::plain(value, Some(slot))
    }

    /// Writes the gradient of the mean loss to `flat`, in name order; where a plan owes nothing, zeros or the gradient. Consumes the tape; activations are freed on the way.
    ///
    /// # Errors
    /// When a parameter took no part in the loss, or a tensor operation fails.
    pub fn backward<T: Scalar>(self, loss: &Loss, flat: &mut Vec<T>) -> Result<()> {
        flat.resize(self.weights.layout().len(), T::zero());
        self.run_backward(loss, None, flat)
    }

    /// Adds to `squares`, in name order, the sums over the batch's `samples` of the squared gradients of their own mean losses
    /// (over the tokens of a text): one pass for all of them, in evaluation mode, where samples do not see one another.
    ///
    /// # Errors
    /// In training mode, on a device, when a parameter is used twice, or a tensor operation fails.
    pub fn backward_by_sample<T: Scalar>(self, loss: &Loss, samples: usize, squares: &mut [T]) -> Result<()> {
        if !self.is_evaluation() || self.device.is_some() {
            return Err(Error::Usage(
                "gradients of single samples are taken at once in evaluation mode and on the CPU only".into(),
            ));
        }
        self.run_backward(loss, Some(samples), squares)
    }

    fn run_backward<T: Scalar>(self, loss: &Loss, by_sample: Option<usize>, flat: &mut [T]) -> Result<()> {
        let layout = self.weights.layout();
        let mut gradients = Gradients {
            weights: self.weights,
            input_weights: self.input_weights.unwrap_or(self.weights),
            on_device: self.device.is_some(),
            plan: self.plan,
            slots: vec![None; self.slots],
            flat: bytemuck::cast_slice_mut(flat),
            written: vec![false; layout.specs().len()],
            by_sample,
            flops: self.flops,
        };
        let (slot, grad) = loss.backward::<T>(by_sample.unwrap_or(1))?;
        gradients.add::<T>(slot, grad)?;
        for (slot, backward) in self.tape.unwrap_or_default().into_iter().rev() {
            if let Some(grad) = gradients.slots[slot].take() {
                backward(grad, &mut gradients)?;
            }
        }
        for (i, spec) in layout.specs().iter().enumerate() {
            if !gradients.written[i] {
                if *gradients.owed(ParamId(i)) != Owed::Nothing {
                    return Err(Error::Usage(format!("parameter {} received no gradient", spec.name)));
                }
                gradients.place::<T>(ParamId(i)).fill(T::zero());
            }
        }
        Ok(())
    }
}

impl<'a> Gradients<'a> {
    /// What is owed of a parameter's gradient.
    pub(super) fn owed(&self, id: ParamId) -> &'a Owed {
        self.plan.map_or(&Owed::Everything, |plan| plan.owed(id))
    }

    /// Adds to the gradient of the value with this slot; the first contribution is moved in, not added to zeros.
    pub(super) fn add<T: Scalar>(&mut self, slot: Option<usize>, grad: Gradient) -> Result<()> {
        let Some(slot) = slot else { return Ok(()) };
        let sum = match self.slots[slot].take() {
            None => grad,
            Some(other) if self.on_device => Gradient::plain((other.raw + grad.raw)?),
            Some(other) => {
                let (a, b) = (other.value::<T>()?, grad.value::<T>()?);
                let sum = with_slice::<T, _>(&a, |a| with_slice(&b, |b| kernels::add(a, b)))??;
                let moments = other.moments.zip(grad.moments).map(|(a, b)| a.add(&b));
                Gradient { moments, ..Gradient::plain(tensor(sum, a.dims())?) }
            }
        };
        self.slots[slot] = Some(sum);
        Ok(())
    }

    /// Takes what has been collected for a value, for a layer that adds its own contribution and puts the sum back.
    pub(super) fn take(&mut self, slot: Option<usize>) -> Option<Gradient> {
        self.slots[slot?].take()
    }

    /// Whether gradients are wanted sample by sample.
    pub(super) fn is_by_sample(&self) -> bool {
        self.by_sample.is_some()
    }

    /// Lets `f` write the gradient of a parameter, that of a part of the batch: of the whole, or of each sample.
    pub(super) fn param<T: Scalar>(&mut self, id: ParamId, f: impl Fn(Part, &mut [T]) + Sync) -> Result<()> {
        let Some(samples) = self.by_sample else {
            return self.param_whole(id, |grad| {
                f(Part { index: 0, of: 1 }, grad);
                Ok(())
            });
        };
        if std::mem::replace(&mut self.written[id.0], true) {
            return Err(Error::Usage("a parameter that is used twice has no gradient by sample".into()));
        }
        let place = self.place::<T>(id);
        let indices: Vec<usize> = (0..samples).collect();
        let sums = indices.par_chunks(SAMPLES).map(|indices| {
            let [mut sum, mut grad] = [(); 2].map(|()| vec![T::zero(); place.len()]);
            for index in indices {
                f(Part { index: *index, of: samples }, &mut grad);
                kernels::accumulate_squares(&mut sum, &grad);
            }
            sum
        });
        for sum in sums.collect::<Vec<_>>() {
            kernels::accumulate(place, &sum);
        }
        Ok(())
    }

    /// Adds to the gradient of a parameter what was summed in f64 over the batch.
    pub(super) fn add_param<T: Scalar>(&mut self, id: ParamId, grad: &[f64]) -> Result<()> {
        debug_assert!(self.by_sample.is_none(), "sums over the batch are no squares of samples");
        self.param_whole::<T>(id, |place| {
            round(grad, place);
            Ok(())
        })
    }

    /// Lets `f` write the gradient of a parameter over the batch, if it is owed; if the parameter has one already, the new
    /// one is added.
    pub(super) fn param_whole<T: Scalar>(&mut self, id: ParamId, f: impl FnOnce(&mut [T]) -> Result<()>) -> Result<()> {
        if *self.owed(id) == Owed::Nothing {
            return Ok(());
        }
        let more = std::mem::replace(&mut self.written[id.0], true);
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

    /// Lets `f` write the gradient of a parameter whose first axis is output channels: of all of them, or of those given
    /// alone, one after the other; the others' is zero.
    pub(super) fn param_channels<T: Scalar>(
        &mut self,
        id: ParamId,
        f: impl FnOnce(Option<&[usize]>, &mut [T]) -> Result<()>,
    ) -> Result<()> {
        let Owed::Channels(live) = self.owed(id) else { return self.param_whole(id, |grad| f(None, grad)) };
        let channels = self.weights.layout().specs()[id.0].shape[0];
        self.param_whole(id, |grad| {
            let channel = grad.len() / channels;
            let mut gathered = vec![T::zero(); live.len() * channel];
            f(Some(live), &mut gathered)?;
            grad.fill(T::zero());
            for (c, from) in live.iter().zip(gathered.chunks_exact(channel)) {
                grad[c * channel..][..channel].copy_from_slice(from);
            }
            Ok(())
        })
    }

    /// Where the gradient of a parameter is written.
    fn place<T: Scalar>(&mut self, id: ParamId) -> &mut [T] {
        let flat: &mut [T] = bytemuck::cast_slice_mut(self.flat);
        &mut flat[self.weights.layout().specs()[id.0].range()]
    }
}
