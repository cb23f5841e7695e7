//! `resnet8`, `resnet20`, `resnet32`: the CIFAR ResNets of He et al. (2016), section 4.2, with a 3x3 stem,
//! three stages of n basic blocks with widths w, 2w, 4w, parameter-free shortcuts (option A), and
//! global average pooling.

use super::layered::{Layers, layered};
use super::residual::ConvNorm;
use super::{Built, ModelSpec, Task};
use crate::nn::{Kernel, Linear, Node, ParamsBuilder, Pass, add_relu, channels_last, global_avg_pool, shortcut};

struct Block {
    convs: [ConvNorm; 2],
    /// Output channels if the block changes the shape.
    widens_to: Option<usize>,
}

struct ResNet {
    stem: ConvNorm,
    blocks: Vec<Block>,
    fc: Linear,
}

pub(super) fn build(blocks_per_stage: usize, spec: &ModelSpec, task: Task) -> Built {
    let width = spec.width.unwrap_or(16);
    if !(2..=1024).contains(&width) || !width.is_multiple_of(2) {
        return Err(format!(
            "model.width = {width} must be even and from 2 to 1024 (channels are padded on both sides)"
        ));
    }
    let mut x = task.image(spec)?;
    let mut params = ParamsBuilder::default();
    let stem = ConvNorm::numbered(&mut params, ("", 1), &mut x, width, Kernel::centred(3), true);
    let mut blocks = Vec::new();
    for stage in 0..3 {
        let c_out = width << stage;
        for block in 0..blocks_per_stage {
            let prefix = format!("layer{}.{block}.", stage + 1);
            let kernel = Kernel::centred(3).stride(if stage > 0 && block == 0 { 2 } else { 1 });
            let widens_to = (x.channels != c_out).then_some(c_out);
            let convs = [(1, kernel, true), (2, Kernel::centred(3), false)].map(|(index, kernel, relu)| {
                ConvNorm::numbered(&mut params, (&prefix, index), &mut x, c_out, kernel, relu)
            });
            blocks.push(Block { convs, widens_to });
        }
    }
    let fc = Linear::new(&mut params, "fc", &mut x.pooled_globally(), task.classes);
    let spec = ModelSpec { width: Some(width), ..spec.clone() };
    Ok(layered(spec, params, ResNet { stem, blocks, fc }))
}

impl Layers for ResNet {
    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let mut x = self.stem.forward(&channels_last(x, pass)?, pass)?;
        for Block { convs: [first, second], widens_to } in &self.blocks {
            let y = second.forward(&first.forward(&x, pass)?, pass)?;
            let identity = match widens_to {
                Some(c_out) => shortcut(&x, *c_out, pass)?,
                None => x,
            };
            x = add_relu(&y, &identity, pass)?;
        }
        self.fc.forward(&global_avg_pool(&x, pass)?, pass)
    }
}
