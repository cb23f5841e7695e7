//! Life cycle of a cell's mask: initial mask, refreshes, and backward plan.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::mask::{
    Amount, DropAndGrow, Grow, Mask, MaskSpec, Refresh, Score, StepCosts, When, death_rate, dynamic_keep,
};
use crate::nn::{BackwardPlan, ParamLayout};
use crate::optim::{ActiveMask, Norm, Perturbation};
use crate::random::{Stream, stream};
use crate::record::MaskRefresh;
use crate::suite::Cell;

/// Current mask of a cell and its update rule.
pub(super) struct MaskState<'c> {
    spec: &'c MaskSpec,
    /// FLOPs of steps by the tensors they perturb, for a mask with a budget.
    costs: Option<StepCosts>,
    layout: Arc<ParamLayout>,
    seed: u64,
    epochs: usize,
    norm: Norm,
    is_implicit: bool,
    mask: Mask,
    /// Fraction of the weights that the mask leaves live.
    live: f64,
    plan: Option<BackwardPlan>,
}

/// Inputs of a refresh from the current batch.
pub(super) struct Observed<'a> {
    pub(super) weights: &'a [f32],
    pub(super) gradient: &'a [f32],
}

impl<'c> MaskState<'c> {
    /// Creates the initial mask: random if it is dynamic (SSAM-D), otherwise empty, so that the
    /// first step is plain SGD (SSAM-F); full with implicit perturbation, which replaces it before the first step. `costs` counts
    /// the FLOPs of steps for a mask with a budget.
    pub(super) fn new(
        cell: &'c Cell,
        layout: &Arc<ParamLayout>,
        costs: impl FnOnce() -> Result<StepCosts>,
    ) -> Result<Option<Self>> {
        let Some(ascent) = &cell.optimizer.ascent else { return Ok(None) };
        let Some(spec) = &ascent.mask else { return Ok(None) };
        let costs = match spec.amount {
            Amount::Sparsity(_) => None,
            Amount::Budget(budget) => {
                let costs = costs()?;
                if costs.least() > budget {
                    return Err(Error::Usage(format!(
                        "budget = {budget} is less than the {:.4} that the cheapest tensor of this model costs; raise it",
                        costs.least()
                    )));
                }
                Some(costs)
            }
        };
        let n = layout.len();
        let is_implicit = ascent.perturbation == Perturbation::Implicit;
        let mask = match spec.refresh.when {
            When::Static { .. } | When::Interval { .. } if is_implicit => Mask::full(n),
            When::Static { .. } | When::Interval { .. } => Mask::empty(n),
            When::Dynamic { .. } => {
                let rng = &mut stream(cell.seed, Stream::InitialMask);
                spec.pattern.choose(layout, dynamic_keep(n, spec.amount.sparsity().unwrap_or_default()), None, rng)
            }
        };
        let mut state = Self {
            spec,
            costs,
            layout: layout.clone(),
            seed: cell.seed,
            epochs: cell.epochs,
            norm: ascent.norm,
            is_implicit,
            mask,
            live: 0.0,
            plan: None,
        };
        state.make_plan();
        Ok(Some(state))
    }

    fn make_plan(&mut self) {
        self.plan = self.norm.plan(&self.layout, &self.mask);
        self.live = self.mask.live_fraction();
    }

    /// Fraction of the weights that the current mask leaves live.
    pub(super) fn live(&self) -> f64 {
        self.live
    }

    /// Whether refreshes take place before a step, for which the new mask then holds: the first gradient of implicit perturbation
    /// goes through masked weights (the code of SSAM's journal version).
    pub(super) fn refreshes_first(&self) -> bool {
        self.is_implicit
    }

    /// Current mask.
    pub(super) fn mask(&self) -> &Mask {
        &self.mask
    }

    /// Restores a mask.
    pub(super) fn restore(&mut self, mask: Mask) {
        self.mask = mask;
        self.make_plan();
    }

    /// Refresh due at the first step of `epoch`, if any.
    pub(super) fn due(&self, epoch: usize) -> Option<&'c Refresh> {
        self.spec.refresh.is_due(epoch).then_some(&self.spec.refresh)
    }

    /// Mask for a step in which `refresh` takes place. A refresh that reads the whole gradient
    /// requires all of it, so there is no plan.
    pub(super) fn active(&self, refresh: Option<&Refresh>) -> ActiveMask<'_> {
        let reads_gradient = refresh.is_some_and(Refresh::reads_gradient);
        ActiveMask { mask: &self.mask, plan: self.plan.as_ref().filter(|_| !reads_gradient) }
    }

    /// Computes the next mask from the current batch's scores.
    pub(super) fn next_by_batch(&self, epoch: usize, refresh: &Refresh, observed: &Observed<'_>) -> Mask {
        let rng = &mut stream(self.seed, Stream::Mask(epoch));
        let magnitude = |values: &[f32]| values.iter().map(|v| v.abs()).collect::<Vec<f32>>();
        let score = match refresh.score {
            Score::Gradient | Score::Fisher { .. } => Some(magnitude(observed.gradient)),
            Score::Weight => Some(magnitude(observed.weights)),
            Score::Random => None,
        };
        let (When::Dynamic { drop_rate, grow, .. }, Amount::Sparsity(sparsity)) = (&refresh.when, self.spec.amount)
        else {
            return self.spec.choose(&self.layout, self.costs.as_ref(), score.as_deref(), rng);
        };
        let grow_score = match grow {
            Grow::Random => None,
            Grow::Gradient => Some(magnitude(observed.gradient)),
            Grow::Weight => Some(magnitude(observed.weights)),
        };
        DropAndGrow {
            sparsity,
            death_rate: death_rate(*drop_rate, epoch, self.epochs),
            keep_score: score.as_deref(),
            grow_score: grow_score.as_deref(),
        }
        .update(self.spec.pattern, &self.layout, &self.mask, rng)
    }

    /// Computes the mask with the best Fisher scores.
    pub(super) fn next_by_fisher(&self, epoch: usize, scores: &[f32]) -> Mask {
        let rng = &mut stream(self.seed, Stream::Mask(epoch));
        self.spec.choose(&self.layout, self.costs.as_ref(), Some(scores), rng)
    }

    /// Replaces the mask and describes the new one; `fisher` are the scores that selected it.
    pub(super) fn replace(&mut self, epoch: usize, next: Mask, fisher: Option<&[f32]>) -> MaskRefresh {
        let live = next.live_by_tensor(&self.layout).into_iter().map(|(name, live)| (name.to_string(), live));
        let refresh = MaskRefresh {
            epoch,
            live_fraction: next.live_fraction(),
            live_by_tensor: live.collect(),
            overlap: (self.mask.live_count() > 0).then(|| next.overlap(&self.mask)).flatten(),
            fisher_share: fisher.and_then(|scores| next.share_of(scores)),
        };
        self.mask = next;
        self.make_plan();
        refresh
    }
}
