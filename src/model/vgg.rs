//! `vgg11-bn`: configuration A of Simonyan and Zisserman (2015) with BatchNorm and torchvision's names, on 32x32 images,
//! which five poolings bring down to one pixel; then two hidden layers with dropout.

use std::sync::Arc;

use super::{Built, Model, ModelSpec, Task};
use crate::flops::{conv2d_macs, linear_macs};
use crate::nn::{
    BatchNorm, Bias, Conv2d, Linear, Node, ParamLayout, ParamsBuilder, Pass, channels_last, default_init, dropout,
    flatten, max_pool2d, relu,
};

/// By convolution: its channels, in widths, and whether pooling follows.
const FEATURES: [(usize, bool); 8] =
    [(1, true), (2, true), (4, false), (4, true), (8, false), (8, true), (8, false), (8, true)];
const SIDE: usize = 32;

struct Feature {
    conv: Conv2d,
    bias: Bias,
    norm: BatchNorm,
    pool: bool,
}

struct Vgg {
    spec: ModelSpec,
    layout: Arc<ParamLayout>,
    features: Vec<Feature>,
    classifier: Vec<Linear>,
    dropout: f32,
    macs: u64,
}

pub(super) fn build(spec: &ModelSpec, task: Task) -> Built {
    let width = spec.width(64)?;
    let hidden = spec.hidden(&[4096, 4096])?;
    let dropout = spec.dropout.unwrap_or(0.5);
    if !(0.0..1.0).contains(&dropout) {
        return Err(format!("model.dropout = {dropout} must be at least 0 and below 1"));
    }
    let [channels, height, image_width] = task.image(spec)?;
    if [height, image_width] != [SIDE, SIDE] {
        return Err(format!("model vgg11-bn reads images of {SIDE}x{SIDE}, the data have {image_width}x{height}"));
    }
    let mut params = ParamsBuilder::default();
    let (mut index, mut c_in, mut side, mut macs) = (0, channels, SIDE, 0);
    let mut names = Vec::new();
    for (widths, pool) in FEATURES {
        let (conv, norm, c_out) = (format!("features.{index}"), format!("features.{}", index + 1), widths * width);
        Conv2d::declare(&mut params, &conv, c_in, c_out, 3);
        Bias::declare(&mut params, &conv, c_out, default_init(9 * c_in));
        BatchNorm::declare(&mut params, &norm, c_out);
        macs += conv2d_macs(c_in, c_out, 3, side * side);
        names.push((conv, norm, pool));
        // torchvision counts convolution, normalisation, ReLU and pooling.
        index += if pool { 4 } else { 3 };
        side = if pool { side / 2 } else { side };
        c_in = c_out;
    }
    let mut widths = vec![c_in];
    widths.extend(&hidden);
    widths.push(task.classes);
    let linear = |i: usize| format!("classifier.{}", 3 * i);
    for (i, pair) in widths.windows(2).enumerate() {
        Linear::declare(&mut params, &linear(i), pair[0], pair[1]);
        macs += linear_macs(pair[0], pair[1]);
    }
    let layout = Arc::new(params.build());
    let feature = |(conv, norm, pool): &(String, String, bool)| Feature {
        conv: Conv2d::new(&layout, conv, 1, 1),
        bias: Bias::new(&layout, conv, false),
        norm: BatchNorm::new(&layout, norm, true),
        pool: *pool,
    };
    let spec = ModelSpec { width: Some(width), hidden: Some(hidden), dropout: Some(dropout), ..spec.clone() };
    Ok(Box::new(Vgg {
        spec,
        features: names.iter().map(feature).collect(),
        classifier: (0..widths.len() - 1).map(|i| Linear::new(&layout, &linear(i))).collect(),
        layout,
        dropout: dropout as f32,
        macs,
    }))
}

impl Model for Vgg {
    fn spec(&self) -> ModelSpec {
        self.spec.clone()
    }

    fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let mut x = channels_last(x, pass)?;
        for feature in &self.features {
            x = feature.bias.forward(&feature.conv.forward(&x, pass)?, pass)?;
            x = feature.norm.forward(&x, pass)?;
            if feature.pool {
                x = max_pool2d(&x, 2, 2, 0, pass)?;
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

    fn forward_macs(&self) -> u64 {
        self.macs
    }
}
