//! What two passes over one batch have in common: the layers that depend on no parameter in which their weights differ. The
//! first pass keeps them, the second takes them in place of computing them again.

use std::collections::VecDeque;

use candle_core::Tensor;
use rand_chacha::ChaCha8Rng;

use super::gradients::Backward;
use super::node::Node;
use crate::error::Result;
use crate::nn::params::{ByParam, ParamId, RunningId};

/// The common layers, in the order in which they were computed.
pub struct Prefix {
    pub(super) layers: VecDeque<SharedLayer>,
    /// Parameters in which the two passes' weights are the same.
    pub(super) common: ByParam<bool>,
    /// Slots that the first pass gave out.
    pub(super) slots: usize,
}

/// A layer that two passes share.
pub(super) struct SharedLayer {
    /// Its output.
    pub(super) node: Node,
    /// Whether a layer reads it that is not common.
    pub(super) read: bool,
    /// The way back, where there is one.
    pub(super) backward: Option<(usize, Backward)>,
    /// Statistics of the batch from which running ones are learned.
    pub(super) learned: Option<(RunningId, Vec<[f32; 2]>)>,
    /// What dropout draws from after it.
    pub(super) dropout: Option<ChaCha8Rng>,
}

/// The part a pass plays.
pub(super) enum Sharing {
    /// It stands alone.
    Nothing,
    /// It keeps layers for another pass.
    Keep(Prefix),
    /// It takes the layers that another kept.
    Take(Prefix),
}

impl Prefix {
    /// Notes that a layer that is not common reads these.
    pub(super) fn mark_read(&mut self, inputs: &[&Node]) {
        let common = || inputs.iter().filter(|x| x.common);
        for kept in self.layers.iter_mut().filter(|kept| common().any(|x| x.raw.id() == kept.node.raw.id())) {
            kept.read = true;
        }
    }

    /// Drops the values that nobody will read: common layers ask one another for no more than shapes. The loss may read
    /// the last.
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
    /// Whether a layer with these parameters may be common, if its inputs are.
    pub(super) fn is_common(&self, params: &[ParamId]) -> bool {
        match self {
            Self::Nothing => false,
            Self::Keep(prefix) | Self::Take(prefix) => params.iter().all(|id| prefix.common[*id]),
        }
    }
}
