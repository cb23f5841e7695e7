//! ESAM, efficient SAM (Du et al. 2022): a random subset of the tensors is perturbed, and the
//! second gradient uses only the samples whose loss rises most under the perturbation. Follows the authors' code where it differs
//! from the paper: see `sharpest`.

use super::ascent::Perturbed;
use super::ascent_step::AscentStep;
use super::entry::{Key, KeyDefault, OptimizerEntry};
use super::method::{Ask, Context, Iterate, Landscape, Method};
use super::norm::Norm;
use super::value::{Bounds, Kind};
use crate::error::Result;
use crate::flops::StepCost;
use crate::mask::Mask;
use crate::nn::BackwardPlan;
use crate::random::{Stream, stream, unit};

pub(super) const ENTRY: OptimizerEntry = OptimizerEntry {
    keys: &[
        Key {
            name: "beta",
            about: "Probability with which a tensor is perturbed",
            kind: Kind::Number(Bounds::PositiveFraction),
            default: KeyDefault::Number(0.6),
        },
        Key {
            name: "gamma",
            about: "Fraction of the samples in the second gradient; one sample fewer is taken, as in the authors' code (all from .99 on)",
            kind: Kind::Number(Bounds::PositiveFraction),
            default: KeyDefault::Number(0.5),
        },
    ],
    cost: |ascent, _| Ok(StepCost::part_of_samples(ascent.number("beta")?, ascent.number("gamma")?)),
    ..OptimizerEntry::new("esam", "efficient SAM (Du et al. 2022): some tensors, the sharpest samples", |ascent, _| {
        Ok(Box::new(Esam::new(ascent.rho, ascent.number("beta")?, ascent.number("gamma")?)))
    })
};

/// Perturbs by `eps = rho / beta m g / ||m g||`, where m contains each tensor with probability
/// beta. The second gradient uses the samples whose loss rises by more than the k-th largest rise, k being the fraction `gamma` of
/// the samples, rounded down.
#[derive(Clone, Debug)]
pub struct Esam {
    /// Radius.
    pub rho: f64,
    /// Probability that a tensor is perturbed.
    pub beta: f64,
    /// Fraction of the samples in the second gradient, of which one is left out; all from .99 on.
    pub gamma: f64,
    gradient: Vec<f32>,
    perturbed: Perturbed,
}

impl Esam {
    /// Creates the method with empty buffers.
    pub fn new(rho: f64, beta: f64, gamma: f64) -> Self {
        Self { rho, beta, gamma, gradient: Vec::new(), perturbed: Perturbed::default() }
    }
}

impl Method for Esam {
    fn direction(
        &mut self,
        Iterate { weights, .. }: Iterate<'_>,
        batch: &mut dyn Landscape,
        context: &mut Context<'_>,
        direction: &mut Vec<f32>,
    ) -> Result<f64> {
        let layout = batch.layout().clone();
        let rng = &mut stream(context.seed, Stream::Tensors(context.step));
        let mut live = Vec::with_capacity(layout.len());
        for spec in layout.specs() {
            let chosen = f64::from(unit(rng)) < self.beta;
            live.resize(live.len() + spec.len(), chosen);
        }
        let mask = Mask::from_flags(live);
        let plan = BackwardPlan::of_scalars(&layout, mask.flags());
        let ask = Ask { plan: Some(&plan), ..Ask::FIRST };
        let loss = batch.gradient(weights, ask, &mut self.gradient)?;
        let rho = self.rho * context.rho_factor / self.beta;
        let step = AscentStep::sparse(rho).masked(Norm::Masked, Some(&mask));
        step.perturb(weights, &self.gradient, &mut self.perturbed);
        let perturbed = batch.losses(self.perturbed.weights())?;
        let rises: Vec<f64> = perturbed.iter().zip(&loss.per_sample).map(|(after, before)| after - before).collect();
        let chosen = sharpest(&rises, self.gamma);
        batch.gradient(self.perturbed.weights(), Ask { samples: Some(&chosen), ..Ask::SECOND }, direction)?;
        Ok(loss.mean)
    }
}

/// From this fraction on, the authors' code takes all samples.
const ALL: f64 = 0.99;

/// Selects the samples whose loss rises by more than the k-th largest rise, in ascending order, as the authors' code does. k is the
/// fraction `part` of the samples, rounded down, at least 1. So k - 1 samples are selected, or fewer if some rise alike. If there
/// are none, the k samples with the largest rises are selected (ties: lower index first).
fn sharpest(rises: &[f64], part: f64) -> Vec<usize> {
    let n = rises.len();
    if part >= ALL {
        return (0..n).collect();
    }
    let mut ranked: Vec<usize> = (0..n).collect();
    ranked.sort_by(|a, b| rises[*b].total_cmp(&rises[*a]));
    ranked.truncate(((part * n as f64 + 1e-6) as usize).clamp(1, n.max(1)));
    let above = |cutoff: f64| (0..n).filter(|i| rises[*i] > cutoff).collect();
    let chosen: Vec<usize> = ranked.last().map_or_else(Vec::new, |last| above(rises[*last]));
    if !chosen.is_empty() {
        return chosen;
    }
    ranked.sort_unstable();
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sharpest_samples_are_those_whose_loss_rises_most() {
        let rises = [0.1, 0.5, -1.0, 0.6, 0.2];
        assert_eq!(sharpest(&rises, 0.6), [1, 3], "two are above the third");
        assert_eq!(sharpest(&rises, 0.98), [1, 3, 4]);
        assert_eq!(sharpest(&rises, 0.99), [0, 1, 2, 3, 4]);
        assert_eq!(sharpest(&[0.1, 0.2, 0.2, 0.3], 0.75), [3], "two rise alike");
        assert_eq!(sharpest(&[0.1, 0.2], 0.1), [1], "none is above the first");
        assert_eq!(sharpest(&[0.3; 10], 0.3), [0, 1, 2], "all rise alike");
    }
}
