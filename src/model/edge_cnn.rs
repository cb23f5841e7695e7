//! `edge-cnn`: the CNN of Long and Bartlett (2024), section 4: twice {3x3 convolution with bias, ReLU, LayerNorm over the
//! channels of each pixel, 2x2 max-pooling}, then a linear layer. Glorot normal weights, biases 0, as in their
//! code, where the normal distribution is cut off at two deviations and normalisation adds 1e-6 (here 1e-5).

use std::sync::Arc;

use candle_nn::Init;

use super::mlp::glorot_normal;
use super::{Built, Model, ModelSpec, Task};
use crate::flops::{conv2d_macs, linear_macs};
use crate::nn::{
    Bias, Conv2d, LayerNorm, Linear, Node, ParamLayout, ParamsBuilder, Pass, channels_last, flatten, max_pool2d,
};

struct Block {
    conv: Conv2d,
    bias: Bias,
    norm: LayerNorm,
}

struct EdgeCnn {
    spec: ModelSpec,
    layout: Arc<ParamLayout>,
    blocks: [Block; 2],
    fc: Linear,
    macs: u64,
}

pub(super) fn build(spec: &ModelSpec, task: Task) -> Built {
    let width = spec.width(16)?;
    let [channels, height, image_width] = task.image(spec)?;
    if height.min(image_width) < 4 {
        return Err(format!(
            "model edge-cnn halves images twice, those of the data have {image_width}x{height} pixels"
        ));
    }
    let mut params = ParamsBuilder::default();
    let (mut c_in, mut pixels, mut macs) = (channels, (height, image_width), 0);
    for (index, c_out) in [(1, width), (2, 2 * width)] {
        let conv = format!("conv{index}");
        Conv2d::declare_init(&mut params, &conv, (c_in, c_out, 3), glorot_normal(9 * c_in, 9 * c_out));
        Bias::declare(&mut params, &conv, c_out, Init::Const(0.0));
        LayerNorm::declare(&mut params, &format!("norm{index}"), c_out);
        macs += conv2d_macs(c_in, c_out, 3, pixels.0 * pixels.1);
        (c_in, pixels) = (c_out, (pixels.0 / 2, pixels.1 / 2));
    }
    let features = c_in * pixels.0 * pixels.1;
    Linear::declare_init(
        &mut params,
        "fc",
        features,
        task.classes,
        [glorot_normal(features, task.classes), Init::Const(0.0)],
    );
    let layout = Arc::new(params.build());
    let block = |index: usize| Block {
        conv: Conv2d::new(&layout, &format!("conv{index}"), 1, 1),
        bias: Bias::new(&layout, &format!("conv{index}"), true),
        norm: LayerNorm::new(&layout, &format!("norm{index}")),
    };
    Ok(Box::new(EdgeCnn {
        spec: ModelSpec { width: Some(width), ..spec.clone() },
        blocks: [block(1), block(2)],
        fc: Linear::new(&layout, "fc"),
        layout,
        macs: macs + linear_macs(features, task.classes),
    }))
}

impl Model for EdgeCnn {
    fn spec(&self) -> ModelSpec {
        self.spec.clone()
    }

    fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let mut x = channels_last(x, pass)?;
        for Block { conv, bias, norm } in &self.blocks {
            x = bias.forward(&conv.forward(&x, pass)?, pass)?;
            x = max_pool2d(&norm.forward(&x, pass)?, 2, 2, 0, pass)?;
        }
        self.fc.forward(&flatten(&x, pass)?, pass)
    }

    fn forward_macs(&self) -> u64 {
        self.macs
    }
}
