//! `speednet`: much accuracy in little time on a CPU (docs/models.md): a 3x3 stem, three groups of two 3x3 convolutions
//! with 2x2 max-pooling before the first normalisation, global max-pooling, a linear layer.

use std::sync::Arc;

use super::residual::{ConvNorm, ConvPlan};
use super::{Built, Model, ModelSpec, Task};
use crate::flops::{conv2d_macs, linear_macs};
use crate::nn::{
    BatchNorm, Conv2d, Linear, Node, ParamLayout, ParamsBuilder, Pass, channels_last, global_max_pool, max_pool2d,
};

struct Group {
    conv1: Conv2d,
    bn1: BatchNorm,
    second: ConvNorm,
}

struct SpeedNet {
    spec: ModelSpec,
    layout: Arc<ParamLayout>,
    stem: ConvNorm,
    groups: Vec<Group>,
    fc: Linear,
    macs: u64,
}

pub(super) fn build(spec: &ModelSpec, task: Task) -> Built {
    let width = spec.width(64)?;
    if !width.is_multiple_of(2) {
        return Err(format!("model.width = {width} must be even: the stem has half of it"));
    }
    let [channels, height, image_width] = task.image(spec)?;
    if height != image_width || !(8..128).contains(&height) {
        return Err(format!(
            "model speednet reads square images of 8x8 to 127x127, those of the data have {image_width}x{height} pixels"
        ));
    }
    let stem = ConvPlan::numbered("", 1, (channels, width / 2), 3);
    let mut params = ParamsBuilder::default();
    stem.declare(&mut params);
    let mut side = height;
    let mut macs = stem.macs(&mut (side, side));
    let mut c_in = width / 2;
    let mut plans = Vec::new();
    for (index, c_out) in [(1, width), (2, 4 * width), (3, 4 * width)] {
        let prefix = format!("layer{index}.");
        Conv2d::declare(&mut params, &format!("{prefix}conv1"), c_in, c_out, 3);
        BatchNorm::declare(&mut params, &format!("{prefix}bn1"), c_out);
        macs += conv2d_macs(c_in, c_out, 3, side * side);
        side /= 2;
        let second = ConvPlan::numbered(&prefix, 2, (c_out, c_out), 3);
        second.declare(&mut params);
        macs += second.macs(&mut (side, side));
        plans.push((prefix, second));
        c_in = c_out;
    }
    Linear::declare(&mut params, "fc", c_in, task.classes);
    let layout = Arc::new(params.build());
    let group = |(prefix, second): &(String, ConvPlan)| Group {
        conv1: Conv2d::new(&layout, &format!("{prefix}conv1"), 1, 1),
        bn1: BatchNorm::new(&layout, &format!("{prefix}bn1"), true),
        second: second.build(&layout),
    };
    Ok(Box::new(SpeedNet {
        spec: ModelSpec { width: Some(width), ..spec.clone() },
        stem: stem.build(&layout),
        groups: plans.iter().map(group).collect(),
        fc: Linear::new(&layout, "fc"),
        layout,
        macs: macs + linear_macs(c_in, task.classes),
    }))
}

impl Model for SpeedNet {
    fn spec(&self) -> ModelSpec {
        self.spec.clone()
    }

    fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let mut x = self.stem.forward(&channels_last(x, pass)?, pass)?;
        for Group { conv1, bn1, second } in &self.groups {
            // Pooled before the normalisation: a quarter of the values to normalise.
            x = max_pool2d(&conv1.forward(&x, pass)?, 2, 2, 0, pass)?;
            x = second.forward(&bn1.forward(&x, pass)?, pass)?;
        }
        self.fc.forward(&global_max_pool(&x, pass)?, pass)
    }

    fn forward_macs(&self) -> u64 {
        self.macs
    }
}
