//! SAM (Foret et al. 2021) and sparse SAM (Mi et al. 2022): the gradient at `w + eps`.
//!
//! `eps = rho m g / (D + epsilon)`. With `norm = full`, the papers' choice, D is the norm of the
//! full gradient, so ||eps|| shrinks with sparsity. With `masked` it is the norm of m g, so eps
//! maximises the linearised loss over the masked ball. With `lagged` it is the norm of the previous
//! step's second gradient. The last two read no gradient outside the mask, so it need not be
//! computed.
//!
//! `implicit` sparse SAM perturbs all weights, along a gradient whose backward pass takes input
//! gradients through the masked weights (the code of Mi et al. 2025).

use super::ascent::{Perturbed, norm};
use super::ascent_step::AscentStep;
use super::entry::{Form, OptimizerEntry};
use super::method::{Ask, Context, Iterate, Kept, Landscape, Method};
use super::norm::{Norm, Perturbation};
use crate::error::Result;
use crate::mask::Mask;

pub(super) const ENTRY: OptimizerEntry = OptimizerEntry {
    form: Form::Ascent,
    ..OptimizerEntry::new(
        "sam",
        "sharpness-aware minimization (Foret et al. 2021): two gradients a step",
        |ascent, _| Ok(Box::new(Sam::new(ascent.rho))),
    )
};

/// SAM step, sparse if there is a mask.
#[derive(Clone, Debug)]
pub struct Sam {
    /// Radius rho of the ascent step.
    pub rho: f64,
    /// Whether the divisor uses sparse SAM's constant.
    sparse: bool,
    /// Divisor of a masked step.
    pub norm: Norm,
    /// Target of the mask.
    pub perturbation: Perturbation,
    gradient: Vec<f32>,
    perturbed: Perturbed,
    masked_weights: Vec<f32>,
    /// Norm of the last step's second gradient; 0 before the first step.
    last_norm: f64,
}

impl Sam {
    /// SAM with its own constant, the full norm and an explicit perturbation.
    pub fn new(rho: f64) -> Self {
        Self {
            rho,
            sparse: false,
            norm: Norm::Full,
            perturbation: Perturbation::Explicit,
            gradient: Vec::new(),
            perturbed: Perturbed::default(),
            masked_weights: Vec::new(),
            last_norm: 0.0,
        }
    }

    /// Sparse SAM with its own constant.
    pub fn sparse(rho: f64, norm: Norm, perturbation: Perturbation) -> Self {
        Self { sparse: true, norm, perturbation, ..Self::new(rho) }
    }

    /// Step of radius `rho`.
    fn step<'m>(&self, rho: f64, mask: Option<&'m Mask>) -> AscentStep<'m> {
        let step = if self.sparse { AscentStep::sparse(rho) } else { AscentStep::dense(rho) };
        step.masked(self.norm, mask).after(self.last_norm)
    }
}

impl Method for Sam {
    fn kept(&mut self) -> Kept<'_> {
        Kept { numbers: vec![("last_norm".into(), &mut self.last_norm)], ..Kept::default() }
    }

    fn direction(
        &mut self,
        Iterate { weights, .. }: Iterate<'_>,
        batch: &mut dyn Landscape,
        context: &mut Context<'_>,
        direction: &mut Vec<f32>,
    ) -> Result<f64> {
        let mut ask = Ask::FIRST;
        let mut mask = None;
        if let Some(active) = context.mask {
            match self.perturbation {
                Perturbation::Implicit => {
                    let flags = active.mask.flags();
                    let masked = weights.iter().zip(flags).map(|(w, live)| if *live { *w } else { 0.0 });
                    self.masked_weights.clear();
                    self.masked_weights.extend(masked);
                    ask.input_weights = Some(&self.masked_weights);
                }
                Perturbation::Explicit => {
                    mask = Some(active.mask);
                    let reads_all = self.norm == Norm::Full || (self.norm == Norm::Lagged && self.last_norm == 0.0);
                    ask.plan = active.plan.filter(|_| !reads_all);
                    // Dead weights do not move.
                    ask.shared = ask.plan.is_some();
                }
            }
        }
        let loss = batch.gradient(weights, ask, &mut self.gradient)?.mean;
        let step = self.step(self.rho * context.rho_factor, mask);
        step.perturb(weights, &self.gradient, &mut self.perturbed);
        if let Some(between) = &mut context.between {
            between(weights, &self.gradient);
        }
        batch.gradient(self.perturbed.weights(), Ask { shared: ask.shared, ..Ask::SECOND }, direction)?;
        if self.norm == Norm::Lagged {
            self.last_norm = norm(direction);
        }
        Ok(loss)
    }
}

/// Gradient at `w + rho direction / (||direction|| + epsilon)`, for methods beyond SAM.
#[derive(Clone, Debug, Default)]
pub(super) struct Ascent {
    perturbed: Perturbed,
}

impl Ascent {
    /// Writes the second gradient to `out`.
    pub(super) fn gradient(
        &mut self,
        place: (&[f32], &[f32]),
        rho: f64,
        batch: &mut dyn Landscape,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        self.ask(place, rho, batch, Ask::SECOND, out)
    }

    /// Writes the gradient requested by `ask` to `out`.
    pub(super) fn ask(
        &mut self,
        (weights, direction): (&[f32], &[f32]),
        rho: f64,
        batch: &mut dyn Landscape,
        ask: Ask<'_>,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        AscentStep::dense(rho).perturb(weights, direction, &mut self.perturbed);
        batch.gradient(self.perturbed.weights(), ask, out)?;
        Ok(())
    }
}
