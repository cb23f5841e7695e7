//! The tape: what a forward pass records so that a backward pass can follow.

use candle_core::{DType, Tensor};

use super::cpu;
use super::params::{self, ParamId, ParamLayout, RunningStats, Weights};
use crate::error::Result;

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

type Backward = Box<dyn FnOnce(&Tensor, &mut Gradients) -> Result<()>>;

/// A value in a forward pass. `slot` is where its gradient is collected; none means nobody needs it.
#[derive(Clone)]
pub struct Node {
    /// The value.
    pub value: Tensor,
    pub(super) slot: Option<usize>,
}

/// One forward pass through a model, with everything a layer may ask for.
pub struct Pass<'a> {
    /// The weights to use: the model's own, or perturbed ones.
    pub weights: &'a Weights,
    /// Running statistics, read in evaluation and written under [`BatchNormMode::Update`].
    pub running: &'a mut RunningStats,
    /// What BatchNorm does.
    pub batch_norm: BatchNormMode,
    tape: Option<Vec<(usize, Backward)>>,
    slots: usize,
}

/// Gradients on their way back: of values by slot, of parameters by handle.
pub struct Gradients {
    slots: Vec<Option<Tensor>>,
    params: Vec<Option<Tensor>>,
}

/// A mean loss with its per-sample parts.
pub struct Loss {
    /// Mean over the batch.
    pub mean: f64,
    /// Loss of each sample.
    pub per_sample: Vec<f64>,
    logits: Node,
    labels: Vec<u32>,
}

impl<'a> Pass<'a> {
    /// A pass that can be followed by [`Pass::backward`].
    pub fn training(weights: &'a Weights, running: &'a mut RunningStats, batch_norm: BatchNormMode) -> Self {
        Self { weights, running, batch_norm, tape: Some(Vec::new()), slots: 0 }
    }

    /// A pass that records nothing, in evaluation mode.
    pub fn evaluation(weights: &'a Weights, running: &'a mut RunningStats) -> Self {
        Self { weights, running, batch_norm: BatchNormMode::Eval, tape: None, slots: 0 }
    }

    /// Wraps an input, whose own gradient nobody needs.
    pub fn input(&self, value: Tensor) -> Node {
        Node { value, slot: None }
    }

    /// Records a layer's output and how to go back from its gradient.
    pub(super) fn record(
        &mut self,
        value: Tensor,
        backward: impl FnOnce(&Tensor, &mut Gradients) -> Result<()> + 'static,
    ) -> Node {
        let Some(tape) = &mut self.tape else { return Node { value, slot: None } };
        let slot = self.slots;
        self.slots += 1;
        tape.push((slot, Box::new(backward)));
        Node { value, slot: Some(slot) }
    }

    /// Mean softmax cross-entropy of `logits` [batch, classes].
    pub fn cross_entropy<T: cpu::Scalar>(&self, logits: &Node, labels: &[u32]) -> Result<Loss> {
        let classes = logits.value.dims2()?.1;
        let per_sample = cpu::with_slice::<T, _>(&logits.value, |l| cpu::cross_entropy(l, labels, classes))?;
        let mean = per_sample.iter().sum::<f64>() / per_sample.len() as f64;
        Ok(Loss { mean, per_sample, logits: logits.clone(), labels: labels.to_vec() })
    }

    /// Gradients of the mean loss by parameter. Consumes the tape; activations are freed on the way.
    pub fn backward<T: cpu::Scalar>(self, loss: &Loss, params: usize) -> Result<Gradients> {
        let (batch, classes) = loss.logits.value.dims2()?;
        let scale = 1.0 / batch as f64;
        let grad = cpu::with_slice::<T, _>(&loss.logits.value, |l| {
            cpu::cross_entropy_backward(l, &loss.labels, classes, scale)
        })?;
        let mut gradients = Gradients { slots: vec![None; self.slots], params: vec![None; params] };
        gradients.add(&loss.logits, cpu::tensor(grad, &[batch, classes])?)?;
        for (slot, backward) in self.tape.unwrap_or_default().into_iter().rev() {
            if let Some(grad) = gradients.slots[slot].take() {
                backward(&grad, &mut gradients)?;
            }
        }
        Ok(gradients)
    }
}

impl Gradients {
    /// Adds to the gradient of a value; the first contribution is moved in, not added to zeros.
    pub(super) fn add(&mut self, node: &Node, grad: Tensor) -> Result<()> {
        if let Some(slot) = node.slot {
            accumulate(&mut self.slots[slot], grad)?;
        }
        Ok(())
    }

    /// Adds to the gradient of a parameter.
    pub(super) fn add_param(&mut self, id: ParamId, grad: Tensor) -> Result<()> {
        accumulate(&mut self.params[id.0], grad)
    }

    /// The gradient of a parameter, if it took part.
    pub fn param(&self, id: ParamId) -> Option<&Tensor> {
        self.params[id.0].as_ref()
    }

    /// All f32 gradients as one flat vector in name order.
    ///
    /// # Errors
    /// When a parameter took no part in the loss.
    pub fn flatten_into(&self, layout: &ParamLayout, flat: &mut Vec<f32>) -> Result<()> {
        params::flatten(layout, &self.params, flat)
    }
}

fn accumulate(place: &mut Option<Tensor>, grad: Tensor) -> Result<()> {
    *place = Some(match place.take() {
        None => grad,
        Some(sum) => add(&sum, &grad)?,
    });
    Ok(())
}

fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    fn run<T: cpu::Scalar>(a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let sum = cpu::with_slice::<T, _>(a, |a| cpu::with_slice(b, |b| cpu::add(a, b)))??;
        cpu::tensor(sum, b.dims())
    }
    if a.dtype() == DType::F64 { run::<f64>(a, b) } else { run::<f32>(a, b) }
}
