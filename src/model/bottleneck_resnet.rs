//! `resnet50`: He et al. (2016), table 1, with the stride on a block's 3x3 convolution, as in
//! torchvision.

use super::stages::{Stem, build_stages};
use super::{Built, ModelSpec, Task};
use crate::nn::Kernel;

/// Ratio of a block's output channels to those of its 3x3 convolution.
const EXPANSION: usize = 4;

pub(super) fn build(blocks: [usize; 4], spec: &ModelSpec, task: Task) -> Built {
    build_stages(spec, task, Stem::ImageNet, blocks, |width, stride| {
        vec![
            (width, Kernel::centred(1)),
            (width, Kernel::centred(3).stride(stride)),
            (EXPANSION * width, Kernel::centred(1)),
        ]
    })
}
