//! The kernels' own count of FLOPs. A test binary of one test: the count is of the whole process.

use candle_core::{Device, Tensor};
use sharpbench::data::Input;
use sharpbench::data::loader::Batch;
use sharpbench::model::{self, Model, ModelSpec, Task};
use sharpbench::nn::{BatchNormMode, RunningStats, executed_flops};
use sharpbench::optim::{SAM_EPSILON, Sgd};
use sharpbench::train::{SecondPass, Trainer};

const SAMPLES: u64 = 6;

fn build(spec: serde_json::Value, input: Input, classes: usize) -> Box<dyn Model> {
    let spec: ModelSpec = serde_json::from_value(spec).expect("a specification");
    model::build(&spec, Task { input, classes }).expect("a model")
}

/// A step of SGD executes `step` FLOPs, one of SAM twice that.
fn assert_executes(model: &dyn Model, batch: &Batch, step: u64) {
    let sam = SecondPass { rho: 0.1, epsilon: SAM_EPSILON, batch_norm: BatchNormMode::Update };
    let sgd = Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 };
    for (second, passes) in [(None, 1), (Some(sam), 2)] {
        let layout = model.layout();
        let mut trainer = Trainer::new(model, sgd, second, layout.init(7), RunningStats::new(layout));
        let before = executed_flops();
        trainer.step(batch, 0.05, None, |_, _| {}).expect("a step");
        assert_eq!(executed_flops() - before, passes * step);
    }
}

/// By hand: resnet8 of width 4 on 8x8 images. Forward and dW of every layer, dX of all but the first. The second
/// convolutions of the last two stages are Winograd's: for each of their 2x2 tiles 32 c^2 FLOPs a product, and 56 c
/// (forward, dX) or 44 c (dW) for the transforms. In a Transformer every layer owes all three, attention its two products
/// and their four gradients.
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
    assert_executes(&*model, &batch, SAMPLES * (2 * (3 * direct - conv(3, 4, 64)) + tiles.iter().sum::<u64>()));

    let text = Input::Tokens { length: 5, vocabulary: 11 };
    let model = build(serde_json::json!({"name": "transformer", "width": 8, "depth": 2, "heads": 2}), text, 11);
    let tokens = 5 * SAMPLES as usize;
    let input = Tensor::from_vec(vec![3u32; tokens], (SAMPLES as usize, 5), &Device::Cpu).expect("a tensor");
    let batch = Batch { input, labels: vec![1; tokens], dropout: None };
    assert_executes(&*model, &batch, SAMPLES * 3 * 2 * model.forward_macs());
}
