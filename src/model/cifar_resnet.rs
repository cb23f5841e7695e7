//! `resnet8`, `resnet20`: the CIFAR ResNets of He et al. (2016), section 4.2: a 3x3 stem, three stages of n
//! basic blocks with widths w, 2w, 4w, parameter-free shortcuts (option A), global average pooling.

use std::sync::Arc;

use super::{Built, Model, ModelSpec, Task};
use crate::flops::{conv2d_macs, linear_macs};
use crate::nn::{
    BatchNorm, Conv2d, Linear, Node, ParamLayout, ParamsBuilder, Pass, add_relu, channels_last, global_avg_pool,
    shortcut,
};

struct Block {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    /// Output channels, when the block changes the shape.
    widens_to: Option<usize>,
}

struct ResNet {
    spec: ModelSpec,
    layout: Arc<ParamLayout>,
    conv1: Conv2d,
    bn1: BatchNorm,
    blocks: Vec<Block>,
    fc: Linear,
    macs: u64,
}

/// Name, input width, output width and stride of every block.
fn plan(blocks_per_stage: usize, width: usize) -> Vec<(String, usize, usize, usize)> {
    let mut blocks = Vec::new();
    let mut c_in = width;
    for stage in 0..3 {
        let c_out = width << stage;
        for block in 0..blocks_per_stage {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            blocks.push((format!("layer{}.{block}", stage + 1), c_in, c_out, stride));
            c_in = c_out;
        }
    }
    blocks
}

pub(super) fn build(blocks_per_stage: usize, spec: &ModelSpec, task: Task) -> Built {
    let width = spec.width.unwrap_or(16);
    if !(2..=1024).contains(&width) || !width.is_multiple_of(2) {
        return Err(format!(
            "model.width = {width} must be even and from 2 to 1024 (channels are padded on both sides)"
        ));
    }
    let [channels, height, image_width] = task.image(spec)?;
    let blocks = plan(blocks_per_stage, width);

    let mut params = ParamsBuilder::default();
    Conv2d::declare(&mut params, "conv1", channels, width, 3);
    BatchNorm::declare(&mut params, "bn1", width);
    for (name, c_in, c_out, _) in &blocks {
        Conv2d::declare(&mut params, &format!("{name}.conv1"), *c_in, *c_out, 3);
        BatchNorm::declare(&mut params, &format!("{name}.bn1"), *c_out);
        Conv2d::declare(&mut params, &format!("{name}.conv2"), *c_out, *c_out, 3);
        BatchNorm::declare(&mut params, &format!("{name}.bn2"), *c_out);
    }
    Linear::declare(&mut params, "fc", 4 * width, task.classes);
    let layout = Arc::new(params.build());

    let (mut h, mut w) = (height, image_width);
    let mut macs = conv2d_macs(channels, width, 3, h * w) + linear_macs(4 * width, task.classes);
    for (_, c_in, c_out, stride) in &blocks {
        (h, w) = (h.div_ceil(*stride), w.div_ceil(*stride));
        macs += conv2d_macs(*c_in, *c_out, 3, h * w) + conv2d_macs(*c_out, *c_out, 3, h * w);
    }
    let block = |(name, c_in, c_out, stride): &(String, usize, usize, usize)| Block {
        conv1: Conv2d::new(&layout, &format!("{name}.conv1"), *stride, 1),
        bn1: BatchNorm::new(&layout, &format!("{name}.bn1"), true),
        conv2: Conv2d::new(&layout, &format!("{name}.conv2"), 1, 1),
        bn2: BatchNorm::new(&layout, &format!("{name}.bn2"), false),
        widens_to: (c_in != c_out).then_some(*c_out),
    };
    Ok(Box::new(ResNet {
        spec: ModelSpec { width: Some(width), ..spec.clone() },
        conv1: Conv2d::new(&layout, "conv1", 1, 1),
        bn1: BatchNorm::new(&layout, "bn1", true),
        blocks: blocks.iter().map(block).collect(),
        fc: Linear::new(&layout, "fc"),
        layout,
        macs,
    }))
}

impl Model for ResNet {
    fn spec(&self) -> ModelSpec {
        self.spec.clone()
    }

    fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let x = self.conv1.forward(&channels_last(x, pass)?, pass)?;
        let mut x = self.bn1.forward(&x, pass)?;
        for block in &self.blocks {
            let y = block.conv1.forward(&x, pass)?;
            let y = block.bn1.forward(&y, pass)?;
            let y = block.conv2.forward(&y, pass)?;
            let y = block.bn2.forward(&y, pass)?;
            let identity = match block.widens_to {
                Some(c_out) => shortcut(&x, c_out, pass)?,
                None => x,
            };
            x = add_relu(&y, &identity, pass)?;
        }
        let x = global_avg_pool(&x, pass)?;
        self.fc.forward(&x, pass)
    }

    fn forward_macs(&self) -> u64 {
        self.macs
    }
}
