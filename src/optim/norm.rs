//! Divisor of a sparse ascent step, and what its mask applies to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mask::Mask;
use crate::nn::{BackwardPlan, ParamLayout};

/// Which norm a masked ascent step is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// Norm of the full gradient (the papers).
    #[default]
    Full,
    /// Norm of the masked gradient.
    Masked,
    /// Norm of the previous step's second gradient. The first step uses the full norm.
    Lagged,
}

/// What a mask is applied to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Perturbation {
    /// The ascent step.
    #[default]
    Explicit,
    /// The weights used in the first backward pass.
    Implicit,
}

impl Norm {
    /// Gradients that the first backward pass must compute under `mask`; `None` for all of them, if
    /// the ascent step reads the full gradient.
    pub fn plan(self, layout: &ParamLayout, mask: &Mask) -> Option<BackwardPlan> {
        (self != Self::Full).then(|| BackwardPlan::of_scalars(layout, mask.flags()))
    }
}
