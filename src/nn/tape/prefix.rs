//! Layers shared by two passes over one batch: those that depend on no parameter in which the
//! passes' weights differ. The first pass keeps them, and the second takes them instead of
//! computing them again.

use std::collections::VecDeque;

use candle_core::Tensor;
use rand_chacha::ChaCha8Rng;

use super::gradients::Backward;
use super::node::Node;
use crate::error::Result;
use crate::nn::params::{ByParam, ParamId, RunningId};

/// Shared layers, in the order of computation.
pub struct Prefix {
    pub(super) layers: VecDeque<SharedLayer>,
    /// Parameters whose weights are identical in both passes.
    pub(super) common: ByParam<bool>,
    /// Number of slots the first pass allocated.
    pub(super) slots: usize,
}

/// Layer shared by two passes.
pub(super) struct SharedLayer {
    /// Output of the layer.
    pub(super) node: Node,
    /// Whether a layer that is not shared reads the output.
    pub(super) read: bool,
    /// Backward function, if any.
    pub(super) backward: Option<(usize, Backward)>,
    /// Batch statistics from which running ones are updated.
    pub(super) learned: Option<(RunningId, Vec<[f32; 2]>)>,
    /// State of the dropout stream after it.
    pub(super) dropout: Option<ChaCha8Rng>,
}

/// Role of a pass in sharing.
pub(super) enum Sharing {
    /// Shares nothing.
    Nothing,
    /// Keeps layers for another pass.
    Keep(Prefix),
    /// Takes the layers another pass kept.
    Take(Prefix),
}

impl Prefix {
    /// Marks these inputs as read by a layer that is not shared.
    pub(super) fn mark_read(&mut self, inputs: &[&Node]) {
        let common = || inputs.iter().filter(|x| x.common);
        for kept in self.layers.iter_mut().filter(|kept| common().any(|x| x.raw.id() == kept.node.raw.id())) {
            kept.read = true;
        }
    }

    /// Drops values that will not be read: shared layers need only one another's shapes. The last
    /// is kept, since the loss may read it.
    pub(super) fn without_unread(mut self) -> Result<Self> {
        let last = self.layers.len().saturating_sub(1);
        for kept in self.layers.iter_mut().take(last).filter(|kept| !kept.read) {
            let raw = &kept.node.raw;
            kept.node.raw = Tensor::zeros((), raw.dtype(), raw.device())?.broadcast_as(raw.dims())?;
        }
        Ok(self)
    }
}

impl Sharing {
    /// Whether a layer with these parameters can be shared, provided its inputs are.
    pub(super) fn is_common(&self, params: &[ParamId]) -> bool {
        match self {
            Self::Nothing => false,
            Self::Keep(prefix) | Self::Take(prefix) => params.iter().all(|id| prefix.common[*id]),
        }
    }
}
