//! Oracles: candle's own operations where they are right, adjoint identities, and central differences in f64.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;

use super::cpu::{self, ConvShape, InputGrad, Measure, Scalar, Source};
use super::{BatchNormMode, Pass, RunningStats, Weights};
use crate::model::{self, Model, ModelSpec, Task};
use crate::random::{Stream, stream, unit};

fn values(n: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    (0..n).map(|_| f64::from(2.0 * unit(rng) - 1.0)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn assert_close(found: f64, expected: f64, tolerance: f64) {
    let error = (found - expected).abs() / expected.abs().max(1.0);
    assert!(error < tolerance, "{found} against {expected}");
}

prop_compose! {
    fn conv_shapes()(batch in 1usize..20, c_in in 1usize..36, height in 1usize..20, width in 1usize..20,
                     c_out in 1usize..36, kernel in 1usize..6, stride in 1usize..4, padding in 0usize..4) -> ConvShape {
        let least = kernel.saturating_sub(2 * padding);
        let (height, width) = (height.max(least), width.max(least));
        ConvShape { batch, c_in, height, width, c_out, kernel, stride, padding }
    }
}

/// The three products of a convolution.
fn products<T: Scalar>(s: &ConvShape, x: &[T], w: &[T], dy: &[T]) -> [Vec<T>; 3] {
    let (x, dy) = (Source::Plain(x), Source::Plain(dy));
    let mut dw = vec![T::zero(); w.len()];
    let wanted = InputGrad { add: None, measure: Measure::Nothing };
    let (dx, _) = cpu::conv2d_backward(s, &x, &dy, w, &mut dw, Some(wanted)).expect("the input's gradient");
    [cpu::conv2d(s, &x, w, false).0, dx, dw]
}

proptest! {
    /// Forward against candle's conv2d; the gradients by the adjoint identities of a bilinear map:
    /// <dy, conv(x, w)> = <dX(dy, w), x> = <dW(x, dy), w> for any x, w, dy.
    #[test]
    fn convolution_matches_candle_and_its_adjoints(s in conv_shapes(), seed in 0u64..1000) {
        let rng = &mut stream(seed, Stream::Mask(0));
        let x = values(s.batch * s.c_in * s.height * s.width, rng);
        let w = values(s.c_out * s.c_in * s.kernel * s.kernel, rng);
        let dy = values(s.batch * s.c_out * s.out_height() * s.out_width(), rng);
        let [y, dx, dw] = products(&s, &x, &w, &dy);
        let images = Tensor::from_slice(&x, (s.batch, s.height, s.width, s.c_in), &Device::Cpu).expect("a tensor");
        let weight = Tensor::from_slice(&w, (s.c_out, s.c_in, s.kernel, s.kernel), &Device::Cpu).expect("a tensor");
        let expected = images
            .permute((0, 3, 1, 2))
            .and_then(|x| x.contiguous()?.conv2d(&weight, s.padding, s.stride, 1, 1)?.permute((0, 2, 3, 1)))
            .expect("candle's convolution");
        prop_assert_eq!(expected.dims(), [s.batch, s.out_height(), s.out_width(), s.c_out]);
        let expected: Vec<f64> = expected.flatten_all().and_then(|e| e.to_vec1()).expect("values");
        for (found, expected) in y.iter().zip(&expected) {
            assert_close(*found, *expected, 1e-12);
        }
        let whole = dot(&dy, &y);
        assert_close(dot(&dx, &x), whole, 1e-11);
        assert_close(dot(&dw, &w), whole, 1e-11);
    }

    /// The shortcut is linear: <dy, shortcut(x)> = <backward(dy), x>.
    #[test]
    fn shortcut_and_its_adjoint(batch in 1usize..4, c_in in 1usize..4, h in 1usize..8, w in 1usize..8, pad in 0usize..3) {
        let rng = &mut stream(1, Stream::Mask(0));
        let (dims, c_out) = ([batch, h, w, c_in], c_in + 2 * pad);
        let x = values(batch * c_in * h * w, rng);
        let y = cpu::shortcut(&x, dims, c_out);
        prop_assert_eq!(y.len(), batch * c_out * h.div_ceil(2) * w.div_ceil(2));
        prop_assert_eq!(y[pad], x[0]);
        let dy = values(y.len(), rng);
        assert_close(dot(&dy, &y), dot(&cpu::shortcut_backward(&dy, dims, c_out), &x), 1e-12);
    }
}

fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

proptest! {
    /// f32 uses other register tiles than f64, whose results are checked above.
    #[test]
    fn convolution_in_f32_is_that_in_f64_rounded(s in conv_shapes(), seed in 0u64..1000) {
        let rng = &mut stream(seed, Stream::Mask(0));
        let x = values(s.batch * s.c_in * s.height * s.width, rng);
        let w = values(s.c_out * s.c_in * s.kernel * s.kernel, rng);
        let dy = values(s.batch * s.c_out * s.out_height() * s.out_width(), rng);
        let expected = products(&s, &x, &w, &dy);
        for (found, expected) in products(&s, &single(&x), &single(&w), &single(&dy)).iter().zip(&expected) {
            let scale = expected.iter().fold(1f64, |m, e| m.max(e.abs()));
            for (found, expected) in found.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-5 * scale, "{found} against {expected}");
            }
        }
    }
}

#[test]
fn convolution_in_f32_does_not_depend_on_threads() {
    let s = ConvShape { batch: 37, c_in: 18, height: 9, width: 7, c_out: 35, kernel: 3, stride: 2, padding: 1 };
    let rng = &mut stream(3, Stream::Mask(0));
    let x = single(&values(s.batch * s.c_in * s.height * s.width, rng));
    let w = single(&values(s.c_out * s.c_in * s.kernel * s.kernel, rng));
    let dy = single(&values(s.batch * s.c_out * s.out_height() * s.out_width(), rng));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| products(&s, &x, &w, &dy))
    };
    let one = run(1);
    assert!([2, 3, 8].into_iter().all(|threads| run(threads) == one));
}

/// A model's loss and gradient in f64 at weights moved by `t` along `direction`.
struct Probe {
    model: Box<dyn Model>,
    base: Vec<f32>,
    direction: Vec<f64>,
    images: Tensor,
    labels: Vec<u32>,
    mode: BatchNormMode,
}

impl Probe {
    fn new(spec: serde_json::Value, mode: BatchNormMode) -> Self {
        let spec: ModelSpec = serde_json::from_value(spec).expect("a specification");
        let model = model::build(&spec, Task { input: [3, 9, 9], classes: 10 }).expect("a model");
        let rng = &mut stream(5, Stream::Mask(0));
        let images = Tensor::from_vec(values(4 * 3 * 81, rng), (4, 3, 9, 9), &Device::Cpu).expect("a tensor");
        let direction = values(model.layout().len(), rng);
        Self { base: model.layout().init(1), model, direction, images, labels: vec![3, 0, 9, 3], mode }
    }

    fn loss_and_slope(&self, t: f64) -> (f64, f64) {
        let layout: &Arc<_> = self.model.layout();
        let moved: Vec<f64> =
            self.base.iter().zip(&self.direction).map(|(base, direction)| f64::from(*base) + t * direction).collect();
        let mut running = RunningStats::new(layout);
        // Statistics of an evaluation that are not the trivial ones.
        running.variance.iter_mut().flatten().for_each(|v| *v = 0.7);
        running.mean.iter_mut().flatten().for_each(|m| *m = 0.1);
        let mut pass = Pass::training(Weights::new(layout, &moved), &mut running, self.mode);
        let input = pass.input(self.images.clone());
        let logits = self.model.forward(&input, &mut pass).expect("a forward pass");
        let loss = pass.cross_entropy::<f64>(&logits, &self.labels).expect("a loss");
        let mut gradient = Vec::new();
        pass.backward::<f64>(&loss, &mut gradient).expect("a backward pass");
        (loss.mean, dot(&gradient, &self.direction))
    }

    fn check(&self) {
        // Small enough that hardly any ReLU changes sides.
        let h = 1e-8;
        let (_, slope) = self.loss_and_slope(0.0);
        let central = (self.loss_and_slope(h).0 - self.loss_and_slope(-h).0) / (2.0 * h);
        assert_close(slope, central, 1e-5);
    }
}

#[test]
fn gradients_match_central_differences() {
    for mode in [BatchNormMode::Update, BatchNormMode::Freeze, BatchNormMode::Eval] {
        Probe::new(serde_json::json!({"name": "resnet8", "width": 4}), mode).check();
        Probe::new(serde_json::json!({"name": "mlp", "hidden": [12, 7]}), mode).check();
    }
}

#[test]
fn cross_entropy_matches_candle() {
    let rng = &mut stream(7, Stream::Mask(0));
    let logits = values(6 * 10, rng);
    let labels = [1u32, 4, 9, 0, 0, 7];
    let tensor = Tensor::from_slice(&logits, (6, 10), &Device::Cpu).expect("a tensor");
    let target = Tensor::from_slice(&labels, 6, &Device::Cpu).expect("a tensor");
    let expected = candle_nn::loss::cross_entropy(&tensor, &target).and_then(|l| l.to_scalar::<f64>()).expect("a loss");
    let found = cpu::cross_entropy(&logits, &labels, 10);
    assert_close(found.iter().sum::<f64>() / 6.0, expected, 1e-12);
}

/// Oracle: torch.nn.BatchNorm2d in training mode: running = .9 running + .1 batch, variance unbiased.
#[test]
fn running_statistics_follow_the_policy() {
    let spec: ModelSpec =
        serde_json::from_value(serde_json::json!({"name": "resnet8", "width": 4})).expect("a specification");
    let model = model::build(&spec, Task { input: [3, 8, 8], classes: 10 }).expect("a model");
    let layout = model.layout();
    let weights = layout.init(1);
    let images = Tensor::from_vec(values(2 * 3 * 64, &mut stream(2, Stream::Mask(0))), (2, 3, 8, 8), &Device::Cpu)
        .and_then(|t| t.to_dtype(DType::F32))
        .expect("a tensor");
    let after = |mode| {
        let mut running = RunningStats::new(model.layout());
        let mut pass = Pass::training(Weights::new(layout, &weights), &mut running, mode);
        let input = pass.input(images.clone());
        model.forward(&input, &mut pass).expect("a forward pass");
        running
    };
    let fresh = RunningStats::new(model.layout());
    assert_eq!(after(BatchNormMode::Freeze), fresh);
    assert_eq!(after(BatchNormMode::Eval), fresh);
    let updated = after(BatchNormMode::Update);
    let first = &layout.specs()[layout.id("conv1.weight").0];
    let conv = Tensor::from_slice(&weights[first.range()], first.shape.as_slice(), &Device::Cpu)
        .and_then(|weight| images.conv2d(&weight, 1, 1, 1, 1))
        .and_then(|y| y.transpose(0, 1)?.flatten_from(1))
        .expect("candle's convolution");
    let variance: Vec<f32> = conv.var(1).and_then(|v| v.to_vec1()).expect("an unbiased variance");
    for (found, batch) in updated.variance[0].iter().zip(variance) {
        assert_close(f64::from(*found), f64::from(0.9 + 0.1 * batch), 1e-5);
    }
}
