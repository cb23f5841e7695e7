//! Requirements of a backward pass: the parameters whose gradients will be read.

use super::params::{ByParam, ParamId, ParamLayout};

/// Part of a parameter's gradient that is required.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    /// Nothing.
    Nothing,
    /// These entries along the first axis (output channels, rows), in ascending order.
    Channels(Vec<usize>),
    /// The whole gradient.
    Everything,
}

/// Required part of each parameter's gradient. It determines what a backward pass can skip: weight
/// gradients of tensors or output channels without a live entry, everything before the first
/// live tensor, and the activations stored for those. Computed once per mask and read by every
/// layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackwardPlan {
    owed: ByParam<Owed>,
}

/// Group size in which kernels process single output channels.
const GROUP: usize = 8;
/// Fraction of a tensor's channels above which selecting channels saves nothing.
const MOST: f64 = 0.75;

impl BackwardPlan {
    /// Plan that requires the gradients of the `live` scalars (flat, in name order).
    ///
    /// # Panics
    /// When the number of flags differs from the layout's number of scalars.
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

    /// Marks the parameters whose gradients are not required.
    pub(super) fn not_required(&self) -> ByParam<bool> {
        self.owed.map(|owed| *owed == Owed::Nothing)
    }

    pub(super) fn owed(&self, id: ParamId) -> &Owed {
        &self.owed[id]
    }
}
