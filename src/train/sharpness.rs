//! Curvature on the way: the top of the Hessian beside the edges of stability, and the sharpness of trained weights.

use std::collections::{BTreeMap, BTreeSet};

use nalgebra::DVector;

use super::landscape::{BatchLandscape, Network, Problem};
use crate::data::DataSet;
use crate::data::loader::Batch;
use crate::error::Result;
use crate::nn::{BatchNormMode, ParamLayout};
use crate::optim::{AscentStep, Ask, Landscape, Perturbed, norm};
use crate::random::{Stream, stream};
use crate::record::{EdgeCheck, SharpnessCheck};
use crate::sharpness::{
    AscentOperator, First, GradientAt, Hessian, Lanczos, density, gradient_descent_edge, masked_edge, noise, sam_edge,
    trace,
};
use crate::suite::Cell;

/// Largest residual of an eigenpair, over its eigenvalue. The error of the eigenvalue is of the order of its square.
const TOLERANCE: f64 = 0.01;
/// Products for an eigenpair, at most.
const PRODUCTS: usize = 50;
/// A third of the products of a trace.
const TRACE: usize = 10;
/// Random vectors of a spectral density, and Lanczos steps of each.
const DENSITY: [usize; 2] = [4, 20];
/// Samples of a pass where they are taken as they are.
const CHUNK: usize = 256;
/// Samples of `sharpness`, where the suite does not say.
const SAMPLES: usize = 1000;
/// Radius within which the loss is climbed: the same for all optimizers, whose own radii differ in size and meaning.
const RHO: f64 = 0.05;
/// Steps of that climb.
const CLIMB: usize = 5;

/// A loss that is the same however often it is asked: statistics stay as they are, dropout leaves out the same.
struct Still<'a>(BatchLandscape<'a>);

impl GradientAt<f32> for Still<'_> {
    fn gradient(&mut self, weights: &[f32], gradient: &mut Vec<f32>) -> Result<f64> {
        Ok(self.0.gradient(weights, Ask::SECOND, gradient)?.mean)
    }
}

impl<'a> Still<'a> {
    /// The loss of a batch, and the weights a network has now.
    fn of(network: Network<'a>, batch: &'a Batch, mode: BatchNormMode) -> (Self, &'a [f32]) {
        let Network { problem, weights, running } = network;
        (Self(BatchLandscape { problem, running, batch, second: mode, prefix: None, seconds: [0.0; 2] }), weights)
    }
}

/// Checks of a training against its edge.
pub(super) struct EdgeProbe {
    seed: u64,
    free: Option<Vec<bool>>,
    /// The last eigenvector: the next is likely near it.
    previous: Option<DVector<f64>>,
    /// Every check so far.
    pub(super) checks: Vec<EdgeCheck>,
}

/// The weights that are not frozen, where some are.
fn free(cell: &Cell, layout: &ParamLayout) -> Option<Vec<bool>> {
    if cell.measure.frozen.is_empty() {
        return None;
    }
    let mut free = vec![true; layout.len()];
    for spec in layout.specs().iter().filter(|spec| cell.measure.freezes(&spec.name)) {
        free[spec.range()].fill(false);
    }
    Some(free)
}

impl EdgeProbe {
    pub(super) fn new(cell: &Cell, layout: &ParamLayout) -> Self {
        Self { seed: cell.seed, free: free(cell, layout), previous: None, checks: Vec::new() }
    }

    /// The last eigenvector, where there was a check.
    pub(super) fn eigenvector(&self) -> Option<&[f64]> {
        self.previous.as_ref().map(|vector| vector.as_slice())
    }

    /// Puts back what was found before.
    pub(super) fn restore(&mut self, eigenvector: Option<Vec<f64>>, checks: Vec<EdgeCheck>) {
        (self.previous, self.checks) = (eigenvector.map(DVector::from_vec), checks);
    }

    /// Checks the loss of `batch` before step `step` is taken on it; nothing is noted where the training has diverged.
    pub(super) fn check(
        &mut self,
        network: Network<'_>,
        batch: &Batch,
        (step, lr): (usize, f64),
        ascent: Option<AscentStep<'_>>,
    ) -> Result<()> {
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
        let start = match &self.previous {
            None => random,
            Some(previous) => near(previous, random),
        };
        let mut found = Lanczos::top(First::Magnitude, TOLERANCE, PRODUCTS).run(&mut hessian, start)?;
        let Some(top) = found.pairs.pop() else { return Ok(()) };
        let edge = match ascent.map(|ascent| (ascent, ascent.mask())) {
            None => gradient_descent_edge(lr),
            Some((ascent, None)) => sam_edge(lr, ascent.rho(), ascent.divisor(&gradient)),
            Some((ascent, Some(mask))) => {
                let start = near(&top.vector, noise(n, rng));
                let scale = ascent.scale(&gradient);
                let mut operator = AscentOperator { hessian: &mut hessian, live: mask.flags(), scale };
                let mut own = Lanczos::top(First::Largest, TOLERANCE, PRODUCTS).run(&mut operator, start)?;
                let Some(u) = own.pairs.pop() else { return Ok(()) };
                let [along, masked] = operator.parts(&u.vector)?;
                found.products += 2 * own.products + 1;
                found.converged &= own.converged;
                // The largest eigenvalue of H, of which only the one of largest magnitude is known.
                let largest = if top.value > 0.0 { top.value } else { along };
                // Without positive curvature there is nothing that a step could climb.
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
        if figures.iter().all(|x| x.is_finite()) && check.ascent_alignment.is_none_or(f64::is_finite) {
            self.checks.push(check);
        }
        self.previous = Some(top.vector);
        Ok(())
    }
}

/// |cos| of the angle between a gradient, of which only the free weights count, and a vector of length 1 among these.
fn cosine(gradient: &[f32], vector: &DVector<f64>, free: Option<&[bool]>) -> f64 {
    let along: f64 = gradient.iter().zip(vector.iter()).map(|(g, v)| f64::from(*g) * v).sum();
    let is_free = |i: usize| free.is_none_or(|free| free[i]);
    let squares: f64 = (0..gradient.len()).filter(|i| is_free(*i)).map(|i| f64::from(gradient[i]).powi(2)).sum();
    if squares > 0.0 { along.abs() / squares.sqrt() } else { 0.0 }
}

/// The sharpness of the weights after `epoch`: of the loss of the first training samples, as they are, in evaluation mode; none
/// where it is not finite or no sample can be read.
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
    // May be fewer: what cannot be read may be left out.
    let samples = loss.0.samples();
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

/// The loss, and how much larger the largest is that is found at distance [`RHO`]: SAM's ascent step, and a few more from
/// where it leads.
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

/// Names of the layers: of parameters, up to their last part.
fn layers(layout: &ParamLayout) -> BTreeSet<String> {
    layout.specs().iter().map(|spec| layer(&spec.name).to_string()).collect()
}

fn layer(parameter: &str) -> &str {
    parameter.rsplit_once('.').map_or(parameter, |(layer, _)| layer)
}

/// The weights of a layer that are free.
fn of_layer(layout: &ParamLayout, name: &str, free: Option<&[bool]>) -> Vec<bool> {
    let mut own = vec![false; layout.len()];
    for spec in layout.specs().iter().filter(|spec| layer(&spec.name) == name) {
        spec.range().for_each(|i| own[i] = free.is_none_or(|free| free[i]));
    }
    own
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use nalgebra::{DMatrix, SymmetricEigen};

    use super::super::landscape::BatchProblem;
    use super::*;
    use crate::data::Input;
    use crate::mask::Mask;
    use crate::model::{Model, ModelSpec, Task, build};
    use crate::nn::{Objective, RunningStats, Scalar};
    use crate::optim::Norm;
    use crate::sharpness::Operator;

    const SHAPE: [usize; 3] = [1, 2, 3];
    const CLASSES: usize = 4;
    const SAMPLES: usize = 12;
    const WIDTHS: [usize; 4] = [6, 9, 8, CLASSES];

    /// An MLP of 179 parameters and a batch for it.
    struct Fixture {
        model: Box<dyn Model>,
        batch: Batch,
        objective: Objective,
    }

    impl Fixture {
        fn new(objective: Objective) -> Self {
            let json = serde_json::json!({"name": "mlp", "hidden": [WIDTHS[1], WIDTHS[2]]});
            let spec: ModelSpec = serde_json::from_value(json).expect("a specification");
            let model = build(&spec, Task { input: Input::Image(SHAPE), classes: CLASSES }).expect("a model");
            let pixels = noise(SAMPLES * 6, &mut stream(1, Stream::Synthetic("pixels")));
            let input = Tensor::from_slice(pixels.as_slice(), (SAMPLES, 1, 2, 3), &Device::Cpu).expect("images");
            let labels = (0..SAMPLES).map(|i| (i * 7 % CLASSES) as u32).collect();
            Self { model, batch: Batch { input, labels, dropout: None }, objective }
        }

        fn weights<T: Scalar>(&self) -> Vec<T> {
            self.model.layout().init(5).iter().map(|w| T::from_f64(f64::from(*w))).collect()
        }

        fn loss(&self) -> BatchProblem<'_> {
            let problem = Problem { objective: self.objective, ..self.model.as_ref().into() };
            BatchProblem { problem, batch: &self.batch }
        }
    }

    /// A parameter as a matrix of `rows` rows.
    fn matrix(flat: &[f64], layout: &ParamLayout, name: &str, rows: usize) -> DMatrix<f64> {
        let spec = layout.specs().iter().find(|spec| spec.name == name).expect("a parameter");
        DMatrix::from_row_slice(rows, spec.len() / rows, &flat[spec.range()])
    }

    /// The product of the Hessian with `v`, exactly, by the R-operator (Pearlmutter 1994): every value of the forward and the
    /// backward pass with its derivative along v.
    fn exact(fixture: &Fixture, weights: &[f64], v: &[f64]) -> Vec<f64> {
        let layout = fixture.model.layout();
        let pixels: Vec<f64> = fixture.batch.input.flatten_all().and_then(|x| x.to_vec1()).expect("pixels");
        // Columns are samples.
        let (mut a, mut ra) = (DMatrix::from_column_slice(6, SAMPLES, &pixels), DMatrix::zeros(6, SAMPLES));
        let mut inputs = Vec::new();
        let mut signs: Vec<DMatrix<f64>> = Vec::new();
        for (layer, width) in WIDTHS.into_iter().enumerate().skip(1) {
            let of = |flat: &[f64]| {
                let [weight, bias] = ["weight", "bias"].map(|part| format!("fc{layer}.{part}"));
                (matrix(flat, layout, &weight, width), matrix(flat, layout, &bias, width))
            };
            let ((w, b), (rw, rb)) = (of(weights), of(v));
            let spread = |b: &DMatrix<f64>| DMatrix::from_fn(b.nrows(), SAMPLES, |i, _| b[i]);
            let (z, rz) = (&w * &a + spread(&b), &w * &ra + &rw * &a + spread(&rb));
            inputs.push((w, rw, a, ra));
            let last = layer + 1 == WIDTHS.len();
            let sign = z.map(|z| if last || z > 0.0 { 1.0 } else { 0.0 });
            (a, ra) = (z.component_mul(&sign), rz.component_mul(&sign));
            signs.push(sign);
        }
        let hit = |i: usize, k: usize| if fixture.batch.labels[k] as usize == i { 1.0 } else { 0.0 };
        let n = SAMPLES as f64;
        let (mut d, mut rd) = match fixture.objective {
            Objective::SquaredError => {
                let scale = 2.0 / (n * CLASSES as f64);
                (DMatrix::from_fn(CLASSES, SAMPLES, |i, k| scale * (a[(i, k)] - hit(i, k))), scale * &ra)
            }
            Objective::CrossEntropy => {
                let sums: Vec<f64> = a.column_iter().map(|z| z.iter().map(|z| z.exp()).sum()).collect();
                let p = DMatrix::from_fn(CLASSES, SAMPLES, |i, k| a[(i, k)].exp() / sums[k]);
                let means: Vec<f64> = (0..SAMPLES).map(|k| p.column(k).dot(&ra.column(k))).collect();
                let rp = DMatrix::from_fn(CLASSES, SAMPLES, |i, k| p[(i, k)] * (ra[(i, k)] - means[k]) / n);
                (DMatrix::from_fn(CLASSES, SAMPLES, |i, k| (p[(i, k)] - hit(i, k)) / n), rp)
            }
        };
        let mut product = vec![0.0; layout.len()];
        for (layer, (w, rw, a, ra)) in inputs.iter().enumerate().rev() {
            if layer + 1 < inputs.len() {
                let sign = &signs[layer];
                (d, rd) = (d.component_mul(sign), rd.component_mul(sign));
            }
            let weight = &rd * a.transpose() + &d * ra.transpose();
            let name = format!("fc{}", layer + 1);
            for (part, value) in
                [("weight", weight.transpose()), ("bias", rd.column_sum().into_owned().resize(rd.nrows(), 1, 0.0))]
            {
                let spec = layout.specs().iter().find(|s| s.name == format!("{name}.{part}")).expect("a parameter");
                product[spec.range()].copy_from_slice(value.as_slice());
            }
            let back = (w.transpose() * &d, rw.transpose() * &d + w.transpose() * &rd);
            (d, rd) = back;
        }
        product
    }

    fn dense(fixture: &Fixture) -> DMatrix<f64> {
        let weights: Vec<f64> = fixture.weights();
        let n = weights.len();
        let columns = (0..n).map(|i| {
            let unit: Vec<f64> = (0..n).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
            DVector::from_vec(exact(fixture, &weights, &unit))
        });
        DMatrix::from_columns(&columns.collect::<Vec<_>>())
    }

    const OBJECTIVES: [Objective; 2] = [Objective::CrossEntropy, Objective::SquaredError];

    #[test]
    fn products_by_differences_are_those_of_the_r_operator() {
        for objective in OBJECTIVES {
            let fixture = Fixture::new(objective);
            let mut loss = fixture.loss();
            let weights: Vec<f64> = fixture.weights();
            let v = noise(weights.len(), &mut stream(2, Stream::Synthetic("direction")));
            let expected = DVector::from_vec(exact(&fixture, &weights, v.as_slice()));
            let found = Hessian::new(&mut loss, weights.as_slice()).apply(&v).expect("a product");
            assert!((&found - &expected).norm() < 1e-7 * expected.norm(), "{objective:?}: f64");
            let single: Vec<f32> = fixture.weights();
            let found = Hessian::new(&mut loss, single.as_slice()).apply(&v).expect("a product");
            assert!((&found - &expected).norm() < 3e-3 * expected.norm(), "{objective:?}: f32");
        }
    }

    /// Lanczos on differences against a dense solver on the exact Hessian: to 1e-6 in f64, to 1e-3 in f32 at the residual of the checks.
    #[test]
    fn eigenvalues_are_those_of_the_dense_hessian() {
        for objective in OBJECTIVES {
            let fixture = Fixture::new(objective);
            let mut loss = fixture.loss();
            let mut expected: Vec<f64> = SymmetricEigen::new(dense(&fixture)).eigenvalues.iter().copied().collect();
            expected.sort_by(|a, b| b.abs().total_cmp(&a.abs()));
            let start = noise(expected.len(), &mut stream(3, Stream::Synthetic("start")));
            let weights: Vec<f64> = fixture.weights();
            let lanczos = Lanczos { pairs: 3, first: First::Magnitude, tolerance: 1e-5, products: 300 };
            let mut hessian = Hessian::new(&mut loss, weights.as_slice());
            let found = lanczos.run(&mut hessian, start.clone()).expect("eigenpairs");
            assert!(found.converged, "{objective:?}");
            for (pair, expected) in found.pairs.iter().zip(&expected) {
                assert!((pair.value / expected - 1.0).abs() < 1e-6, "{objective:?}: {} {expected}", pair.value);
            }
            let weights: Vec<f32> = fixture.weights();
            let mut hessian = Hessian::new(&mut loss, weights.as_slice());
            let found =
                Lanczos::top(First::Magnitude, TOLERANCE, PRODUCTS).run(&mut hessian, start).expect("an eigenpair");
            assert!(found.converged, "{objective:?}");
            let top = found.pairs[0].value;
            assert!((top / expected[0] - 1.0).abs() < 1e-3, "{objective:?}: {top} {}", expected[0]);
        }
    }

    /// A block is the Hessian's own.
    #[test]
    fn frozen_weights_are_left_out() {
        let fixture = Fixture::new(Objective::SquaredError);
        let mut loss = fixture.loss();
        let weights: Vec<f64> = fixture.weights();
        let full = dense(&fixture);
        for layer in layers(fixture.model.layout()) {
            let free = of_layer(fixture.model.layout(), &layer, None);
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

    /// On diag(10, 4, 1), where everything of a masked step is diagonal, from w = (1, 1, 1): g = (10, 4, 1). The first weight of the
    /// model has no curvature.
    #[test]
    fn masked_edges_are_those_of_the_quadratic() {
        let spec: ModelSpec = serde_json::from_str(r#"{"name": "quadratic"}"#).expect("a specification");
        let model = build(&spec, Task { input: Input::Image(SHAPE), classes: 4 }).expect("a model");
        let problem = Problem { objective: Objective::SquaredError, ..model.as_ref().into() };
        let input = Tensor::zeros((1, 1, 2, 3), DType::F32, &Device::Cpu).expect("an image");
        let batch = Batch { input, labels: vec![0], dropout: None };
        let (eta, rho) = (0.05, 0.2);
        let check = |live: [bool; 4], norm| {
            let mask = Mask::from_flags(live.to_vec());
            let mut probe = EdgeProbe { seed: 1, free: None, previous: None, checks: Vec::new() };
            let mut running = RunningStats::new(model.layout());
            let network = Network { problem, weights: &[1.0; 4], running: &mut running };
            let ascent = AscentStep::sparse(rho).masked(norm, Some(&mask));
            probe.check(network, &batch, (0, eta), Some(ascent)).expect("a check");
            probe.checks[0]
        };
        let g = 117f64.sqrt();
        for (live, norm, expected) in [
            ([true; 4], Norm::Full, sam_edge(eta, rho, g)),
            ([false; 4], Norm::Full, 2.0 / eta),
            ([false, true, false, false], Norm::Masked, sam_edge(eta, rho, 10.0)),
            // The top eigenvector is not perturbed, and no other direction overtakes it.
            ([true, false, true, true], Norm::Full, 2.0 / eta),
        ] {
            let found = check(live, norm);
            assert!((found.edge / expected - 1.0).abs() < 1e-3, "{live:?}: {} {expected}", found.edge);
            assert!(found.converged && (found.eigenvalue - 10.0).abs() < 2e-3, "{found:?}");
            assert_eq!(found.ascent_alignment.is_some(), live.contains(&true));
        }
    }
}
