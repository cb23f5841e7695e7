//! Registry entry of sparse SAM: SAM's step under a mask (Mi et al. 2022, 2025). [`Sam`] implements
//! the step.

use super::entry::{Form, Masks, OptimizerEntry};
use super::sam::Sam;
use crate::flops::StepCost;
use crate::mask::{MaskScore, RefreshName};

pub(super) const SSAM_F: OptimizerEntry = sparse(
    "ssam-f",
    "sparse SAM, the mask from Fisher information (Mi et al. 2022)",
    Masks { scores: &[MaskScore::Fisher], refreshes: &[RefreshName::Interval, RefreshName::Static] },
);

pub(super) const SSAM_D: OptimizerEntry = sparse(
    "ssam-d",
    "sparse SAM, the mask from dynamic sparse training (Mi et al. 2022)",
    Masks { scores: &[MaskScore::Gradient, MaskScore::Weight, MaskScore::Random], refreshes: &[RefreshName::Dynamic] },
);

pub(super) const SSAM: OptimizerEntry = sparse(
    "ssam",
    "sparse SAM with a mask of any score, pattern and refresh",
    Masks {
        scores: &[MaskScore::Fisher, MaskScore::Gradient, MaskScore::Weight, MaskScore::Random],
        refreshes: &[RefreshName::Interval, RefreshName::Static, RefreshName::Dynamic],
    },
);

const fn sparse(name: &'static str, about: &'static str, masks: Masks) -> OptimizerEntry {
    OptimizerEntry {
        form: Form::Ascent,
        masks: Some(masks),
        // Which tensors a budget buys is known only in training.
        cost: |ascent, _| {
            let sparsity = ascent.mask.as_ref().and_then(|mask| mask.amount.sparsity());
            Ok(sparsity.map_or(StepCost::TWO, StepCost::sparse))
        },
        ..OptimizerEntry::new(name, about, |ascent, _| {
            Ok(Box::new(Sam::sparse(ascent.rho, ascent.norm, ascent.perturbation)))
        })
    }
}
