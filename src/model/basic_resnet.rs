//! `resnet18`, `resnet34`: He et al. (2016), table 1, with a stem for small images (a 3x3 convolution of stride 1, no
//! pooling) in place of ImageNet's, as in the code of Mi et al. (2022). Projection shortcuts (option B).

use super::residual::{BlockPlan, ConvPlan};
use super::stages::{Stem, build_stages};
use super::{Built, ModelSpec, Task};

pub(super) fn build(blocks: [usize; 4], spec: &ModelSpec, task: Task) -> Built {
    build_stages(spec, task, Stem::Small, blocks, 1, |name, c_in, width, stride| {
        let prefix = format!("{name}.");
        BlockPlan {
            convs: vec![
                ConvPlan::numbered(&prefix, 1, (c_in, width), 3).stride(stride),
                ConvPlan::numbered(&prefix, 2, (width, width), 3).without_relu(),
            ],
            downsample: (stride > 1 || c_in != width).then(|| ConvPlan::downsample(name, (c_in, width), stride)),
        }
    })
}
