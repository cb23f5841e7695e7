//! `edge-cnn`: the CNN of Long and Bartlett (2024), section 4: twice {3x3 convolution with bias,
//! ReLU, LayerNorm over the channels of each pixel, 2x2 max-pooling}, then a linear layer. Glorot
//! normal weights and zero biases as in their code. Their code truncates the normal distribution at
//! two deviations, and its normalisation adds 1e-6 (here 1e-5).

use candle_nn::Init;

use super::layered::{Layers, layered};
use super::mlp::glorot_normal;
use super::{Built, ModelSpec, Task};
use crate::nn::{
    Bias, Conv2d, Kernel, LayerNorm, Linear, Node, ParamsBuilder, Pass, channels_last, flatten, max_pool2d,
};

const POOL: Kernel = Kernel::tiles(2);

struct Block {
    conv: Conv2d,
    bias: Bias,
    norm: LayerNorm,
}

struct EdgeCnn {
    blocks: [Block; 2],
    fc: Linear,
}

pub(super) fn build(spec: &ModelSpec, task: Task) -> Built {
    let width = spec.width(16)?;
    let mut x = task.image(spec)?;
    if x.height.min(x.width) < 4 {
        return Err(format!("model edge-cnn requires images of at least 4x4, the data have {}x{}", x.width, x.height));
    }
    let mut params = ParamsBuilder::default();
    let blocks = [(1, width), (2, 2 * width)].map(|(index, c_out)| {
        let (conv, init) = (format!("conv{index}"), glorot_normal(9 * x.channels, 9 * c_out));
        let block = Block {
            conv: Conv2d::with_init(&mut params, &conv, &mut x, c_out, Kernel::centred(3), init),
            bias: Bias::new(&mut params, &conv, c_out, Init::Const(0.0), true),
            norm: LayerNorm::new(&mut params, &format!("norm{index}"), c_out),
        };
        x = x.windows(POOL);
        block
    });
    x = x.flattened();
    let init = [glorot_normal(x.channels, task.classes), Init::Const(0.0)];
    let fc = Linear::with_init(&mut params, "fc", &mut x, task.classes, init);
    Ok(layered(ModelSpec { width: Some(width), ..spec.clone() }, params, EdgeCnn { blocks, fc }))
}

impl Layers for EdgeCnn {
    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let mut x = channels_last(x, pass)?;
        for Block { conv, bias, norm } in &self.blocks {
            x = bias.forward(&conv.forward(&x, pass)?, pass)?;
            x = max_pool2d(&norm.forward(&x, pass)?, POOL, pass)?;
        }
        self.fc.forward(&flatten(&x, pass)?, pass)
    }
}
