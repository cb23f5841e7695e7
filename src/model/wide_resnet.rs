//! `wideresnet`: the wide ResNets of Zagoruyko and Komodakis (2016), without dropout: three stages of (depth - 4) / 6
//! pre-activation blocks with 16, 32 and 64 times the widening factor channels.

use std::sync::Arc;

use super::{Built, Model, ModelSpec, Task};
use crate::flops::{conv2d_macs, linear_macs};
use crate::nn::{
    BatchNorm, Conv2d, Linear, Node, ParamLayout, ParamsBuilder, Pass, add, channels_last, global_avg_pool,
};

const STEM: usize = 16;

struct BlockPlan {
    name: String,
    c_in: usize,
    c_out: usize,
    stride: usize,
}

struct Block {
    bn1: BatchNorm,
    conv1: Conv2d,
    bn2: BatchNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

struct WideResNet {
    spec: ModelSpec,
    layout: Arc<ParamLayout>,
    conv1: Conv2d,
    blocks: Vec<Block>,
    bn: BatchNorm,
    fc: Linear,
    macs: u64,
}

impl BlockPlan {
    /// Whether the input has to be projected to the shape of the output.
    fn projects(&self) -> bool {
        self.c_in != self.c_out || self.stride > 1
    }

    fn declare(&self, params: &mut ParamsBuilder) {
        let Self { name, c_in, c_out, .. } = self;
        BatchNorm::declare(params, &format!("{name}.bn1"), *c_in);
        Conv2d::declare(params, &format!("{name}.conv1"), *c_in, *c_out, 3);
        BatchNorm::declare(params, &format!("{name}.bn2"), *c_out);
        Conv2d::declare(params, &format!("{name}.conv2"), *c_out, *c_out, 3);
        if self.projects() {
            Conv2d::declare(params, &format!("{name}.shortcut"), *c_in, *c_out, 1);
        }
    }

    fn macs(&self, size: &mut (usize, usize)) -> u64 {
        *size = (size.0.div_ceil(self.stride), size.1.div_ceil(self.stride));
        let macs = |c_in, kernel| conv2d_macs(c_in, self.c_out, kernel, size.0 * size.1);
        let shortcut = if self.projects() { macs(self.c_in, 1) } else { 0 };
        macs(self.c_in, 3) + macs(self.c_out, 3) + shortcut
    }

    fn build(&self, layout: &ParamLayout) -> Block {
        let name = &self.name;
        Block {
            bn1: BatchNorm::new(layout, &format!("{name}.bn1"), true),
            conv1: Conv2d::new(layout, &format!("{name}.conv1"), self.stride, 1),
            bn2: BatchNorm::new(layout, &format!("{name}.bn2"), true),
            conv2: Conv2d::new(layout, &format!("{name}.conv2"), 1, 1),
            shortcut: self.projects().then(|| Conv2d::new(layout, &format!("{name}.shortcut"), self.stride, 0)),
        }
    }
}

pub(super) fn build(spec: &ModelSpec, task: Task) -> Built {
    let (depth, width) = (spec.depth(28)?, ModelSpec::number("width", spec.width, 10, 64)?);
    if depth < 10 || depth % 6 != 4 {
        return Err(format!("model.depth = {depth} must be 6 n + 4 with n of 1 or more; use 10, 16, 22, 28 or 40"));
    }
    let [channels, height, image_width] = task.image(spec)?;
    let mut plans = Vec::new();
    let mut c_in = STEM;
    for stage in 0..3 {
        let c_out = (STEM * width) << stage;
        for block in 0..(depth - 4) / 6 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            plans.push(BlockPlan { name: format!("layer{}.{block}", stage + 1), c_in, c_out, stride });
            c_in = c_out;
        }
    }
    let mut params = ParamsBuilder::default();
    Conv2d::declare(&mut params, "conv1", channels, STEM, 3);
    plans.iter().for_each(|plan| plan.declare(&mut params));
    BatchNorm::declare(&mut params, "bn", c_in);
    Linear::declare(&mut params, "fc", c_in, task.classes);
    let layout = Arc::new(params.build());
    let mut size = (height, image_width);
    let ends = conv2d_macs(channels, STEM, 3, height * image_width) + linear_macs(c_in, task.classes);
    Ok(Box::new(WideResNet {
        spec: ModelSpec { depth: Some(depth), width: Some(width), ..spec.clone() },
        macs: ends + plans.iter().map(|plan| plan.macs(&mut size)).sum::<u64>(),
        conv1: Conv2d::new(&layout, "conv1", 1, 1),
        blocks: plans.iter().map(|plan| plan.build(&layout)).collect(),
        bn: BatchNorm::new(&layout, "bn", true),
        fc: Linear::new(&layout, "fc"),
        layout,
    }))
}

impl Block {
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

impl Model for WideResNet {
    fn spec(&self) -> ModelSpec {
        self.spec.clone()
    }

    fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let mut x = self.conv1.forward(&channels_last(x, pass)?, pass)?;
        for block in &self.blocks {
            x = block.forward(&x, pass)?;
        }
        self.fc.forward(&global_avg_pool(&self.bn.forward(&x, pass)?, pass)?, pass)
    }

    fn forward_macs(&self) -> u64 {
        self.macs
    }
}
