//! What is required of a backward pass: the parameters whose gradients somebody will read.

use super::params::{ByParam, ParamId, ParamLayout};

/// The part of a parameter's gradient that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    /// None of it.
    Nothing,
    /// These entries along the first axis (output channels, rows), in rising order.
    Channels(Vec<usize>),
    /// All of it.
    Everything,
}

/// For each parameter, what is required of its gradient. From this follows all that can be left out: weight
/// gradients of tensors or output channels without a live entry, everything below the shallowest live tensor, and the
/// activations kept for those. Worked out once for a mask, read by every layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackwardPlan {
    owed: ByParam<Owed>,
}

/// Kernels take single output channels in groups of so many.
const GROUP: usize = 8;
/// From this part of a tensor's channels on, all of them cost no more than some.
const MOST: f64 = 0.75;

impl BackwardPlan {
    /// The gradients of the `live` scalars (flat, in name order).
    ///
    /// # Panics
    /// When there are not as many flags as the layout has scalars.
    pub fn of_scalars(layout: &ParamLayout, live: &[bool]) -> Self {
        assert_eq!(live.len(), layout.len(), "a flag for each scalar");
        let owed = layout.by_param(|spec| {
            let channels = spec.shape.first().copied().unwrap_or(1).max(1);
            let slices = live[spec.range()].chunks((spec.len() / channels).max(1));
            let alive: Vec<usize> =
                slices.enumerate().filter(|(_, slice)| slice.contains(&true)).map(|(c, _)| c).collect();
            if alive.is_empty() {
                Owed::Nothing
            } else if spec.shape.len() > 1 && alive.len().next_multiple_of(GROUP) as f64 <= MOST * channels as f64 {
                Owed::Channels(alive)
            } else {
                Owed::Everything
            }
        });
        Self { owed }
    }

    /// The parameters of whose gradients it requires nothing.
    pub(super) fn not_required(&self) -> ByParam<bool> {
        self.owed.map(|owed| *owed == Owed::Nothing)
    }

    pub(super) fn owed(&self, id: ParamId) -> &Owed {
        &self.owed[id]
    }
}
