//! `resnet18`, `resnet34`: He et al. (2016), table 1, with a stem for small images (a 3x3
//! convolution of stride 1, no pooling) instead of ImageNet's, as in the code of Mi et al. (2022).
//! Uses projection shortcuts (option B).

use super::stages::{Stem, build_stages};
use super::{Built, ModelSpec, Task};
use crate::nn::Kernel;

pub(super) fn build(blocks: [usize; 4], spec: &ModelSpec, task: Task) -> Built {
    build_stages(spec, task, Stem::Small, blocks, |width, stride| {
        vec![(width, Kernel::centred(3).stride(stride)), (width, Kernel::centred(3))]
    })
}
