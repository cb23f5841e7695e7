//! `vit`: the small vision Transformer that Lee et al. (2021, arXiv 2112.13492) train on CIFAR from scratch: patches of
//! 4x4, width 192, 9 blocks, 12 heads, MLPs of twice the width; but pre-LN blocks all through and the mean over all tokens
//! in place of a class token (Beyer et al. 2022).

use std::sync::Arc;

use candle_nn::Init;

use super::blocks::{Blocks, BlocksPlan};
use super::{Built, Model, ModelSpec, Task};
use crate::flops::{conv2d_macs, linear_macs};
use crate::nn::{
    Bias, Conv2d, Linear, Node, ParamLayout, ParamsBuilder, Pass, Positions, channels_last, default_init,
    global_avg_pool,
};

/// Side of a patch in pixels.
const PATCH: usize = 4;
/// The weights of an attention grow with the square of this: 48 MiB for a sample and block of 12 heads.
const MOST_TOKENS: usize = 1024;

struct Vit {
    spec: ModelSpec,
    layout: Arc<ParamLayout>,
    patches: Conv2d,
    bias: Bias,
    positions: Positions,
    blocks: Blocks,
    head: Linear,
    macs: u64,
}

pub(super) fn build(spec: &ModelSpec, task: Task) -> Built {
    let width = spec.width(192)?;
    let (depth, heads) = (spec.depth(9)?, spec.heads(12, width)?);
    let [channels, height, image_width] = task.image(spec)?;
    if height % PATCH + image_width % PATCH > 0 {
        return Err(format!(
            "model vit reads patches of {PATCH}x{PATCH}, which do not tile the data's images of {image_width}x{height}"
        ));
    }
    let tokens = height * image_width / (PATCH * PATCH);
    if tokens > MOST_TOKENS {
        return Err(format!(
            "model vit would attend to {tokens} patches, at most {MOST_TOKENS} are supported; lower data.size"
        ));
    }
    let plan = BlocksPlan { depth, width, heads, size: width / heads, hidden: 2 * width, causal: false };
    let mut params = ParamsBuilder::default();
    Conv2d::declare(&mut params, "patch_embed", channels, width, PATCH);
    Bias::declare(&mut params, "patch_embed", width, default_init(channels * PATCH * PATCH));
    Positions::declare(&mut params, "pos_embed", tokens, width, Init::Randn { mean: 0.0, stdev: 0.02 });
    plan.declare(&mut params);
    Linear::declare(&mut params, "head", width, task.classes);
    let layout = Arc::new(params.build());
    let ends = conv2d_macs(channels, width, PATCH, tokens) + linear_macs(width, task.classes);
    Ok(Box::new(Vit {
        spec: plan.spec(spec),
        patches: Conv2d::new(&layout, "patch_embed", PATCH, 0),
        bias: Bias::new(&layout, "patch_embed", false),
        positions: Positions::new(&layout, "pos_embed"),
        blocks: plan.build(&layout),
        head: Linear::new(&layout, "head"),
        layout,
        macs: ends + plan.macs(tokens),
    }))
}

impl Model for Vit {
    fn spec(&self) -> ModelSpec {
        self.spec.clone()
    }

    fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        // [batch, rows, columns, width] all through: every pixel is a token.
        let x = self.patches.forward(&channels_last(x, pass)?, pass)?;
        let x = self.positions.forward(&self.bias.forward(&x, pass)?, pass)?;
        let x = self.blocks.forward(x, pass)?;
        self.head.forward(&global_avg_pool(&x, pass)?, pass)
    }

    fn forward_macs(&self) -> u64 {
        self.macs
    }
}
