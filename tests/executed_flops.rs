//! The kernels' own count of FLOPs. A test binary of one test: the count is of the whole process.

use candle_core::{Device, Tensor};
use sharpbench::data::Input;
use sharpbench::data::loader::Batch;
use sharpbench::model::{self, ModelSpec, Task};
use sharpbench::nn::{BatchNormMode, RunningStats, executed_flops};
use sharpbench::optim::{SAM_EPSILON, Sgd};
use sharpbench::train::{SecondPass, Trainer};

/// By hand: resnet8 of width 4 on 8x8 images. Forward and dW of every layer, dX of all but the first; SAM twice that. The
/// second convolutions of the last two stages are Winograd's: for each of their 2x2 tiles 32 c^2 FLOPs a product, and
/// 56 c (forward, dX) or 44 c (dW) for the transforms.
#[test]
fn a_step_executes_what_its_layers_owe() {
    let spec: ModelSpec =
        serde_json::from_value(serde_json::json!({"name": "resnet8", "width": 4})).expect("a specification");
    let model = model::build(&spec, Task { input: Input::Image([3, 8, 8]), classes: 10 }).expect("a model");
    let conv = |c_in: u64, c_out: u64, pixels: u64| 9 * c_in * c_out * pixels;
    let winograd = [(8, 16), (16, 4)];
    let direct = model.forward_macs() - winograd.map(|(c, pixels)| conv(c, c, pixels)).iter().sum::<u64>();
    let tiles = winograd.map(|(c, pixels)| pixels / 4 * (3 * 32 * c * c + (2 * 56 + 44) * c));
    let images = 6;
    let step = images * (2 * (3 * direct - conv(3, 4, 64)) + tiles.iter().sum::<u64>());

    let pixels = vec![0.5f32; images as usize * 3 * 64];
    let images = Tensor::from_vec(pixels, (images as usize, 3, 8, 8), &Device::Cpu).expect("a tensor");
    let batch = Batch { input: images, labels: vec![1; 6], dropout: None };
    let sam = SecondPass { rho: 0.1, epsilon: SAM_EPSILON, batch_norm: BatchNormMode::Update };
    let sgd = Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 };
    for (second, passes) in [(None, 1), (Some(sam), 2)] {
        let layout = model.layout();
        let mut trainer = Trainer::new(&*model, sgd, second, layout.init(7), RunningStats::new(layout));
        let before = executed_flops();
        trainer.step(&batch, 0.05, None, |_, _| {}).expect("a step");
        assert_eq!(executed_flops() - before, passes * step);
    }
}
