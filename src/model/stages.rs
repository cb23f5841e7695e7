//! A ResNet of four stages of residual blocks: stem, `layer1` to `layer4`, global average pooling, `fc`.

use std::sync::Arc;

use super::residual::{Block, BlockPlan, ConvNorm, ConvPlan};
use super::{Built, Model, ModelSpec, Task};
use crate::flops::linear_macs;
use crate::nn::{Linear, Node, ParamLayout, ParamsBuilder, Pass, channels_last, global_avg_pool, max_pool2d};

/// What comes before the stages.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Stem {
    /// A 3x3 convolution.
    Small,
    /// A 7x7 convolution of stride 2 and 3x3 max-pooling of stride 2.
    ImageNet,
}

struct StagedResNet {
    spec: ModelSpec,
    layout: Arc<ParamLayout>,
    pool: bool,
    stem: ConvNorm,
    blocks: Vec<Block>,
    fc: Linear,
    macs: u64,
}

/// Builds a ResNet; `plan(name, input channels, width of the stage, stride)` describes a block, whose output has
/// `expansion` times the width.
pub(super) fn build_stages(
    spec: &ModelSpec,
    task: Task,
    stem: Stem,
    blocks: [usize; 4],
    expansion: usize,
    plan: impl Fn(&str, usize, usize, usize) -> BlockPlan,
) -> Built {
    let width = spec.width(64)?;
    let [channels, height, image_width] = task.image(spec)?;
    let (kernel, stride) = if stem == Stem::ImageNet { (7, 2) } else { (3, 1) };
    let stem_plan = ConvPlan::numbered("", 1, (channels, width), kernel).stride(stride);
    let mut plans = Vec::new();
    let mut c_in = width;
    for (stage, blocks) in blocks.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            plans.push(plan(&format!("layer{}.{block}", stage + 1), c_in, width << stage, stride));
            c_in = expansion * (width << stage);
        }
    }

    let mut params = ParamsBuilder::default();
    stem_plan.declare(&mut params);
    plans.iter().for_each(|plan| plan.declare(&mut params));
    Linear::declare(&mut params, "fc", c_in, task.classes);
    let layout = Arc::new(params.build());

    let mut size = (height, image_width);
    let mut macs = stem_plan.macs(&mut size);
    if stem == Stem::ImageNet {
        size = (size.0.div_ceil(2), size.1.div_ceil(2));
    }
    macs += plans.iter().map(|plan| plan.macs(&mut size)).sum::<u64>() + linear_macs(c_in, task.classes);
    Ok(Box::new(StagedResNet {
        spec: ModelSpec { width: Some(width), ..spec.clone() },
        pool: stem == Stem::ImageNet,
        stem: stem_plan.build(&layout),
        blocks: plans.iter().map(|plan| plan.build(&layout)).collect(),
        fc: Linear::new(&layout, "fc"),
        layout,
        macs,
    }))
}

impl Model for StagedResNet {
    fn spec(&self) -> ModelSpec {
        self.spec.clone()
    }

    fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let mut x = self.stem.forward(&channels_last(x, pass)?, pass)?;
        if self.pool {
            x = max_pool2d(&x, 3, 2, 1, pass)?;
        }
        for block in &self.blocks {
            x = block.forward(&x, pass)?;
        }
        self.fc.forward(&global_avg_pool(&x, pass)?, pass)
    }

    fn forward_macs(&self) -> u64 {
        self.macs
    }
}
