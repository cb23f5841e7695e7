//! `transformer`: the character Transformer of Long and Bartlett (2024), section 4: 6 pre-LN blocks
//! of width 128, 8 heads with keys of dimension 32 (twice the width in total), MLPs of four times
//! the width, learned positions, and an output layer that is not tied to the embedding.

use candle_nn::Init;

use super::blocks::{Blocks, BlocksPlan};
use super::layered::{Layers, layered};
use super::{Built, ModelSpec, Task};
use crate::nn::{Embedding, Linear, Node, ParamsBuilder, Pass, Positions, SampleShape, rows};

/// Initial token and position embeddings, as in GPT-2.
const EMBEDDING: Init = Init::Randn { mean: 0.0, stdev: 0.02 };

struct Transformer {
    tokens: Embedding,
    positions: Positions,
    blocks: Blocks,
    head: Linear,
}

pub(super) fn build(spec: &ModelSpec, task: Task) -> Built {
    let width = spec.width(128)?;
    let (depth, heads) = (spec.depth(6)?, spec.heads(8, width)?);
    let [length, vocabulary] = task.tokens(spec)?;
    let plan = BlocksPlan { depth, width, heads, size: 2 * width / heads, hidden: 4 * width, causal: true };
    let mut params = ParamsBuilder::default();
    let mut x = SampleShape::text(length, width);
    let layers = Transformer {
        tokens: Embedding::new(&mut params, "tok_embed", vocabulary, width, EMBEDDING),
        positions: Positions::new(&mut params, "pos_embed", &x, EMBEDDING),
        blocks: plan.build(&mut params, x),
        head: Linear::new(&mut params, "head", &mut x, task.classes),
    };
    Ok(layered(plan.spec(spec), params, layers))
}

impl Layers for Transformer {
    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let x = self.positions.forward(&self.tokens.forward(x, pass)?, pass)?;
        let x = self.blocks.forward(x, pass)?;
        self.head.forward(&rows(&x, pass)?, pass)
    }
}
