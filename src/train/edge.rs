//! Edge of stability: the top Hessian eigenvalue of a batch's loss, compared with the largest that
//! the optimizer tolerates at its step size.

use nalgebra::DVector;

use super::curvature::{PRODUCTS, Still, TOLERANCE, free};
use super::landscape::Network;
use crate::data::loader::Batch;
use crate::error::Result;
use crate::nn::{BatchNormMode, ParamLayout};
use crate::optim::{AscentStep, Perturbed, norm};
use crate::random::{Stream, stream};
use crate::record::EdgeCheck;
use crate::sharpness::{
    AscentOperator, First, GradientAt, Hessian, Lanczos, gradient_descent_edge, masked_edge, noise, sam_edge,
};
use crate::suite::Cell;

/// Checks a training against the edge of stability.
pub(super) struct EdgeProbe {
    seed: u64,
    free: Option<Vec<bool>>,
    /// Last eigenvector, from which the next search starts; empty before the first check.
    eigenvector: Vec<f64>,
}

impl EdgeProbe {
    pub(super) fn new(cell: &Cell, layout: &ParamLayout) -> Self {
        Self { seed: cell.seed, free: free(cell, layout), eigenvector: Vec::new() }
    }

    /// Last eigenvector; empty before the first check.
    pub(super) fn eigenvector(&mut self) -> &mut Vec<f64> {
        &mut self.eigenvector
    }

    /// Checks the loss of `batch` before a step of size `lr` with this ascent step; returns `None`
    /// if the training has diverged.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub(super) fn check(
        &mut self,
        network: Network<'_>,
        batch: &Batch,
        (step, lr): (usize, f64),
        ascent: Option<AscentStep<'_>>,
    ) -> Result<Option<EdgeCheck>> {
        let rng = &mut stream(self.seed, Stream::Edge(step));
        let (mut loss, weights) = Still::of(network, batch, BatchNormMode::Freeze);
        let n = weights.len();
        let (mut gradient, mut ascent_gradient) = (Vec::new(), Vec::new());
        let value = loss.gradient(weights, &mut gradient)?;
        if let Some(ascent) = &ascent {
            let mut perturbed = Perturbed::default();
            ascent.perturb(weights, &gradient, &mut perturbed);
            loss.gradient(perturbed.weights(), &mut ascent_gradient)?;
        }
        let free = self.free.as_deref();
        let mut hessian = Hessian::new(&mut loss, weights).of(free);
        let difference = hessian.step();
        let near = |vector: &DVector<f64>, random: DVector<f64>| vector + random / (n as f64).sqrt();
        let random = noise(n, rng);
        let start = match self.eigenvector.as_slice() {
            [] => random,
            previous => near(&DVector::from_column_slice(previous), random),
        };
        let mut found = Lanczos::top(First::Magnitude, TOLERANCE, PRODUCTS).run(&mut hessian, start)?;
        let Some(top) = found.pairs.pop() else { return Ok(None) };
        let edge = match ascent.map(|ascent| (ascent, ascent.mask())) {
            None => gradient_descent_edge(lr),
            Some((ascent, None)) => sam_edge(lr, ascent.rho(), ascent.divisor(&gradient)),
            Some((ascent, Some(mask))) => {
                let start = near(&top.vector, noise(n, rng));
                let scale = ascent.scale(&gradient);
                let mut operator = AscentOperator { hessian: &mut hessian, live: mask.flags(), scale };
                let mut own = Lanczos::top(First::Largest, TOLERANCE, PRODUCTS).run(&mut operator, start)?;
                let Some(u) = own.pairs.pop() else { return Ok(None) };
                let [along, masked] = operator.parts(&u.vector)?;
                found.products += 2 * own.products + 1;
                found.converged &= own.converged;
                // Largest eigenvalue of H. Only the one of largest magnitude is known.
                let largest = if top.value > 0.0 { top.value } else { along };
                // Without positive curvature no step can increase the loss.
                if largest > 0.0 { masked_edge(lr, largest, [along, masked]) } else { gradient_descent_edge(lr) }
            }
        };
        let cosine = |gradient: &[f32]| cosine(gradient, &top.vector, free);
        let moves = |ascent: &AscentStep<'_>| ascent.mask().is_none_or(|mask| mask.live_count() > 0);
        let check = EdgeCheck {
            step: step as u64,
            loss: value,
            gradient_norm: norm(&gradient),
            eigenvalue: top.value,
            residual: top.residual,
            products: found.products,
            converged: found.converged,
            difference,
            gradient_descent_edge: gradient_descent_edge(lr),
            edge,
            alignment: cosine(&gradient),
            ascent_alignment: ascent.as_ref().filter(|ascent| moves(ascent)).map(|_| cosine(&ascent_gradient)),
        };
        let figures = [value, check.gradient_norm, top.value, top.residual, edge, check.alignment];
        let finite = figures.iter().all(|x| x.is_finite()) && check.ascent_alignment.is_none_or(f64::is_finite);
        self.eigenvector = top.vector.as_slice().to_vec();
        Ok(finite.then_some(check))
    }
}

/// |cos| of the angle between the free part of a gradient and a unit vector in the free weights.
fn cosine(gradient: &[f32], vector: &DVector<f64>, free: Option<&[bool]>) -> f64 {
    let along: f64 = gradient.iter().zip(vector.iter()).map(|(g, v)| f64::from(*g) * v).sum();
    let is_free = |i: usize| free.is_none_or(|free| free[i]);
    let squares: f64 = (0..gradient.len()).filter(|i| is_free(*i)).map(|i| f64::from(gradient[i]).powi(2)).sum();
    if squares > 0.0 { along.abs() / squares.sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::super::landscape::Problem;
    use super::*;
    use crate::data::Input;
    use crate::mask::Mask;
    use crate::model::{ModelSpec, Task, build};
    use crate::nn::{FlopCount, Objective, RunningStats};
    use crate::optim::Norm;

    /// Uses diag(10, 4, 1), where all terms of a masked step are diagonal, at w = (1, 1, 1):
    /// g = (10, 4, 1). The model's first weight has no curvature.
    #[test]
    fn masked_edges_are_those_of_the_quadratic() {
        let spec: ModelSpec = serde_json::from_str(r#"{"name": "quadratic"}"#).expect("a specification");
        let model = build(&spec, Task { input: Input::Image([1, 2, 3]), classes: 4 }).expect("a model");
        let problem = Problem { objective: Objective::SquaredError, ..model.as_ref().into() };
        let input = Tensor::zeros((1, 1, 2, 3), DType::F32, &Device::Cpu).expect("an image");
        let batch = Batch { input, labels: vec![0], dropout: None };
        let (eta, rho) = (0.05, 0.2);
        let check = |live: [bool; 4], norm| {
            let mask = Mask::from_flags(live.to_vec());
            let mut probe = EdgeProbe { seed: 1, free: None, eigenvector: Vec::new() };
            let mut running = RunningStats::new(model.layout());
            let flops = FlopCount::default();
            let network = Network { problem, weights: &[1.0; 4], running: &mut running, flops };
            let ascent = AscentStep::sparse(rho).masked(norm, Some(&mask));
            probe.check(network, &batch, (0, eta), Some(ascent)).expect("gradients").expect("finite figures")
        };
        let g = 117f64.sqrt();
        for (live, norm, expected) in [
            ([true; 4], Norm::Full, sam_edge(eta, rho, g)),
            ([false; 4], Norm::Full, 2.0 / eta),
            ([false, true, false, false], Norm::Masked, sam_edge(eta, rho, 10.0)),
            // The top eigenvector is not perturbed, and no other direction exceeds it.
            ([true, false, true, true], Norm::Full, 2.0 / eta),
        ] {
            let found = check(live, norm);
            assert!((found.edge / expected - 1.0).abs() < 1e-3, "{live:?}: {} {expected}", found.edge);
            assert!(found.converged && (found.eigenvalue - 10.0).abs() < 2e-3, "{found:?}");
            assert_eq!(found.ascent_alignment.is_some(), live.contains(&true));
        }
    }
}
