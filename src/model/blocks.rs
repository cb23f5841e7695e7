//! The pre-LN blocks of a Transformer (Xiong et al. 2020): x + attention(norm1(x)), then x + mlp(norm2(x)).

use super::ModelSpec;
use crate::flops::{attention_macs, linear_macs};
use crate::nn::{LayerNorm, Linear, Node, ParamLayout, ParamsBuilder, Pass, add, attention, gelu};

/// The geometry of a stack of blocks, named `blocks.0`, `blocks.1`, ...
#[derive(Clone, Copy)]
pub(super) struct BlocksPlan {
    pub(super) depth: usize,
    pub(super) width: usize,
    pub(super) heads: usize,
    /// Values of a query, key or value.
    pub(super) size: usize,
    /// Hidden units of the MLP.
    pub(super) hidden: usize,
    pub(super) causal: bool,
}

struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

/// The blocks and the normalisation after them, `norm`.
pub(super) struct Blocks {
    blocks: Vec<Block>,
    norm: LayerNorm,
    plan: BlocksPlan,
}

impl BlocksPlan {
    fn inner(&self) -> usize {
        self.heads * self.size
    }

    pub(super) fn spec(&self, spec: &ModelSpec) -> ModelSpec {
        ModelSpec { width: Some(self.width), depth: Some(self.depth), heads: Some(self.heads), ..spec.clone() }
    }

    pub(super) fn declare(&self, params: &mut ParamsBuilder) {
        let Self { width, hidden, .. } = *self;
        for i in 0..self.depth {
            let name = |part: &str| format!("blocks.{i}.{part}");
            LayerNorm::declare(params, &name("norm1"), width);
            Linear::declare(params, &name("attn.qkv"), width, 3 * self.inner());
            Linear::declare(params, &name("attn.proj"), self.inner(), width);
            LayerNorm::declare(params, &name("norm2"), width);
            Linear::declare(params, &name("mlp.fc1"), width, hidden);
            Linear::declare(params, &name("mlp.fc2"), hidden, width);
        }
        LayerNorm::declare(params, "norm", width);
    }

    /// Multiply-adds for a sample of so many tokens.
    pub(super) fn macs(&self, tokens: usize) -> u64 {
        let Self { width, hidden, .. } = *self;
        let linear = linear_macs(width, 4 * self.inner()) + linear_macs(width, 2 * hidden);
        self.depth as u64 * (tokens as u64 * linear + attention_macs(tokens, self.inner()))
    }

    pub(super) fn build(self, layout: &ParamLayout) -> Blocks {
        let block = |i: usize| {
            let name = |part: &str| format!("blocks.{i}.{part}");
            Block {
                norm1: LayerNorm::new(layout, &name("norm1")),
                qkv: Linear::new(layout, &name("attn.qkv")),
                proj: Linear::new(layout, &name("attn.proj")),
                norm2: LayerNorm::new(layout, &name("norm2")),
                fc1: Linear::new(layout, &name("mlp.fc1")),
                fc2: Linear::new(layout, &name("mlp.fc2")),
            }
        };
        Blocks { blocks: (0..self.depth).map(block).collect(), norm: LayerNorm::new(layout, "norm"), plan: self }
    }
}

impl Blocks {
    /// [batch, ..., width] -> the same shape.
    pub(super) fn forward(&self, x: Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let mut x = x;
        for block in &self.blocks {
            let y = block.qkv.forward(&block.norm1.forward(&x, pass)?, pass)?;
            let y = attention(&y, self.plan.heads, self.plan.causal, pass)?;
            x = add(&block.proj.forward(&y, pass)?, &x, pass)?;
            let y = block.fc1.forward(&block.norm2.forward(&x, pass)?, pass)?;
            x = add(&block.fc2.forward(&gelu(&y, pass)?, pass)?, &x, pass)?;
        }
        self.norm.forward(&x, pass)
    }
}
