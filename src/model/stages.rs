//! ResNet with four stages of residual blocks: stem, `layer1` to `layer4`, global average pooling,
//! `fc`.

use super::layered::{Layers, layered};
use super::residual::{Block, ConvNorm};
use super::{Built, ModelSpec, Task};
use crate::nn::{Kernel, Linear, Node, ParamsBuilder, Pass, channels_last, global_avg_pool, max_pool2d};

/// Layers before the stages.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Stem {
    /// A 3x3 convolution.
    Small,
    /// A 7x7 convolution of stride 2 and 3x3 max-pooling of stride 2.
    ImageNet,
}

struct StagedResNet {
    stem: ConvNorm,
    pool: Option<Kernel>,
    blocks: Vec<Block>,
    fc: Linear,
}

/// Builds a ResNet. `convs(width of the stage, stride)` returns the output channels and kernels of
/// a block's convolutions.
pub(super) fn build_stages(
    spec: &ModelSpec,
    task: Task,
    stem: Stem,
    blocks: [usize; 4],
    convs: impl Fn(usize, usize) -> Vec<(usize, Kernel)>,
) -> Built {
    let width = spec.width(64)?;
    let mut x = task.image(spec)?;
    let (kernel, pool) = match stem {
        Stem::Small => (Kernel::centred(3), None),
        Stem::ImageNet => (Kernel::centred(7).stride(2), Some(Kernel::centred(3).stride(2))),
    };
    let mut params = ParamsBuilder::default();
    let stem = ConvNorm::numbered(&mut params, ("", 1), &mut x, width, kernel, true);
    x = pool.map_or(x, |kernel| x.windows(kernel));
    let mut layers = Vec::new();
    for (stage, blocks) in blocks.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let name = format!("layer{}.{block}", stage + 1);
            layers.push(Block::new(&mut params, &name, &mut x, &convs(width << stage, stride)));
        }
    }
    let fc = Linear::new(&mut params, "fc", &mut x.pooled_globally(), task.classes);
    let spec = ModelSpec { width: Some(width), ..spec.clone() };
    Ok(layered(spec, params, StagedResNet { stem, pool, blocks: layers, fc }))
}

impl Layers for StagedResNet {
    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let mut x = self.stem.forward(&channels_last(x, pass)?, pass)?;
        if let Some(kernel) = self.pool {
            x = max_pool2d(&x, kernel, pass)?;
        }
        for block in &self.blocks {
            x = block.forward(&x, pass)?;
        }
        self.fc.forward(&global_avg_pool(&x, pass)?, pass)
    }
}
