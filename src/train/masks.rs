//! The life of a cell's mask: how it starts and when it changes.

use crate::mask::{DropAndGrow, Mask, death_rate, dynamic_keep, fisher_keep};
use crate::random::{Stream, stream};
use crate::suite::{Cell, Grow, MaskScore, MaskSpec, Refresh};

/// The current mask of a cell and the rule by which it changes.
pub(super) struct MaskState<'c> {
    spec: &'c MaskSpec,
    seed: u64,
    epochs: usize,
    /// The mask in force.
    pub(super) mask: Mask,
}

impl<'c> MaskState<'c> {
    /// The mask a cell starts with: empty for SSAM-F (its first step is plain SGD), random for SSAM-D.
    pub(super) fn new(cell: &'c Cell, n: usize) -> Option<Self> {
        let spec = cell.mask()?;
        let mask = match spec.refresh {
            Refresh::Fisher { .. } => Mask::empty(n),
            Refresh::Dynamic { .. } => {
                Mask::random(n, dynamic_keep(n, spec.sparsity), &mut stream(cell.seed, Stream::InitialMask))
            }
        };
        Some(Self { spec, seed: cell.seed, epochs: cell.epochs, mask })
    }

    /// The refresh that is due at the first step of `epoch`, if any.
    pub(super) fn due(&self, epoch: usize) -> Option<&'c Refresh> {
        let (Refresh::Fisher { interval, .. } | Refresh::Dynamic { interval, .. }) = &self.spec.refresh;
        epoch.is_multiple_of(*interval).then_some(&self.spec.refresh)
    }

    /// The mask of the best Fisher scores.
    pub(super) fn fisher(&self, scores: &[f32]) -> Mask {
        Mask::top(scores, fisher_keep(scores.len(), self.spec.sparsity))
    }

    /// The mask after a drop-and-grow update with the batch's gradient at `weights`.
    pub(super) fn drop_and_grow(
        &self,
        epoch: usize,
        (drop_rate, grow): (f64, Grow),
        weights: &[f32],
        gradient: &[f32],
    ) -> Mask {
        let magnitude = |values: &[f32]| values.iter().map(|v| v.abs()).collect::<Vec<f32>>();
        let keep_score = match self.spec.score {
            MaskScore::Gradient | MaskScore::Fisher => Some(magnitude(gradient)),
            MaskScore::Weight => Some(magnitude(weights)),
            MaskScore::Random => None,
        };
        let grow_score = match grow {
            Grow::Random => None,
            Grow::Gradient => Some(magnitude(gradient)),
            Grow::Weight => Some(magnitude(weights)),
        };
        DropAndGrow {
            sparsity: self.spec.sparsity,
            death_rate: death_rate(drop_rate, epoch, self.epochs),
            keep_score: keep_score.as_deref(),
            grow_score: grow_score.as_deref(),
        }
        .update(&self.mask, &mut stream(self.seed, Stream::Mask(epoch)))
    }
}
