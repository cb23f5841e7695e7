//! `vgg11-bn`: configuration A of Simonyan and Zisserman (2015) with BatchNorm and torchvision's
//! names, for 32x32 images, which five poolings reduce to one pixel. Two hidden layers with dropout
//! follow.

use super::layered::{Layers, layered};
use super::{Built, ModelSpec, Task};
use crate::nn::{
    BatchNorm, Bias, Conv2d, Kernel, Linear, Node, ParamsBuilder, Pass, channels_last, default_init, dropout, flatten,
    max_pool2d, relu,
};

/// Channels of each convolution, in multiples of the width, and whether pooling follows.
const FEATURES: [(usize, bool); 8] =
    [(1, true), (2, true), (4, false), (4, true), (8, false), (8, true), (8, false), (8, true)];
const SIDE: usize = 32;

const POOL: Kernel = Kernel::tiles(2);

struct Feature {
    conv: Conv2d,
    bias: Bias,
    norm: BatchNorm,
    pool: bool,
}

struct Vgg {
    features: Vec<Feature>,
    classifier: Vec<Linear>,
    dropout: f32,
}

pub(super) fn build(spec: &ModelSpec, task: Task) -> Built {
    let width = spec.width(64)?;
    let hidden = spec.hidden(&[4096, 4096])?;
    let dropout = spec.dropout.unwrap_or(0.5);
    if !(0.0..1.0).contains(&dropout) {
        return Err(format!("model.dropout = {dropout} must be at least 0 and below 1"));
    }
    let mut x = task.image(spec)?;
    if [x.height, x.width] != [SIDE, SIDE] {
        return Err(format!("model vgg11-bn reads images of {SIDE}x{SIDE}, the data have {}x{}", x.width, x.height));
    }
    let mut params = ParamsBuilder::default();
    let mut index = 0;
    let mut features = Vec::new();
    for (widths, pool) in FEATURES {
        let (conv, norm, c_out) = (format!("features.{index}"), format!("features.{}", index + 1), widths * width);
        let bias = default_init(9 * x.channels);
        features.push(Feature {
            conv: Conv2d::new(&mut params, &conv, &mut x, c_out, Kernel::centred(3)),
            bias: Bias::new(&mut params, &conv, c_out, bias, false),
            norm: BatchNorm::new(&mut params, &norm, c_out, true),
            pool,
        });
        // torchvision counts convolution, normalisation, ReLU and pooling.
        index += if pool { 4 } else { 3 };
        x = if pool { x.windows(POOL) } else { x };
    }
    x = x.flattened();
    // torchvision counts linear layer, ReLU and dropout.
    let linear =
        |(i, units): (usize, &usize)| Linear::new(&mut params, &format!("classifier.{}", 3 * i), &mut x, *units);
    let classifier = hidden.iter().chain([&task.classes]).enumerate().map(linear).collect();
    let spec = ModelSpec { width: Some(width), hidden: Some(hidden), dropout: Some(dropout), ..spec.clone() };
    Ok(layered(spec, params, Vgg { features, classifier, dropout: dropout as f32 }))
}

impl Layers for Vgg {
    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let mut x = channels_last(x, pass)?;
        for feature in &self.features {
            x = feature.bias.forward(&feature.conv.forward(&x, pass)?, pass)?;
            x = feature.norm.forward(&x, pass)?;
            if feature.pool {
                x = max_pool2d(&x, POOL, pass)?;
            }
        }
        x = flatten(&x, pass)?;
        for (i, layer) in self.classifier.iter().enumerate() {
            x = layer.forward(&x, pass)?;
            if i + 1 < self.classifier.len() {
                x = dropout(&relu(&x, pass)?, self.dropout, pass)?;
            }
        }
        Ok(x)
    }
}
