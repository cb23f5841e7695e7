//! `speednet`: high accuracy in little time on a CPU (docs/models.md). A 3x3 stem, three groups of
//! two 3x3 convolutions with 2x2 max-pooling before the first normalisation, global max-pooling,
//! and a linear layer.

use super::layered::{Layers, layered};
use super::residual::ConvNorm;
use super::{Built, ModelSpec, Task};
use crate::nn::{
    BatchNorm, Conv2d, Kernel, Linear, Node, ParamsBuilder, Pass, channels_last, global_max_pool, max_pool2d,
};

const POOL: Kernel = Kernel::tiles(2);

struct Group {
    conv1: Conv2d,
    bn1: BatchNorm,
    second: ConvNorm,
}

struct SpeedNet {
    stem: ConvNorm,
    groups: [Group; 3],
    fc: Linear,
}

pub(super) fn build(spec: &ModelSpec, task: Task) -> Built {
    let width = spec.width(64)?;
    if !width.is_multiple_of(2) {
        return Err(format!("model.width = {width} must be even: the stem has half as many channels"));
    }
    let mut x = task.image(spec)?;
    if x.height != x.width || !(8..128).contains(&x.height) {
        return Err(format!(
            "model speednet reads square images of 8x8 to 127x127, the data have {}x{}",
            x.width, x.height
        ));
    }
    let kernel = Kernel::centred(3);
    let mut params = ParamsBuilder::default();
    let stem = ConvNorm::numbered(&mut params, ("", 1), &mut x, width / 2, kernel, true);
    let groups = [(1, width), (2, 4 * width), (3, 4 * width)].map(|(index, c_out)| {
        let prefix = format!("layer{index}.");
        let conv1 = Conv2d::new(&mut params, &format!("{prefix}conv1"), &mut x, c_out, kernel);
        x = x.windows(POOL);
        Group {
            conv1,
            bn1: BatchNorm::new(&mut params, &format!("{prefix}bn1"), c_out, true),
            second: ConvNorm::numbered(&mut params, (&prefix, 2), &mut x, c_out, kernel, true),
        }
    });
    let fc = Linear::new(&mut params, "fc", &mut x.pooled_globally(), task.classes);
    Ok(layered(ModelSpec { width: Some(width), ..spec.clone() }, params, SpeedNet { stem, groups, fc }))
}

impl Layers for SpeedNet {
    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let mut x = self.stem.forward(&channels_last(x, pass)?, pass)?;
        for Group { conv1, bn1, second } in &self.groups {
            // Pooling before the normalisation leaves a quarter of the values to normalise.
            x = max_pool2d(&conv1.forward(&x, pass)?, POOL, pass)?;
            x = second.forward(&bn1.forward(&x, pass)?, pass)?;
        }
        self.fc.forward(&global_max_pool(&x, pass)?, pass)
    }
}
