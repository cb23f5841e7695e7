//! `transformer`: the character Transformer of Long and Bartlett (2024), section 4: 6 pre-LN blocks of width 128, 8 heads
//! with keys of 32 (twice the width in all), MLPs of four times the width, learned positions, an output layer of its own.

use std::sync::Arc;

use candle_nn::Init;

use super::blocks::{Blocks, BlocksPlan};
use super::{Built, Model, ModelSpec, Task};
use crate::flops::linear_macs;
use crate::nn::{Embedding, Linear, Node, ParamLayout, ParamsBuilder, Pass, Positions, rows};

/// Initial token and position embeddings, as GPT-2's.
const EMBEDDING: Init = Init::Randn { mean: 0.0, stdev: 0.02 };

struct Transformer {
    spec: ModelSpec,
    layout: Arc<ParamLayout>,
    tokens: Embedding,
    positions: Positions,
    blocks: Blocks,
    head: Linear,
    macs: u64,
}

pub(super) fn build(spec: &ModelSpec, task: Task) -> Built {
    let width = spec.width(128)?;
    let (depth, heads) = (spec.depth(6)?, spec.heads(8, width)?);
    let [length, vocabulary] = task.tokens(spec)?;
    let plan = BlocksPlan { depth, width, heads, size: 2 * width / heads, hidden: 4 * width, causal: true };
    let mut params = ParamsBuilder::default();
    Embedding::declare(&mut params, "tok_embed", vocabulary, width, EMBEDDING);
    Positions::declare(&mut params, "pos_embed", length, width, EMBEDDING);
    plan.declare(&mut params);
    Linear::declare(&mut params, "head", width, task.classes);
    let layout = Arc::new(params.build());
    Ok(Box::new(Transformer {
        spec: plan.spec(spec),
        tokens: Embedding::new(&layout, "tok_embed"),
        positions: Positions::new(&layout, "pos_embed"),
        blocks: plan.build(&layout),
        head: Linear::new(&layout, "head"),
        layout,
        macs: plan.macs(length) + length as u64 * linear_macs(width, task.classes),
    }))
}

impl Model for Transformer {
    fn spec(&self) -> ModelSpec {
        self.spec.clone()
    }

    fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let x = self.positions.forward(&self.tokens.forward(x, pass)?, pass)?;
        let x = self.blocks.forward(x, pass)?;
        self.head.forward(&rows(&x, pass)?, pass)
    }

    fn forward_macs(&self) -> u64 {
        self.macs
    }
}
