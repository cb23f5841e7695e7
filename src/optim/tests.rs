//! Tests every method on a batch of quadratics with known gradients, against an independent f64
//! implementation of its definition.

use std::sync::Arc;

use candle_nn::Init;

use super::*;
use crate::error::Result;
use crate::mask::Mask;
use crate::nn::{BackwardPlan, ParamLayout, ParamsBuilder};

/// The loss of sample i is `sum over j of curvature[i][j] (w[j] - centre[i][j])^2 / 2`.
pub(super) struct Quadratics {
    layout: Arc<ParamLayout>,
    curvature: Vec<[f64; N]>,
    centre: Vec<[f64; N]>,
    /// Gradients requested, each as (second, number of samples).
    asked: Vec<(bool, usize)>,
}

pub(super) const N: usize = 5;
const SAMPLES: usize = 4;

impl Quadratics {
    pub(super) fn new() -> Self {
        let mut params = ParamsBuilder::default();
        params.param("fc.weight", &[3, 1], Init::Const(0.0));
        params.normalisation("norm", 1);
        let curvature = (0..SAMPLES).map(|i| std::array::from_fn(|j| 0.5 + ((3 * i + 2 * j) % 5) as f64));
        let centre = (0..SAMPLES).map(|i| std::array::from_fn(|j| ((5 * i + 3 * j) % 7) as f64 / 3.0 - 1.0));
        Self {
            layout: Arc::new(params.build()),
            curvature: curvature.collect(),
            centre: centre.collect(),
            asked: Vec::new(),
        }
    }

    fn loss(&self, i: usize, w: &[f64; N]) -> f64 {
        (0..N).map(|j| self.curvature[i][j] * (w[j] - self.centre[i][j]).powi(2) / 2.0).sum()
    }

    /// Gradient of the mean loss of some samples.
    fn slope(&self, samples: &[usize], w: &[f64; N]) -> [f64; N] {
        std::array::from_fn(|j| {
            samples.iter().map(|i| self.curvature[*i][j] * (w[j] - self.centre[*i][j])).sum::<f64>()
                / samples.len() as f64
        })
    }

    pub(super) fn all_slope(&self, w: &[f64; N]) -> [f64; N] {
        self.slope(&[0, 1, 2, 3], w)
    }
}

pub(super) fn wide(w: &[f32]) -> [f64; N] {
    std::array::from_fn(|j| f64::from(w[j]))
}

impl Landscape for Quadratics {
    fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    fn samples(&self) -> usize {
        SAMPLES
    }

    fn gradient(&mut self, weights: &[f32], ask: Ask<'_>, gradient: &mut Vec<f32>) -> Result<BatchLoss> {
        let all: Vec<usize> = (0..SAMPLES).collect();
        let samples = ask.samples.unwrap_or(&all);
        self.asked.push((ask.second, samples.len()));
        let w = wide(weights);
        *gradient = self.slope(samples, &w).map(|g| g as f32).to_vec();
        let per_sample: Vec<f64> = samples.iter().map(|i| self.loss(*i, &w)).collect();
        Ok(BatchLoss { mean: per_sample.iter().sum::<f64>() / samples.len() as f64, per_sample })
    }

    fn losses(&mut self, weights: &[f32]) -> Result<Vec<f64>> {
        Ok((0..SAMPLES).map(|i| self.loss(i, &wide(weights))).collect())
    }
}

/// Start of a step at `weights`, with no momentum.
pub(super) fn from(weights: &[f32]) -> Iterate<'_> {
    Iterate { weights, velocity: &[0.0; N] }
}

pub(super) const START: [f32; N] = [0.7, -0.4, 1.5, 0.2, -1.1];
pub(super) const RHO: f64 = 0.3;

/// The method's directions in `steps` steps, and the points they are taken at. Each step starts
/// where a plain step of .05 along the last direction leads.
fn walk(method: &mut dyn Method, batch: &mut Quadratics, steps: usize) -> Vec<([f64; N], [f64; N])> {
    let mut w = START.to_vec();
    let mut path = Vec::new();
    for step in 0..steps {
        let mut direction = Vec::new();
        let loss =
            method.direction(from(&w), batch, &mut Context::new(step, steps), &mut direction).expect("a direction");
        let expected = (0..SAMPLES).map(|i| batch.loss(i, &wide(&w))).sum::<f64>() / SAMPLES as f64;
        assert!((loss - expected).abs() < 1e-6, "the mean loss at w");
        path.push((wide(&w), wide(&direction)));
        w.iter_mut().zip(&direction).for_each(|(w, d)| *w -= 0.05 * d);
    }
    path
}

fn dot(a: &[f64; N], b: &[f64; N]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(super) fn length(a: &[f64; N]) -> f64 {
    dot(a, a).sqrt()
}

/// `a + scale b`.
pub(super) fn moved(a: &[f64; N], scale: f64, b: &[f64; N]) -> [f64; N] {
    std::array::from_fn(|j| a[j] + scale * b[j])
}

/// SAM's second gradient, along `v`.
fn sharp(batch: &Quadratics, w: &[f64; N], v: &[f64; N]) -> [f64; N] {
    batch.all_slope(&moved(w, RHO / length(v), v))
}

pub(super) fn assert_close(found: &[f64; N], expected: &[f64; N]) {
    let close = found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 2e-5 * e.abs().max(1.0));
    assert!(close, "{found:?} against {expected:?}");
}

#[test]
fn plain_is_the_gradient() {
    let mut batch = Quadratics::new();
    for (w, d) in walk(&mut Plain, &mut batch, 3) {
        assert_close(&d, &batch.all_slope(&w));
    }
    assert_eq!(batch.asked, [(false, SAMPLES); 3]);
}

#[test]
fn sam_is_the_gradient_at_the_top_of_the_ball() {
    let mut batch = Quadratics::new();
    for (w, d) in walk(&mut Sam::new(RHO), &mut batch, 3) {
        assert_close(&d, &sharp(&batch, &w, &batch.all_slope(&w)));
    }
}

#[test]
fn rho_follows_its_factor() {
    let mut batch = Quadratics::new();
    let mut d = Vec::new();
    let mut context = Context { rho_factor: 0.5, ..Context::new(3, 9) };
    Sam::new(2.0 * RHO).direction(from(&START), &mut batch, &mut context, &mut d).expect("a direction");
    assert_close(&wide(&d), &sharp(&batch, &wide(&START), &batch.all_slope(&wide(&START))));
}

/// Compares the three divisors with their definitions.
#[test]
fn norms_are_the_full_the_masked_and_the_lagged_one() {
    let mask = Mask::from_flags(vec![true, false, true, false, false]);
    for norm in [Norm::Full, Norm::Masked, Norm::Lagged] {
        let mut batch = Quadratics::new();
        let plan = BackwardPlan::of_scalars(&batch.layout, mask.flags());
        let mut sam = Sam::sparse(RHO, norm, Perturbation::Explicit);
        let (mut w, mut last) = (START.to_vec(), None);
        for step in 0..3 {
            let mut d = Vec::new();
            let active = Some(ActiveMask { mask: &mask, plan: Some(&plan) });
            sam.direction(from(&w), &mut batch, &mut Context { mask: active, ..Context::new(step, 3) }, &mut d)
                .expect("a direction");
            let point = wide(&w);
            let g = batch.all_slope(&point);
            let masked: [f64; N] = std::array::from_fn(|j| if mask.flags()[j] { g[j] } else { 0.0 });
            let divisor = match norm {
                Norm::Full => length(&g),
                Norm::Masked => length(&masked),
                Norm::Lagged => last.unwrap_or(length(&g)),
            };
            assert_close(&wide(&d), &batch.all_slope(&moved(&point, RHO / divisor, &masked)));
            last = Some(length(&wide(&d)));
            w.iter_mut().zip(&d).for_each(|(w, d)| *w -= 0.05 * d);
        }
    }
}

/// The two constants differ visibly only for tiny gradients. A zero gradient causes no division by
/// zero.
#[test]
fn the_denominator_is_the_methods_own() {
    let mut perturbed = Perturbed::default();
    for (step, expected) in [(AscentStep::dense(1.0), 1.0), (AscentStep::sparse(1.0), 0.5)] {
        step.perturb(&[0.0], &[1e-7], &mut perturbed);
        assert!((perturbed.weights()[0] - expected).abs() < 1e-4);
    }
    AscentStep::dense(0.5).perturb(&[1.0], &[0.0], &mut perturbed);
    assert_eq!(perturbed.weights(), [1.0]);
}

#[test]
fn asam_measures_in_units_of_the_weights() {
    let mut batch = Quadratics::new();
    for (w, d) in walk(&mut Asam::new(RHO, 0.01), &mut batch, 3) {
        let g = batch.all_slope(&w);
        let scaled: [f64; N] = std::array::from_fn(|j| (w[j].abs() + 0.01) * g[j]);
        let step: [f64; N] = std::array::from_fn(|j| (w[j].abs() + 0.01).powi(2) * g[j]);
        assert_close(&d, &batch.all_slope(&moved(&w, RHO / length(&scaled), &step)));
    }
}

#[test]
fn gsam_leaves_out_what_is_orthogonal() {
    let mut batch = Quadratics::new();
    for (w, d) in walk(&mut Gsam::new(RHO, 0.4), &mut batch, 3) {
        let g = batch.all_slope(&w);
        let g2 = sharp(&batch, &w, &g);
        let orthogonal = moved(&g, -dot(&g, &g2) / dot(&g2, &g2), &g2);
        assert!(dot(&orthogonal, &g2).abs() < 1e-9);
        assert_close(&d, &moved(&g2, -0.4, &orthogonal));
    }
}

#[test]
fn looksam_looks_every_few_steps() {
    let mut batch = Quadratics::new();
    let path = walk(&mut LookSam::new(RHO, 0.7, 3), &mut batch, 7);
    let mut kept = [0.0; N];
    for (step, (w, d)) in path.iter().enumerate() {
        let g = batch.all_slope(w);
        if step % 3 == 0 {
            let g2 = sharp(&batch, w, &g);
            assert_close(d, &g2);
            kept = moved(&g2, -dot(&g, &g2) / dot(&g, &g), &g);
        } else {
            assert_close(d, &moved(&g, 0.7 * length(&g) / length(&kept), &kept));
        }
    }
    assert_eq!(batch.asked.len(), 7 + 3, "seven first gradients, three second ones");
}

#[test]
fn esam_takes_the_sharpest_samples() {
    let mut batch = Quadratics::new();
    for (w, d) in walk(&mut Esam::new(RHO, 1.0, 0.5), &mut batch, 3) {
        let g = batch.all_slope(&w);
        let top = moved(&w, RHO / length(&g), &g);
        let mut rises: Vec<(f64, usize)> = (0..SAMPLES).map(|i| (batch.loss(i, &top) - batch.loss(i, &w), i)).collect();
        rises.sort_by(|a, b| b.0.total_cmp(&a.0));
        // Above the second largest rise, as in the authors' code.
        assert_close(&d, &batch.slope(&[rises[0].1], &top));
    }
    assert_eq!(batch.asked, [(false, SAMPLES), (true, 1)].repeat(3));
}

/// With beta below one, a random subset of the tensors is perturbed in each step, and the step is
/// longer by 1 / beta.
#[test]
fn esam_perturbs_some_tensors() {
    let mut batch = Quadratics::new();
    let path = walk(&mut Esam::new(RHO, 0.5, 1.0), &mut batch, 12);
    let mut seen = std::collections::BTreeSet::new();
    for (w, d) in path {
        // Tensors: fc.weight, norm.bias, norm.weight.
        let fitting = (0..8).find(|chosen| {
            let live = |j: usize| chosen >> [0, 0, 0, 1, 2][j] & 1 == 1;
            let g = batch.all_slope(&w);
            let masked: [f64; N] = std::array::from_fn(|j| if live(j) { g[j] } else { 0.0 });
            let scale = if *chosen == 0 { 0.0 } else { RHO / 0.5 / length(&masked) };
            let expected = batch.all_slope(&moved(&w, scale, &masked));
            (0..N).all(|j| (d[j] - expected[j]).abs() < 1e-4)
        });
        seen.insert(fitting.expect("some tensors"));
    }
    assert!(seen.len() >= 3, "{seen:?}");
}

#[test]
fn ae_sam_is_sam_where_the_gradient_is_large() {
    let mut batch = Quadratics::new();
    let path = walk(&mut AeSam::new(RHO, 0.6, [0.5, -0.5]), &mut batch, 8);
    let (mut mean, mut variance, mut sharps) = (0.0, 0.0, 0);
    for (step, (w, d)) in path.iter().enumerate() {
        let g = batch.all_slope(w);
        let n = dot(&g, &g);
        mean = 0.6 * mean + 0.4 * n;
        variance = 0.6 * variance + 0.4 * (n - mean).powi(2);
        let threshold = 0.5 - step as f64 / 8.0;
        if n >= mean + threshold * f64::sqrt(variance) {
            assert_close(d, &sharp(&batch, w, &g));
            sharps += 1;
        } else {
            assert_close(d, &g);
        }
    }
    assert!((1..8).contains(&sharps), "both kinds of steps: {sharps}");
    assert_eq!(batch.asked.len(), 8 + sharps);
}

#[test]
fn f_sam_follows_what_is_new() {
    let mut batch = Quadratics::new();
    let mut mean = [0.0; N];
    for (w, d) in walk(&mut FSam::new(RHO, 0.9, 0.8), &mut batch, 4) {
        let g = batch.all_slope(&w);
        mean = std::array::from_fn(|j| 0.9 * mean[j] + 0.1 * g[j]);
        assert_close(&d, &sharp(&batch, &w, &moved(&g, -0.8, &mean)));
    }
}

#[test]
fn sam_on_perturbs_normalisation_alone() {
    let mut batch = Quadratics::new();
    let mut method = FixedMaskSam::normalisation(RHO, &batch.layout.clone());
    for (w, d) in walk(&mut method, &mut batch, 3) {
        let g = batch.all_slope(&w);
        let masked = [0.0, 0.0, 0.0, g[3], g[4]];
        assert_close(&d, &sharp(&batch, &w, &masked));
    }
}

#[test]
fn m_sam_has_a_step_for_each_shard() {
    let mut batch = Quadratics::new();
    for (w, d) in walk(&mut MSam::new(RHO, 2), &mut batch, 3) {
        let second = |samples: [usize; 2]| {
            let g = batch.slope(&samples, &w);
            batch.slope(&samples, &moved(&w, RHO / length(&g), &g))
        };
        let (a, b) = (second([0, 1]), second([2, 3]));
        assert_close(&d, &std::array::from_fn(|j| (a[j] + b[j]) / 2.0));
    }
    // One shard of all samples is SAM.
    let sam = walk(&mut Sam::new(RHO), &mut batch, 3);
    assert_eq!(walk(&mut MSam::new(RHO, SAMPLES), &mut batch, 3), sam);
}

/// Checks settings at which a variant equals SAM.
#[test]
fn variants_have_sam_for_a_limit() {
    let mut batch = Quadratics::new();
    let sam = walk(&mut Sam::new(RHO), &mut batch, 4);
    for mut method in [
        Box::new(Gsam::new(RHO, 0.0)) as Box<dyn Method>,
        Box::new(LookSam::new(RHO, 0.7, 1)),
        Box::new(FSam::new(RHO, 0.9, 0.0)),
        Box::new(AeSam::new(RHO, 0.9, [-1e9, -1e9])),
    ] {
        assert_eq!(walk(method.as_mut(), &mut batch, 4), sam);
    }
    // The other threshold gives SGD.
    let plain = walk(&mut Plain, &mut batch, 4);
    assert_eq!(walk(&mut AeSam::new(RHO, 0.9, [1e9, 1e9]), &mut batch, 4), plain);
}
