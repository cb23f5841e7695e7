//! `resnet50`: He et al. (2016), table 1, with the stride on the 3x3 convolution of a block, as torchvision builds it.

use super::residual::{BlockPlan, ConvPlan};
use super::stages::{Stem, build_stages};
use super::{Built, ModelSpec, Task};

/// A block's output channels by those of its 3x3 convolution.
const EXPANSION: usize = 4;

pub(super) fn build(blocks: [usize; 4], spec: &ModelSpec, task: Task) -> Built {
    build_stages(spec, task, Stem::ImageNet, blocks, EXPANSION, |name, c_in, width, stride| {
        let (prefix, c_out) = (format!("{name}."), EXPANSION * width);
        BlockPlan {
            convs: vec![
                ConvPlan::numbered(&prefix, 1, (c_in, width), 1),
                ConvPlan::numbered(&prefix, 2, (width, width), 3).stride(stride),
                ConvPlan::numbered(&prefix, 3, (width, c_out), 1).without_relu(),
            ],
            downsample: (stride > 1 || c_in != c_out).then(|| ConvPlan::downsample(name, (c_in, c_out), stride)),
        }
    })
}
