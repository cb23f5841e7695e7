//! Sharpness of trained weights: top Hessian eigenvalues, trace, spectral density, and the rise of
//! the loss nearby.

use std::collections::{BTreeMap, BTreeSet};

use super::curvature::{PRODUCTS, Still, TOLERANCE, free};
use super::landscape::{Network, Problem};
use crate::data::DataSet;
use crate::error::Result;
use crate::nn::{BatchNormMode, ParamLayout};
use crate::optim::{Perturbed, norm};
use crate::random::{Stream, stream};
use crate::record::SharpnessCheck;
use crate::sharpness::{First, GradientAt, Hessian, Lanczos, density, noise, trace};
use crate::suite::Cell;

/// A third of the products per trace.
const TRACE: usize = 10;
/// Random vectors per spectral density, and Lanczos steps for each.
const DENSITY: [usize; 2] = [4, 20];
/// Samples per pass.
const CHUNK: usize = 256;
/// Default number of samples for `sharpness`.
const SAMPLES: usize = 1000;
/// Radius of the ascent. It is the same for all optimizers, whose own radii differ in size and
/// meaning.
const RHO: f64 = 0.05;
/// Steps of the ascent.
const CLIMB: usize = 5;

/// Measures the sharpness of the weights after `epoch`, of the loss of the first training samples,
/// without augmentation and in evaluation mode. Returns `None` if it is not finite or no sample can
/// be read.
///
/// # Errors
/// When a sample cannot be read or a tensor operation fails.
pub(super) fn sharpness(
    network: Network<'_>,
    data: &DataSet,
    cell: &Cell,
    epoch: usize,
) -> Result<Option<SharpnessCheck>> {
    let wanted = cell.measure.sharpness_samples.unwrap_or(SAMPLES).min(data.train.len());
    let batch = data.train.batch(&(0..wanted as u32).collect::<Vec<u32>>(), None)?;
    if batch.labels.is_empty() {
        return Ok(None);
    }
    let layout = network.problem.model.layout().clone();
    let n = layout.len();
    let rng = &mut stream(cell.seed, Stream::Sharpness(epoch));
    let network = Network { problem: Problem { chunk: Some(CHUNK), ..network.problem }, ..network };
    let (mut loss, weights) = Still::of(network, &batch, BatchNormMode::Eval);
    // May be fewer, since unreadable samples may be left out.
    let samples = loss.samples();
    let (value, rise) = climb(&mut loss, weights)?;
    let free = free(cell, &layout);
    let mut hessian = Hessian::new(&mut loss, weights).of(free.as_deref());
    let difference = hessian.step();
    let pairs = cell.measure.eigenvalues.unwrap_or(1);
    let lanczos = Lanczos { pairs, first: First::Magnitude, tolerance: TOLERANCE, products: PRODUCTS * pairs };
    let found = lanczos.run(&mut hessian, noise(n, rng))?;
    let Some((top, others)) = found.pairs.split_first() else { return Ok(None) };
    let sum = trace(&mut hessian, TRACE, rng)?;
    let density = if cell.measure.density {
        let [probes, steps] = DENSITY;
        density(&mut hessian, probes, steps, rng)?.points
    } else {
        Vec::new()
    };
    let mut by_layer = BTreeMap::new();
    if cell.measure.by_layer {
        for layer in layers(&layout) {
            let own = of_layer(&layout, &layer, free.as_deref());
            if own.iter().any(|own| *own) {
                let mut block = Hessian::new(&mut loss, weights).of(Some(&own));
                let found = Lanczos::top(First::Magnitude, TOLERANCE, PRODUCTS).run(&mut block, noise(n, rng))?;
                by_layer.insert(layer, found.pairs.first().map_or(f64::NAN, |top| top.value));
            }
        }
    }
    let check = SharpnessCheck {
        epoch,
        samples,
        loss: value,
        eigenvalue: top.value,
        residual: top.residual,
        next_eigenvalues: others.iter().map(|pair| (pair.value, pair.residual)).collect(),
        products: found.products,
        converged: found.converged,
        difference,
        trace: sum.value,
        trace_standard_error: sum.standard_error,
        rho: RHO,
        max_loss_increase: rise,
        by_layer,
        density,
    };
    let figures = [value, rise, check.eigenvalue, check.residual, check.trace];
    let figures = figures.into_iter().chain(check.by_layer.values().copied());
    let finite = figures.chain(check.density.iter().flat_map(|(at, weight)| [*at, *weight])).all(f64::is_finite);
    Ok(finite.then_some(check))
}

/// Returns the loss, and how much higher the largest loss found at distance [`RHO`] is. The search
/// takes SAM's ascent step and a few more from there.
fn climb(loss: &mut Still<'_>, weights: &[f32]) -> Result<(f64, f64)> {
    let (mut gradient, mut perturbed) = (Vec::new(), Perturbed::default());
    let value = loss.gradient(weights, &mut gradient)?;
    let mut highest = value;
    for _ in 0..CLIMB {
        let length = norm(&gradient);
        if length == 0.0 {
            break;
        }
        perturbed.set(weights, &gradient, RHO / length, None);
        let found = loss.gradient(perturbed.weights(), &mut gradient)?;
        if !found.is_finite() {
            return Ok((value, found));
        }
        highest = highest.max(found);
    }
    Ok((value, highest - value))
}

/// Layer names: parameter names without their last part.
fn layers(layout: &ParamLayout) -> BTreeSet<String> {
    layout.specs().iter().map(|spec| layer(&spec.name).to_string()).collect()
}

fn layer(parameter: &str) -> &str {
    parameter.rsplit_once('.').map_or(parameter, |(layer, _)| layer)
}

/// Free weights of a layer.
fn of_layer(layout: &ParamLayout, name: &str, free: Option<&[bool]>) -> Vec<bool> {
    let mut own = vec![false; layout.len()];
    for spec in layout.specs().iter().filter(|spec| layer(&spec.name) == name) {
        spec.range().for_each(|i| own[i] = free.is_none_or(|free| free[i]));
    }
    own
}

#[cfg(test)]
mod tests {
    use nalgebra::SymmetricEigen;

    use super::super::exact_hessian::{SmallMlp, dense};
    use super::*;
    use crate::nn::Objective;

    /// A block must equal that of the full Hessian.
    #[test]
    fn frozen_weights_are_left_out() {
        let mlp = SmallMlp::new(Objective::SquaredError);
        let mut loss = mlp.loss();
        let weights: Vec<f64> = mlp.weights();
        let full = dense(&mlp);
        for layer in layers(mlp.layout()) {
            let free = of_layer(mlp.layout(), &layer, None);
            let chosen: Vec<usize> = (0..free.len()).filter(|i| free[*i]).collect();
            let block = full.select_columns(&chosen).select_rows(&chosen);
            let expected =
                SymmetricEigen::new(block).eigenvalues.iter().fold(0f64, |m, l| if l.abs() > m.abs() { *l } else { m });
            let mut hessian = Hessian::new(&mut loss, weights.as_slice()).of(Some(&free));
            let start = noise(free.len(), &mut stream(4, Stream::Synthetic("start")));
            let found = Lanczos::top(First::Magnitude, 1e-5, 300).run(&mut hessian, start).expect("an eigenpair");
            let top = &found.pairs[0];
            assert!((top.value / expected - 1.0).abs() < 1e-6, "{layer}: {} {expected}", top.value);
            assert!(top.vector.iter().zip(&free).all(|(v, free)| *free || *v == 0.0), "{layer}");
        }
    }
}
