//! A forward pass: computes layers or takes shared ones, and records and runs the backward pass.

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

/// Statistics that BatchNorm uses, and whether it updates the running ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchNormMode {
    /// Batch statistics, also folded into the running ones (the papers' choice in both of SAM's
    /// passes).
    Update,
    /// Batch statistics; running ones unchanged.
    Freeze,
    /// Running statistics.
    Eval,
}

/// A forward pass through a model, with everything its layers may need.
pub struct Pass<'a> {
    /// The weights to use: the model's own, or perturbed ones.
    pub weights: Weights<'a>,
    /// Running statistics, read in evaluation and written under [`BatchNormMode::Update`].
    pub running: &'a mut RunningStats,
    /// Mode of BatchNorm.
    pub batch_norm: BatchNormMode,
    /// Random stream of dropout.
    pub(in crate::nn) dropout: Option<ChaCha8Rng>,
    /// For a pass over part of a batch: its samples, and the batch's size.
    pub(in crate::nn) samples: Option<(&'a [usize], usize)>,
    /// Device for candle operations; `None` for the CPU kernels.
    pub(in crate::nn) device: Option<&'a Device>,
    /// Requirements of the backward pass; `None` for all gradients.
    plan: Option<&'a BackwardPlan>,
    /// Weights through which input gradients are taken, if they differ.
    input_weights: Option<Weights<'a>>,
    tape: Option<Vec<(usize, Backward)>>,
    slots: usize,
    sharing: Sharing,
    /// Layer currently being kept for another pass.
    keeping: Option<Keeping>,
    /// FLOP counter of the pass, forward and backward.
    pub(in crate::nn) flops: FlopCount,
}

/// State recorded for a layer while it is kept.
#[derive(Default)]
struct Keeping {
    backward: Option<(usize, Backward)>,
    learned: Option<(RunningId, Vec<[f32; 2]>)>,
}

impl<'a> Pass<'a> {
    /// Creates a pass that can be followed by [`Pass::backward`].
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

    /// Creates a pass that records nothing, in evaluation mode.
    pub fn evaluation(weights: Weights<'a>, running: &'a mut RunningStats) -> Self {
        let training = Self::training(weights, running, BatchNormMode::Eval);
        Self { tape: None, ..training }
    }

    /// Restricts the pass to these samples of a batch of `of`. Dropout drops the same values of
    /// each as in the whole batch.
    pub fn with_samples(self, samples: Option<&'a [usize]>, of: usize) -> Self {
        Self { samples: samples.map(|samples| (samples, of)), ..self }
    }

    /// Computes with candle operations on `device`, if given.
    pub fn on(self, device: Option<&'a Device>) -> Self {
        Self { device, ..self }
    }

    /// Adds the FLOPs that the pass executes, forward and backward, to `flops`.
    pub fn counting(self, flops: &FlopCount) -> Self {
        Self { flops: flops.clone(), ..self }
    }

    /// Records no backward pass, for losses alone.
    pub fn without_tape(self) -> Self {
        Self { tape: None, ..self }
    }

    /// Restricts the backward pass to what `plan` requires.
    pub fn with_plan(self, plan: Option<&'a BackwardPlan>) -> Self {
        Self { plan, ..self }
    }

    /// Takes input gradients of convolutions and linear layers through `weights` (of the same
    /// layout): the masked weights of implicit sparse SAM.
    pub fn with_input_weights(self, weights: Option<Weights<'a>>) -> Self {
        Self { input_weights: weights, ..self }
    }

    /// Keeps the layers that depend only on parameters whose gradients the plan does not require. A
    /// second pass over the same samples can share them. It must require all gradients, and its
    /// weights may differ only in parameters that the plan requires.
    pub fn keeping_prefix(self) -> Self {
        let Some(plan) = self.plan else { return self };
        let common = plan.not_required();
        Self { sharing: Sharing::Keep(Prefix { layers: VecDeque::new(), common, slots: 0 }), ..self }
    }

    /// Takes the kept layers after the forward pass.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn take_prefix(&mut self) -> Result<Option<Prefix>> {
        match std::mem::replace(&mut self.sharing, Sharing::Nothing) {
            Sharing::Keep(prefix) => Ok(Some(Prefix { slots: self.slots, ..prefix.without_unread()? })),
            Sharing::Nothing | Sharing::Take(_) => Ok(None),
        }
    }

    /// Takes the layers kept by another pass instead of computing them.
    pub fn with_prefix(self, prefix: Option<Prefix>) -> Self {
        let Some(prefix) = prefix else { return self };
        Self { slots: prefix.slots, sharing: Sharing::Take(prefix), ..self }
    }

    /// Sets the random stream of dropout.
    pub fn with_dropout(self, stream: Option<ChaCha8Rng>) -> Self {
        Self { dropout: stream, ..self }
    }

    /// Whether dropout is off: in evaluation, and for gradients in evaluation mode.
    pub(in crate::nn) fn is_evaluation(&self) -> bool {
        self.batch_norm == BatchNormMode::Eval
    }

    /// Moves an input to the pass's device. Inputs have no gradient.
    ///
    /// # Errors
    /// When the device cannot hold it.
    pub fn input(&self, value: Tensor) -> Result<Node> {
        let value = self.device.map_or_else(|| Ok(value.clone()), |device| value.to_device(device))?;
        Ok(Node { common: true, ..Node::plain(value, None) })
    }

    /// Whether any part of a parameter's gradient is required, in this pass or, while a layer is
    /// kept, in the other.
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
            // No backward pass of this pass goes through kept layers; only the other pass uses
            // theirs.
            Sharing::Keep(prefix) => {
                prefix.mark_read(&inputs);
                let cut = inputs.map(|x| Node { slot: x.slot.filter(|_| !x.common), ..x.clone() });
                run(cut.each_ref(), self)
            }
            Sharing::Nothing | Sharing::Take(_) => run(inputs, self),
        }
    }

    /// Takes a kept layer and applies the side effects of computing it.
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

    /// Updates running statistics from a batch's means and unbiased variances, if the mode says so.
    pub(in crate::nn) fn learn(&mut self, id: RunningId, statistics: Vec<[f32; 2]>) {
        if self.batch_norm == BatchNormMode::Update {
            self.running.learn(id, &statistics);
        }
        if let Some(keeping) = &mut self.keeping {
            keeping.learned = Some((id, statistics));
        }
    }

    /// Number of layers recorded so far.
    #[cfg(test)]
    pub(in crate::nn) fn recorded(&self) -> usize {
        self.slots
    }

    /// Records the output of a layer that reads `inputs` and `params`, and its backward function.
    /// Records nothing if its gradient is not required.
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

    /// Runs the backward pass from the gradient of the value with this slot, here the logits.
    /// Writes the parameters' gradients to `flat` (of the layout's length), or adds sums of squared
    /// per-sample gradients to it. Consumes the tape and frees activations on the way.
    ///
    /// # Errors
    /// When a parameter does not contribute to the value, or a tensor operation fails.
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
