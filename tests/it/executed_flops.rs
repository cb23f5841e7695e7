//! The FLOPs that the kernels count.

use candle_core::{Device, Tensor};
use sharpbench::data::Input;
use sharpbench::data::loader::Batch;
use sharpbench::mask::Mask;
use sharpbench::model::{self, Model, ModelSpec, Task};
use sharpbench::nn::{BackwardPlan, BatchNormMode, RunningStats};
use sharpbench::optim::{ActiveMask, BaseStep, Context, Method, Norm, Perturbation, Plain, Sam, Sgd};
use sharpbench::train::{Optimizer, Trainer};

const SAMPLES: u64 = 6;

fn build(spec: serde_json::Value, input: Input, classes: usize) -> Box<dyn Model> {
    let spec: ModelSpec = serde_json::from_value(spec).expect("a specification");
    model::build(&spec, Task { input, classes }).expect("a model")
}

const SGD: BaseStep = BaseStep::Sgd(Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 });

/// FLOPs of one step.
fn executed(model: &dyn Model, batch: &Batch, method: Box<dyn Method>, mask: Option<&Mask>) -> u64 {
    let layout = model.layout();
    let optimizer = Optimizer { method, base: SGD, second: BatchNormMode::Update };
    let mut trainer = Trainer::new(model, optimizer, layout.init(7), RunningStats::new(layout));
    let plan = mask.map(|mask| BackwardPlan::of_scalars(layout, mask.flags()));
    let mask = mask.map(|mask| ActiveMask { mask, plan: plan.as_ref() });
    trainer.step(batch, 0.05, &mut Context { mask, ..Context::new(0, 1) }).expect("a step");
    trainer.flops_executed()
}

/// A step of SGD executes `step` FLOPs, one of SAM twice that.
fn assert_executes(model: &dyn Model, batch: &Batch, step: u64) {
    assert_eq!(executed(model, batch, Box::new(Plain), None), step);
    assert_eq!(executed(model, batch, Box::new(Sam::new(0.1)), None), 2 * step);
}

/// By hand: resnet8 of width 4 on 8x8 images. Forward and dW of every layer, dX of all but the first. The second
/// convolutions of the last two stages are Winograd's: for each of their 2x2 tiles 32 c^2 FLOPs a product, and 56 c
/// (forward, dX) or 44 c (dW) for the transforms. In a Transformer every layer requires all three, attention its two products
/// and their four gradients, for which it multiplies queries and keys once more.
#[test]
fn a_step_executes_what_its_layers_owe() {
    let model = build(serde_json::json!({"name": "resnet8", "width": 4}), Input::Image([3, 8, 8]), 10);
    let conv = |c_in: u64, c_out: u64, pixels: u64| 9 * c_in * c_out * pixels;
    let winograd = [(8, 16), (16, 4)];
    let direct = model.forward_macs() - winograd.map(|(c, pixels)| conv(c, c, pixels)).iter().sum::<u64>();
    let tiles = winograd.map(|(c, pixels)| pixels / 4 * (3 * 32 * c * c + (2 * 56 + 44) * c));
    let pixels = vec![0.5f32; SAMPLES as usize * 3 * 64];
    let input = Tensor::from_vec(pixels, (SAMPLES as usize, 3, 8, 8), &Device::Cpu).expect("a tensor");
    let batch = Batch { input, labels: vec![1; SAMPLES as usize], dropout: None };
    let step = SAMPLES * (2 * (3 * direct - conv(3, 4, 64)) + tiles.iter().sum::<u64>());
    assert_executes(&*model, &batch, step);

    // What sparse SAM executes beyond a step of SGD, by hand: the first backward pass to the shallowest live tensor, and a second
    // forward pass from there. Nothing is live: nothing. The linear layer alone: its dW and its forward pass. The last
    // convolution alone: dX of the linear layer, its own dW, and both forward.
    let layout = model.layout();
    let live = |names: &[&str]| {
        let mut mask = Mask::empty(layout.len());
        layout.specs().iter().filter(|s| names.contains(&s.name.as_str())).for_each(|s| mask.set(s.range(), true));
        let sparse = Sam::sparse(0.1, Norm::Masked, Perturbation::Explicit);
        executed(&*model, &batch, Box::new(sparse), Some(&mask)) - step
    };
    assert_eq!(live(&[]), 0);
    assert_eq!(live(&["fc.weight"]), SAMPLES * 2 * (2 * 160));
    let (last, forward) = (32 * 16 * 16 + 44 * 16, 32 * 16 * 16 + 56 * 16);
    assert_eq!(live(&["layer3.0.conv2.weight"]), SAMPLES * (2 * (2 * 160) + last + forward));
    // A quarter of its output channels: the products of the others are left out, the transforms are not.
    let spec = &layout.specs()[layout.specs().partition_point(|s| s.name.as_str() < "layer3.0.conv2.weight")];
    let mut mask = Mask::empty(layout.len());
    mask.set(spec.offset..spec.offset + spec.len() / 4, true);
    let sparse = Sam::sparse(0.1, Norm::Masked, Perturbation::Explicit);
    let channels = executed(&*model, &batch, Box::new(sparse), Some(&mask)) - step;
    assert_eq!(channels, SAMPLES * (2 * (2 * 160) + last + forward - 32 * 16 * 12));

    let text = Input::Tokens { length: 5, vocabulary: 11 };
    let model = build(serde_json::json!({"name": "transformer", "width": 8, "depth": 2, "heads": 2}), text, 11);
    let tokens = 5 * SAMPLES as usize;
    let input = Tensor::from_vec(vec![3u32; tokens], (SAMPLES as usize, 5), &Device::Cpu).expect("a tensor");
    let batch = Batch { input, labels: vec![1; tokens], dropout: None };
    // In each of two blocks: every token with every token, over two heads of 8.
    let scores = 2 * 5 * 5 * 16;
    assert_executes(&*model, &batch, SAMPLES * 2 * (3 * model.forward_macs() + scores));
}
