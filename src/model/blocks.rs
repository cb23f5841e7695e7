//! Pre-LN Transformer blocks (Xiong et al. 2020): x + attention(norm1(x)), then x + mlp(norm2(x)).

use super::ModelSpec;
use crate::nn::{Attention, LayerNorm, Linear, Node, ParamsBuilder, Pass, SampleShape, add, gelu};

/// Geometry of a stack of blocks, named `blocks.0`, `blocks.1`, ...
#[derive(Clone, Copy)]
pub(super) struct BlocksPlan {
    pub(super) depth: usize,
    pub(super) width: usize,
    pub(super) heads: usize,
    /// Dimension of a query, key or value.
    pub(super) size: usize,
    /// Hidden units of the MLP.
    pub(super) hidden: usize,
    pub(super) causal: bool,
}

struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    attention: Attention,
    proj: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

/// Blocks followed by the normalisation `norm`.
pub(super) struct Blocks {
    blocks: Vec<Block>,
    norm: LayerNorm,
}

impl BlocksPlan {
    pub(super) fn spec(&self, spec: &ModelSpec) -> ModelSpec {
        ModelSpec { width: Some(self.width), depth: Some(self.depth), heads: Some(self.heads), ..spec.clone() }
    }

    /// Builds the blocks for tokens or pixels of shape `x`, which is also the output shape.
    pub(super) fn build(self, params: &mut ParamsBuilder, mut x: SampleShape) -> Blocks {
        let blocks = (0..self.depth).map(|i| self.block(params, i, &mut x)).collect();
        Blocks { blocks, norm: LayerNorm::new(params, "norm", self.width) }
    }

    fn block(self, params: &mut ParamsBuilder, index: usize, x: &mut SampleShape) -> Block {
        let Self { width, heads, size, hidden, causal, .. } = self;
        let name = |part: &str| format!("blocks.{index}.{part}");
        Block {
            norm1: LayerNorm::new(params, &name("norm1"), width),
            qkv: Linear::new(params, &name("attn.qkv"), x, 3 * heads * size),
            attention: Attention::new(params, x, heads, causal),
            proj: Linear::new(params, &name("attn.proj"), x, width),
            norm2: LayerNorm::new(params, &name("norm2"), width),
            fc1: Linear::new(params, &name("mlp.fc1"), x, hidden),
            fc2: Linear::new(params, &name("mlp.fc2"), x, width),
        }
    }
}

impl Blocks {
    /// [batch, ..., width] -> the same shape.
    pub(super) fn forward(&self, x: Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let mut x = x;
        for block in &self.blocks {
            let y = block.qkv.forward(&block.norm1.forward(&x, pass)?, pass)?;
            let y = block.attention.forward(&y, pass)?;
            x = add(&block.proj.forward(&y, pass)?, &x, pass)?;
            let y = block.fc1.forward(&block.norm2.forward(&x, pass)?, pass)?;
            x = add(&block.fc2.forward(&gelu(&y, pass)?, pass)?, &x, pass)?;
        }
        self.norm.forward(&x, pass)
    }
}
