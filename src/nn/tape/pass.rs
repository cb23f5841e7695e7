//! A forward pass: it computes or shares layers, records how to go back, and goes back.

use std::collections::VecDeque;

use candle_core::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use sharpbench_kernels::FlopCount;

use super::gradients::{Backward, Gradient, Gradients};
use super::node::Node;
use super::prefix::{Prefix, SharedLayer, Sharing};
use crate::error::{Error, Result};
use crate::nn::params::{ParamId, RunningId};
use crate::nn::plan::{BackwardPlan, Owed};
use crate::nn::running::RunningStats;
use crate::nn::scalar::Scalar;
use crate::nn::weights::Weights;

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

/// One forward pass through a model, with everything a layer may ask for.
pub struct Pass<'a> {
    /// The weights to use: the model's own, or perturbed ones.
    pub weights: Weights<'a>,
    /// Running statistics, read in evaluation and written under [`BatchNormMode::Update`].
    pub running: &'a mut RunningStats,
    /// What BatchNorm does.
    pub batch_norm: BatchNormMode,
    /// Where dropout draws from.
    pub(in crate::nn) dropout: Option<ChaCha8Rng>,
    /// The samples of a batch that this pass is of, and how many the batch has, where it is of a part.
    pub(in crate::nn) samples: Option<(&'a [usize], usize)>,
    /// Where candle's operations compute; where there is none, our kernels do, on the CPU.
    pub(in crate::nn) device: Option<&'a Device>,
    /// What is required of the backward pass; all gradients where there is none.
    plan: Option<&'a BackwardPlan>,
    /// The weights through which gradients of inputs are taken, where these are others.
    input_weights: Option<Weights<'a>>,
    tape: Option<Vec<(usize, Backward)>>,
    slots: usize,
    sharing: Sharing,
    /// The layer that is being kept, if one is.
    keeping: Option<Keeping>,
    /// Counts the FLOPs of the pass, there and back.
    pub(in crate::nn) flops: FlopCount,
}

/// What a layer does while it is kept.
#[derive(Default)]
struct Keeping {
    backward: Option<(usize, Backward)>,
    learned: Option<(RunningId, Vec<[f32; 2]>)>,
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

    /// Restricts the pass to these samples of a batch of `of`: dropout leaves out of each what it would in the whole batch.
    pub fn with_samples(self, samples: Option<&'a [usize]>, of: usize) -> Self {
        Self { samples: samples.map(|samples| (samples, of)), ..self }
    }

    /// Computes by candle's operations on `device`, where one is given.
    pub fn on(self, device: Option<&'a Device>) -> Self {
        Self { device, ..self }
    }

    /// Adds the FLOPs that the pass executes, there and back, to `flops`.
    pub fn counting(self, flops: &FlopCount) -> Self {
        Self { flops: flops.clone(), ..self }
    }

    /// Records no way back, for losses alone.
    pub fn without_tape(self) -> Self {
        Self { tape: None, ..self }
    }

    /// Restricts the backward pass to what `plan` requires.
    pub fn with_plan(self, plan: Option<&'a BackwardPlan>) -> Self {
        Self { plan, ..self }
    }

    /// Takes gradients of the inputs of convolutions and linear layers through `weights` (of the same layout): implicit
    /// sparse SAM's masked ones.
    pub fn with_input_weights(self, weights: Option<Weights<'a>>) -> Self {
        Self { input_weights: weights, ..self }
    }

    /// Keeps the layers that depend on no parameter of which the plan requires anything, for a pass over the same samples
    /// that requires everything, with weights that differ from its own in those parameters alone.
    pub fn keeping_prefix(self) -> Self {
        let Some(plan) = self.plan else { return self };
        let common = plan.not_required();
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

    /// Takes the layers that another pass kept in place of computing them.
    pub fn with_prefix(self, prefix: Option<Prefix>) -> Self {
        let Some(prefix) = prefix else { return self };
        Self { slots: prefix.slots, sharing: Sharing::Take(prefix), ..self }
    }

    /// Gives dropout a stream to draw from.
    pub fn with_dropout(self, stream: Option<ChaCha8Rng>) -> Self {
        Self { dropout: stream, ..self }
    }

    /// Whether dropout is off: in evaluation, and for gradients in evaluation mode.
    pub(in crate::nn) fn is_evaluation(&self) -> bool {
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

    /// Whether any of a parameter's gradient is required; of the other pass, while a layer is kept for it.
    pub(in crate::nn) fn owes(&self, id: ParamId) -> bool {
        let owed = |plan: &BackwardPlan| self.keeping.is_some() || *plan.owed(id) != Owed::Nothing;
        self.tape.is_some() && self.plan.is_none_or(owed)
    }

    /// Computes a layer that reads `inputs` and `params`, or takes it from the pass that kept it.
    pub(in crate::nn) fn layer<const N: usize>(
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
                    prefix.layers.push_back(SharedLayer { node, read: false, backward, learned, dropout });
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
    fn take(&mut self, layer: SharedLayer) -> Result<Node> {
        let SharedLayer { node, backward, learned, dropout, .. } = layer;
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
    pub(in crate::nn) fn learn(&mut self, id: RunningId, statistics: Vec<[f32; 2]>) {
        if self.batch_norm == BatchNormMode::Update {
            self.running.learn(id, &statistics);
        }
        if let Some(keeping) = &mut self.keeping {
            keeping.learned = Some((id, statistics));
        }
    }

    /// Layers recorded so far.
    #[cfg(test)]
    pub(in crate::nn) fn recorded(&self) -> usize {
        self.slots
    }

    /// Records the output of a layer that reads `inputs` and `params`, and how to go back from its gradient; nothing, where
    /// that gradient would be of use to nobody.
    pub(in crate::nn) fn record(
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

    /// Goes back from the gradient of the value with this slot, here the logits, and writes the parameters' gradients to
    /// `flat` (of the layout's length); or adds to it sums of squares of those of so many samples. Consumes the tape;
    /// activations are freed on the way.
    ///
    /// # Errors
    /// When a parameter took no part in the value, or a tensor operation fails.
    pub(in crate::nn) fn backward_from<T: Scalar>(
        self,
        (slot, gradient): (Option<usize>, Gradient),
        by_sample: Option<usize>,
        flat: &mut [T],
    ) -> Result<()> {
        let mut gradients = Gradients {
            weights: self.weights,
            input_weights: self.input_weights.unwrap_or(self.weights),
            on_device: self.device.is_some(),
            plan: self.plan,
            slots: vec![None; self.slots],
            flat: bytemuck::cast_slice_mut(flat),
            written: self.weights.layout().by_param(|_| false),
            by_sample,
            flops: self.flops,
        };
        gradients.add::<T>(slot, gradient)?;
        for (slot, backward) in self.tape.unwrap_or_default().into_iter().rev() {
            if let Some(gradient) = gradients.slots[slot].take() {
                backward(gradient, &mut gradients)?;
            }
        }
        gradients.finish::<T>()
    }
}
