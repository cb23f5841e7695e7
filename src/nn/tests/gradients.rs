//! Tests of whole models' gradients by central differences in f64, and of BatchNorm's modes.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::Init;
use proptest::prelude::*;

use super::{assert_all_close, assert_close, assert_threads_do_not_matter, dot, values};
use crate::compute::Compute;
use crate::data::Input;
use crate::mask::Pattern;
use crate::model::{self, Model, ModelSpec, Task};
use crate::nn::{
    Attention, BackwardPlan, BatchNorm, BatchNormMode, Bias, Conv2d, Kernel, LayerNorm, Linear, Loss, Node, Objective,
    ParamLayout, ParamsBuilder, Pass, Positions, RunningStats, SampleShape, Weights, add, add_relu, avg_pool2d,
    channels_last, dropout, flatten, gelu, global_avg_pool, max_pool2d, relu,
};
use crate::random::{Stream, below, stream};

/// A model's loss and gradient in f64 at weights moved by `t` along `direction`.
struct Probe {
    model: Box<dyn Model>,
    base: Vec<f32>,
    direction: Vec<f64>,
    images: Tensor,
    labels: Vec<u32>,
    mode: BatchNormMode,
    /// Device for candle operations; `None` for the kernels.
    device: Option<Device>,
}

impl Probe {
    fn new(spec: serde_json::Value, mode: BatchNormMode) -> Self {
        let spec: ModelSpec = serde_json::from_value(spec).expect("a specification");
        Self::of(model::build(&spec, Task { input: Input::Image([3, 9, 9]), classes: 10 }).expect("a model"), mode)
    }

    /// A Transformer on characters.
    fn text(mode: BatchNormMode) -> Self {
        let spec = serde_json::json!({"name": "transformer", "width": 8, "depth": 2, "heads": 2});
        let spec: ModelSpec = serde_json::from_value(spec).expect("a specification");
        let task = Task { input: Input::Tokens { length: 5, vocabulary: 11 }, classes: 11 };
        let model = model::build(&spec, task).expect("a model");
        let rng = &mut stream(5, Stream::Mask(1));
        let mut tokens = || (0..20).map(|_| below(rng, 11) as u32).collect::<Vec<u32>>();
        let images = Tensor::from_vec(tokens(), (4, 5), &Device::Cpu).expect("a tensor");
        Self { images, labels: tokens(), ..Self::of(model, mode) }
    }

    fn of(model: Box<dyn Model>, mode: BatchNormMode) -> Self {
        let rng = &mut stream(5, Stream::Mask(0));
        let images = Tensor::from_vec(values(4 * 3 * 81, rng), (4, 3, 9, 9), &Device::Cpu).expect("a tensor");
        let direction = values(model.layout().len(), rng);
        Self { base: model.layout().init(1), model, direction, images, labels: vec![3, 0, 9, 3], mode, device: None }
    }

    fn loss_and_slope(&self, t: f64) -> (f64, f64) {
        let (loss, gradient, _) = self.gradient(t, None);
        (loss, dot(&gradient, &self.direction))
    }

    /// Loss, gradient (the part `plan` requires), and number of layers recorded for it.
    fn gradient(&self, t: f64, plan: Option<&BackwardPlan>) -> (f64, Vec<f64>, usize) {
        let layout: &Arc<_> = self.model.layout();
        let moved: Vec<f64> =
            self.base.iter().zip(&self.direction).map(|(base, direction)| f64::from(*base) + t * direction).collect();
        let mut running = RunningStats::new(layout);
        // Nontrivial running statistics for evaluation.
        running.variance.iter_mut().flatten().for_each(|v| *v = 0.7);
        running.mean.iter_mut().flatten().for_each(|m| *m = 0.1);
        let pass = Pass::training(Weights::new(layout, &moved), &mut running, self.mode);
        let mut pass =
            pass.with_dropout(Some(stream(6, Stream::Dropout(0, 0)))).with_plan(plan).on(self.device.as_ref());
        let loss = self.loss(&mut pass);
        let (mut gradient, recorded) = (Vec::new(), pass.recorded());
        pass.backward::<f64>(&loss, &mut gradient).expect("a backward pass");
        (loss.mean, gradient, recorded)
    }

    fn loss(&self, pass: &mut Pass<'_>) -> Loss {
        let input = pass.input(self.images.clone()).expect("an input");
        let logits = self.model.forward(&input, pass).expect("a forward pass");
        pass.loss::<f64>(Objective::default(), &logits, &self.labels).expect("a loss")
    }

    fn check(&self) {
        // Small enough that hardly any ReLU changes sign.
        let h = 1e-8;
        let (_, slope) = self.loss_and_slope(0.0);
        let central = (self.loss_and_slope(h).0 - self.loss_and_slope(-h).0) / (2.0 * h);
        assert_close(slope, central, 1e-5);
    }
}

const MODES: [BatchNormMode; 3] = [BatchNormMode::Update, BatchNormMode::Freeze, BatchNormMode::Eval];

#[test]
fn gradients_match_central_differences() {
    for mode in MODES {
        Probe::new(serde_json::json!({"name": "resnet8", "width": 4}), mode).check();
        Probe::new(serde_json::json!({"name": "mlp", "hidden": [12, 7]}), mode).check();
        Probe::new(serde_json::json!({"name": "edge-cnn", "width": 3}), mode).check();
        Probe::new(serde_json::json!({"name": "wideresnet", "depth": 10, "width": 1}), mode).check();
        Probe::text(mode).check();
        Probe::of(Box::new(EveryLayer::new()), mode).check();
    }
}

/// Under a plan, the required part is the gradient, bit-identical for whole tensors. The rest is
/// zero or the gradient. Layers before the first live tensor are not recorded, so nothing is
/// stored for them.
#[test]
fn plans_leave_out_what_nobody_reads() {
    for probe in [
        Probe::of(Box::new(EveryLayer::new()), BatchNormMode::Update),
        Probe::new(serde_json::json!({"name": "resnet8", "width": 8}), BatchNormMode::Update),
        Probe::text(BatchNormMode::Update),
    ] {
        let layout = probe.model.layout();
        let (loss, dense, recorded) = probe.gradient(0.0, None);
        let mut fewer = 0;
        for seed in 0..30 {
            let pattern = [Pattern::Tensor, Pattern::Channel, Pattern::Unstructured][seed as usize % 3];
            let keep = layout.len() * (seed as usize % 10) / 10;
            let mask = pattern.choose(layout, keep, None, &mut stream(seed, Stream::Mask(2)));
            let plan = BackwardPlan::of_scalars(layout, mask.flags());
            let (same, sparse, some) = probe.gradient(0.0, Some(&plan));
            assert_eq!(same, loss);
            assert!(some <= recorded);
            fewer += usize::from(some < recorded);
            for (i, (sparse, dense)) in sparse.iter().zip(&dense).enumerate() {
                if pattern == Pattern::Tensor && mask.flags()[i] {
                    assert_eq!(sparse, dense);
                } else if mask.flags()[i] || *sparse != 0.0 {
                    assert_close(*sparse, *dense, 1e-12);
                }
            }
        }
        assert!(fewer > 0, "some of the masks must have left layers out");
    }
}

/// Candle operations on every available device must match the kernels for every layer: loss and
/// gradient in f64, also under a plan, and in f32 to its precision.
#[test]
fn devices_agree_with_the_kernels() {
    for compute in Compute::all_by_candle() {
        for mode in MODES {
            for mut probe in [
                Probe::of(Box::new(EveryLayer::new()), mode),
                Probe::new(serde_json::json!({"name": "resnet8", "width": 8}), mode),
                Probe::new(serde_json::json!({"name": "resnet50", "width": 8}), mode),
                Probe::new(serde_json::json!({"name": "edge-cnn", "width": 3}), mode),
                Probe::new(serde_json::json!({"name": "speednet", "width": 8}), mode),
                Probe::new(
                    serde_json::json!({"name": "quadratic", "curvatures": [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]}),
                    mode,
                ),
                Probe::text(mode),
            ] {
                let name = probe.model.spec().name;
                let layout = probe.model.layout().clone();
                let mask = Pattern::Channel.choose(&layout, layout.len() / 4, None, &mut stream(3, Stream::Mask(2)));
                for plan in [None, Some(BackwardPlan::of_scalars(&layout, mask.flags()))] {
                    probe.device = None;
                    let (loss, gradient, recorded) = probe.gradient(0.0, plan.as_ref());
                    probe.device = compute.device().cloned();
                    let (found, by_candle, too) = probe.gradient(0.0, plan.as_ref());
                    assert_close(found, loss, 1e-10);
                    let live = |i: usize| plan.is_none() || mask.flags()[i];
                    let scale = gradient.iter().fold(0f64, |m, g| m.max(g.abs()));
                    for (i, (found, expected)) in by_candle.iter().zip(&gradient).enumerate().filter(|(i, _)| live(*i))
                    {
                        let error = (found - expected).abs() / scale;
                        assert!(error < 1e-7, "{name} {mode:?} {:?}, {i}: {found} against {expected}", compute.gpu());
                    }
                    assert_eq!(too, recorded, "{name}");
                }
            }
        }
    }
}

/// A pass that takes shared layers must be bit-identical to a full pass: losses, gradients and
/// running statistics of both passes, with each tensor moved alone.
#[test]
fn sharing_a_prefix_changes_nothing() {
    for probe in [
        Probe::of(Box::new(EveryLayer::new()), BatchNormMode::Update),
        Probe::of(Box::new(EveryLayer::new()), BatchNormMode::Freeze),
        Probe::new(serde_json::json!({"name": "resnet8", "width": 4}), BatchNormMode::Update),
        Probe::new(serde_json::json!({"name": "wideresnet", "depth": 10, "width": 1}), BatchNormMode::Freeze),
        Probe::text(BatchNormMode::Update),
    ] {
        let layout = probe.model.layout();
        let base: Vec<f64> = probe.base.iter().map(|w| f64::from(*w)).collect();
        for spec in layout.specs() {
            let (mut live, mut moved) = (vec![false; layout.len()], base.clone());
            live[spec.range()].fill(true);
            spec.range().for_each(|i| moved[i] += 0.1 * probe.direction[i]);
            let plan = BackwardPlan::of_scalars(layout, &live);
            let run = |shared: bool| {
                let mut running = RunningStats::new(layout);
                let dropout = Some(stream(6, Stream::Dropout(0, 0)));
                let pass = Pass::training(Weights::new(layout, &base), &mut running, BatchNormMode::Update)
                    .with_dropout(dropout.clone())
                    .with_plan(Some(&plan));
                let mut pass = if shared { pass.keeping_prefix() } else { pass };
                let (first, mut gradient) = (probe.loss(&mut pass), [Vec::new(), Vec::new()]);
                let prefix = pass.take_prefix().expect("a prefix");
                assert_eq!(prefix.is_some(), shared);
                pass.backward::<f64>(&first, &mut gradient[0]).expect("a backward pass");
                let mut pass = Pass::training(Weights::new(layout, &moved), &mut running, probe.mode)
                    .with_dropout(dropout)
                    .with_prefix(prefix);
                let second = probe.loss(&mut pass);
                pass.backward::<f64>(&second, &mut gradient[1]).expect("a backward pass");
                ([first.mean, second.mean], gradient, running)
            };
            assert!(run(true) == run(false), "{} of {}", spec.name, probe.model.spec().name);
        }
    }
}

/// Squared per-sample gradients from one pass over all samples must match one pass per sample.
#[test]
fn squared_gradients_by_sample_are_those_of_batches_of_one() {
    for probe in [
        Probe::new(serde_json::json!({"name": "resnet8", "width": 8}), BatchNormMode::Eval),
        Probe::new(serde_json::json!({"name": "speednet", "width": 8}), BatchNormMode::Eval),
        Probe::new(serde_json::json!({"name": "wideresnet", "depth": 10, "width": 1}), BatchNormMode::Eval),
        Probe::new(serde_json::json!({"name": "edge-cnn", "width": 3}), BatchNormMode::Eval),
        Probe::new(serde_json::json!({"name": "mlp", "hidden": [12, 7]}), BatchNormMode::Eval),
        Probe::text(BatchNormMode::Eval),
    ] {
        let layout = probe.model.layout();
        let weights: Vec<f64> = probe.base.iter().map(|w| f64::from(*w)).collect();
        let mut running = RunningStats::new(layout);
        let mut run = |images: Tensor, labels: &[u32], backward: &mut dyn FnMut(Pass<'_>, &Loss)| {
            let mut pass = Pass::training(Weights::new(layout, &weights), &mut running, BatchNormMode::Eval);
            let input = pass.input(images).expect("an input");
            let logits = probe.model.forward(&input, &mut pass).expect("a forward pass");
            let loss = pass.loss::<f64>(Objective::default(), &logits, labels).expect("a loss");
            backward(pass, &loss);
        };
        let samples = probe.images.dims()[0];
        // Results are added to existing values.
        let [mut squares, mut expected] = [(); 2].map(|()| vec![1.0; layout.len()]);
        run(probe.images.clone(), &probe.labels, &mut |pass, loss| {
            pass.backward_by_sample::<f64>(loss, samples, &mut squares).expect("a backward pass");
        });
        let labels = probe.labels.chunks(probe.labels.len() / samples);
        for (i, labels) in labels.enumerate() {
            let image = probe.images.narrow(0, i, 1).and_then(|x| x.contiguous()).expect("a sample");
            run(image, labels, &mut |pass, loss| {
                let mut gradient = Vec::new();
                pass.backward::<f64>(loss, &mut gradient).expect("a backward pass");
                expected.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g * g);
            });
        }
        assert_all_close(&squares, &expected, 1e-11);
    }
}

/// A network with every layer and every combination of neighbouring layers.
struct EveryLayer {
    layout: Arc<ParamLayout>,
    conv: [Conv2d; 4],
    layer_norm: LayerNorm,
    batch_norm: [BatchNorm; 3],
    bias: [Bias; 2],
    positions: Positions,
    qkv: Linear,
    attention: [Attention; 2],
    proj: Linear,
    fc: Linear,
}

impl EveryLayer {
    fn new() -> Self {
        let mut params = ParamsBuilder::default();
        let mut conv = |name: &str, c_in, c_out| {
            let mut x = SampleShape::image([c_in, 9, 9]);
            Conv2d::new(&mut params, name, &mut x, c_out, Kernel::centred(3))
        };
        let conv = [conv("conv0", 3, 8), conv("conv1", 4, 10), conv("conv2", 10, 10), conv("conv3", 10, 10)];
        let layer_norm = LayerNorm::new(&mut params, "norm", 8);
        let batch_norm = [("bn0", true), ("bn1", false), ("bn2", true)]
            .map(|(name, relu)| BatchNorm::new(&mut params, name, 10, relu));
        let init = Init::Uniform { lo: -0.5, up: 0.5 };
        let bias = [("conv0", 8, true), ("conv2", 10, false)]
            .map(|(name, channels, relu)| Bias::new(&mut params, name, channels, init, relu));
        let mut x = SampleShape { height: 2, width: 2, channels: 10 };
        let positions = Positions::new(&mut params, "positions", &x, Init::Uniform { lo: -1.0, up: 1.0 });
        let fc = Linear::new(&mut params, "fc", &mut x.flattened(), 10);
        let qkv = Linear::new(&mut params, "qkv", &mut x, 36);
        let attention = [(3, true), (2, false)].map(|(heads, causal)| {
            let mut x = x;
            Attention::new(&mut params, &mut x, heads, causal)
        });
        x.channels /= 3;
        let proj = Linear::new(&mut params, "proj", &mut x, 10);
        let layout = Arc::new(params.build());
        Self { layout, conv, layer_norm, batch_norm, bias, positions, qkv, attention, proj, fc }
    }
}

impl Model for EveryLayer {
    fn spec(&self) -> ModelSpec {
        ModelSpec { name: "every layer".into(), ..ModelSpec::default() }
    }

    fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let x = self.conv[0].forward(&channels_last(x, pass)?, pass)?;
        // A rectified bias with two readers, one of them a sum without ReLU.
        let y = self.bias[0].forward(&x, pass)?;
        let x = add(&x, &y, pass)?;
        let x = add(&self.layer_norm.forward(&y, pass)?, &x, pass)?;
        let x = dropout(&relu(&self.layer_norm.forward(&x, pass)?, pass)?, 0.2, pass)?;
        let x = max_pool2d(&x, Kernel::centred(3).stride(2), pass)?;
        // Two groups. The normalised output has three readers: a convolution, a sum and another
        // normalisation.
        let x = self.batch_norm[0].forward(&self.conv[1].forward(&x, pass)?, pass)?;
        let y = self.bias[1].forward(&self.conv[2].forward(&x, pass)?, pass)?;
        let y = self.batch_norm[1].forward(&y, pass)?;
        let sum = add_relu(&y, &x, pass)?;
        let again = self.batch_norm[2].forward(&x, pass)?;
        let x = add_relu(&self.conv[3].forward(&again, pass)?, &sum, pass)?;
        let x = dropout(&avg_pool2d(&x, 2, 2, pass)?, 0.4, pass)?;
        let x = self.positions.forward(&x, pass)?;
        let y = self.attention[0].forward(&self.qkv.forward(&x, pass)?, pass)?;
        let y = self.qkv.forward(&self.proj.forward(&gelu(&y, pass)?, pass)?, pass)?;
        let y = self.attention[1].forward(&y, pass)?;
        let x = add(&self.proj.forward(&y, pass)?, &x, pass)?;
        self.fc.forward(&flatten(&x, pass)?, pass)
    }

    fn forward_macs(&self) -> u64 {
        0
    }
}

/// Two normalisations of the same images, their rectified sum, its mean, and a linear layer.
struct Normalised {
    layout: Arc<ParamLayout>,
    batch_norm: [BatchNorm; 2],
    fc: Linear,
}

impl Normalised {
    fn new(channels: usize, relu: bool) -> Self {
        let mut params = ParamsBuilder::default();
        let batch_norm =
            [("bn0", relu), ("bn1", false)].map(|(name, relu)| BatchNorm::new(&mut params, name, channels, relu));
        let fc = Linear::new(&mut params, "fc", &mut SampleShape { height: 1, width: 1, channels }, 10);
        Self { batch_norm, fc, layout: Arc::new(params.build()) }
    }
}

impl Model for Normalised {
    fn spec(&self) -> ModelSpec {
        ModelSpec { name: "normalised".into(), ..ModelSpec::default() }
    }

    fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let x = channels_last(x, pass)?;
        let (a, b) = (self.batch_norm[0].forward(&x, pass)?, self.batch_norm[1].forward(&x, pass)?);
        self.fc.forward(&global_avg_pool(&add_relu(&a, &b, pass)?, pass)?, pass)
    }

    fn forward_macs(&self) -> u64 {
        0
    }
}

proptest! {
    /// Compares forward with the definition in candle operations, and gradients with central
    /// differences.
    #[test]
    fn normalisation_and_linear_layers_match_candle_and_central_differences(
        (batch, h, w, channels) in (1usize..5, 2usize..6, 2usize..6, 1usize..40),
        relu: bool,
        seed in 0u64..1000,
    ) {
        let mut probe = Probe::of(Box::new(Normalised::new(channels, relu)), BatchNormMode::Update);
        let rng = &mut stream(seed, Stream::Mask(0));
        probe.images =
            Tensor::from_vec(values(batch * channels * h * w, rng), (batch, channels, h, w), &Device::Cpu).expect("a tensor");
        probe.labels = vec![7; batch];
        probe.base = values(probe.base.len(), rng).into_iter().map(|v| v as f32).collect();
        probe.check();
        let layout = probe.model.layout();
        let param = |name: &str| {
            let spec = layout.specs().iter().find(|spec| spec.name == name).expect("a parameter");
            let values: Vec<f64> = probe.base[spec.range()].iter().map(|v| f64::from(*v)).collect();
            Tensor::from_vec(values, spec.shape.as_slice(), &Device::Cpu)
        };
        let expected = || -> candle_core::Result<f64> {
            let mean = probe.images.mean_keepdim((0, 2, 3))?;
            let centred = probe.images.broadcast_sub(&mean)?;
            let normal = centred.broadcast_div(&(centred.sqr()?.mean_keepdim((0, 2, 3))? + 1e-5)?.sqrt()?)?;
            let norm = |name: &str| {
                let by_channel = |part: &str| param(&format!("{name}.{part}"))?.reshape((1, channels, 1, 1));
                normal.broadcast_mul(&by_channel("weight")?)?.broadcast_add(&by_channel("bias")?)
            };
            let (a, b) = (norm("bn0")?, norm("bn1")?);
            let sum = ((if relu { a.relu()? } else { a }) + b)?.relu()?;
            let logits = sum.mean((2, 3))?.matmul(&param("fc.weight")?.t()?)?.broadcast_add(&param("fc.bias")?)?;
            candle_nn::loss::cross_entropy(&logits, &Tensor::new(probe.labels.as_slice(), &Device::Cpu)?)?.to_scalar()
        };
        assert_close(probe.loss_and_slope(0.0).0, expected().expect("candle's loss"), 1e-9);
    }
}

/// Uses the f32 gradient of a model that has every layer.
#[test]
fn gradients_do_not_depend_on_threads() {
    let probe = Probe::of(Box::new(EveryLayer::new()), BatchNormMode::Update);
    let images = probe.images.to_dtype(DType::F32).and_then(|x| x.repeat((20, 1, 1, 1))).expect("images");
    let labels = probe.labels.repeat(20);
    assert_threads_do_not_matter(|| {
        let layout = probe.model.layout();
        let mut running = RunningStats::new(layout);
        let pass = Pass::training(Weights::new(layout, &probe.base), &mut running, BatchNormMode::Update);
        let mut pass = pass.with_dropout(Some(stream(6, Stream::Dropout(0, 0))));
        let input = pass.input(images.clone()).expect("an input");
        let logits = probe.model.forward(&input, &mut pass).expect("a forward pass");
        let loss = pass.loss::<f32>(Objective::default(), &logits, &labels).expect("a loss");
        let mut gradient = Vec::new();
        pass.backward::<f32>(&loss, &mut gradient).expect("a backward pass");
        gradient
    });
}

/// Oracle: torch.nn.BatchNorm2d in training mode: running = .9 running + .1 batch, variance unbiased.
#[test]
fn running_statistics_follow_the_policy() {
    let spec: ModelSpec =
        serde_json::from_value(serde_json::json!({"name": "resnet8", "width": 4})).expect("a specification");
    let model = model::build(&spec, Task { input: Input::Image([3, 8, 8]), classes: 10 }).expect("a model");
    let layout = model.layout();
    let weights = layout.init(1);
    let images = Tensor::from_vec(values(2 * 3 * 64, &mut stream(2, Stream::Mask(0))), (2, 3, 8, 8), &Device::Cpu)
        .and_then(|t| t.to_dtype(DType::F32))
        .expect("a tensor");
    let after = |mode| {
        let mut running = RunningStats::new(model.layout());
        let mut pass = Pass::training(Weights::new(layout, &weights), &mut running, mode);
        let input = pass.input(images.clone()).expect("an input");
        model.forward(&input, &mut pass).expect("a forward pass");
        running
    };
    let fresh = RunningStats::new(model.layout());
    assert_eq!(after(BatchNormMode::Freeze), fresh);
    assert_eq!(after(BatchNormMode::Eval), fresh);
    let updated = after(BatchNormMode::Update);
    let first = layout.specs().iter().find(|spec| spec.name == "conv1.weight").expect("a parameter");
    let conv = Tensor::from_slice(&weights[first.range()], first.shape.as_slice(), &Device::Cpu)
        .and_then(|weight| images.conv2d(&weight, 1, 1, 1, 1))
        .and_then(|y| y.transpose(0, 1)?.flatten_from(1))
        .expect("candle's convolution");
    let variance: Vec<f32> = conv.var(1).and_then(|v| v.to_vec1()).expect("an unbiased variance");
    for (found, batch) in updated.variance[0].iter().zip(variance) {
        assert_close(f64::from(*found), f64::from(0.9 + 0.1 * batch), 1e-5);
    }
}
