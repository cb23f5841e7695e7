//! `vit`: the small vision Transformer that Lee et al. (2021, arXiv 2112.13492) train on CIFAR from
//! scratch: patches of 4x4, width 192, 9 blocks, 12 heads, MLPs of twice the width. Here all blocks
//! are pre-LN, and the mean over all tokens replaces the class token (Beyer et al. 2022).

use candle_nn::Init;

use super::blocks::{Blocks, BlocksPlan};
use super::layered::{Layers, layered};
use super::{Built, ModelSpec, Task};
use crate::nn::{
    Bias, Conv2d, Kernel, Linear, Node, ParamsBuilder, Pass, Positions, channels_last, default_init, global_avg_pool,
};

/// Side of a patch in pixels.
const PATCH: usize = 4;
/// Attention weights, which a GPU keeps, grow with the square of this: 48 MiB per sample and block with 12 heads.
const MOST_TOKENS: usize = 1024;

struct Vit {
    patches: Conv2d,
    bias: Bias,
    positions: Positions,
    blocks: Blocks,
    head: Linear,
}

pub(super) fn build(spec: &ModelSpec, task: Task) -> Built {
    let width = spec.width(192)?;
    let (depth, heads) = (spec.depth(9)?, spec.heads(12, width)?);
    let mut x = task.image(spec)?;
    if x.height % PATCH + x.width % PATCH > 0 {
        return Err(format!(
            "model vit reads patches of {PATCH}x{PATCH}, which do not tile the data's images of {}x{}",
            x.width, x.height
        ));
    }
    let tokens = x.positions() / (PATCH * PATCH);
    if tokens > MOST_TOKENS {
        return Err(format!(
            "model vit would attend to {tokens} patches, at most {MOST_TOKENS} are supported; lower data.size"
        ));
    }
    let plan = BlocksPlan { depth, width, heads, size: width / heads, hidden: 2 * width, causal: false };
    let bias = default_init(x.channels * PATCH * PATCH);
    let mut params = ParamsBuilder::default();
    let layers = Vit {
        patches: Conv2d::new(&mut params, "patch_embed", &mut x, width, Kernel::tiles(PATCH)),
        bias: Bias::new(&mut params, "patch_embed", width, bias, false),
        positions: Positions::new(&mut params, "pos_embed", &x, Init::Randn { mean: 0.0, stdev: 0.02 }),
        blocks: plan.build(&mut params, x),
        head: Linear::new(&mut params, "head", &mut x.pooled_globally(), task.classes),
    };
    Ok(layered(plan.spec(spec), params, layers))
}

impl Layers for Vit {
    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        // [batch, rows, columns, width] throughout: every pixel is a token.
        let x = self.patches.forward(&channels_last(x, pass)?, pass)?;
        let x = self.positions.forward(&self.bias.forward(&x, pass)?, pass)?;
        let x = self.blocks.forward(x, pass)?;
        self.head.forward(&global_avg_pool(&x, pass)?, pass)
    }
}
