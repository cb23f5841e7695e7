//! `wideresnet`: the wide ResNets of Zagoruyko and Komodakis (2016) without dropout: three stages
//! of (depth - 4) / 6 pre-activation blocks, with 16, 32 and 64 channels times the widening factor.

use super::layered::{Layers, layered};
use super::{Built, ModelSpec, Task};
use crate::nn::{
    BatchNorm, Conv2d, Kernel, Linear, Node, ParamsBuilder, Pass, SampleShape, add, channels_last, global_avg_pool,
};

const STEM: usize = 16;

struct Block {
    bn1: BatchNorm,
    conv1: Conv2d,
    bn2: BatchNorm,
    conv2: Conv2d,
    /// Projects the input if the block changes the shape.
    shortcut: Option<Conv2d>,
}

struct WideResNet {
    conv1: Conv2d,
    blocks: Vec<Block>,
    bn: BatchNorm,
    fc: Linear,
}

pub(super) fn build(spec: &ModelSpec, task: Task) -> Built {
    let (depth, width) = (spec.depth(28)?, ModelSpec::number("width", spec.width, 10, 64)?);
    if depth < 10 || depth % 6 != 4 {
        return Err(format!("model.depth = {depth} must be 6 n + 4 with n of 1 or more; use 10, 16, 22, 28 or 40"));
    }
    let mut x = task.image(spec)?;
    let mut params = ParamsBuilder::default();
    let conv1 = Conv2d::new(&mut params, "conv1", &mut x, STEM, Kernel::centred(3));
    let mut blocks = Vec::new();
    for stage in 0..3 {
        for block in 0..(depth - 4) / 6 {
            let (name, stride) = (format!("layer{}.{block}", stage + 1), if stage > 0 && block == 0 { 2 } else { 1 });
            blocks.push(Block::new(&mut params, &name, &mut x, (STEM * width) << stage, stride));
        }
    }
    let layers = WideResNet {
        conv1,
        blocks,
        bn: BatchNorm::new(&mut params, "bn", x.channels, true),
        fc: Linear::new(&mut params, "fc", &mut x.pooled_globally(), task.classes),
    };
    Ok(layered(ModelSpec { depth: Some(depth), width: Some(width), ..spec.clone() }, params, layers))
}

impl Block {
    fn new(params: &mut ParamsBuilder, name: &str, x: &mut SampleShape, c_out: usize, stride: usize) -> Self {
        let mut input = *x;
        let kernel = Kernel::centred(3);
        Self {
            bn1: BatchNorm::new(params, &format!("{name}.bn1"), x.channels, true),
            conv1: Conv2d::new(params, &format!("{name}.conv1"), x, c_out, kernel.stride(stride)),
            bn2: BatchNorm::new(params, &format!("{name}.bn2"), c_out, true),
            conv2: Conv2d::new(params, &format!("{name}.conv2"), x, c_out, kernel),
            shortcut: (input.channels != c_out || stride > 1).then(|| {
                let kernel = Kernel::centred(1).stride(stride);
                Conv2d::new(params, &format!("{name}.shortcut"), &mut input, c_out, kernel)
            }),
        }
    }

    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let active = self.bn1.forward(x, pass)?;
        let y = self.bn2.forward(&self.conv1.forward(&active, pass)?, pass)?;
        let y = self.conv2.forward(&y, pass)?;
        match &self.shortcut {
            Some(shortcut) => add(&y, &shortcut.forward(&active, pass)?, pass),
            None => add(&y, x, pass),
        }
    }
}

impl Layers for WideResNet {
    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let mut x = self.conv1.forward(&channels_last(x, pass)?, pass)?;
        for block in &self.blocks {
            x = block.forward(&x, pass)?;
        }
        self.fc.forward(&global_avg_pool(&self.bn.forward(&x, pass)?, pass)?, pass)
    }
}
