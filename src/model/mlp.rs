//! `mlp`: flattens its input, then applies fully connected layers with ReLU between them (`fc1`,
//! `fc2`, ...). `edge-mlp` is the MLP of Long and Bartlett (2024), section 4: three hidden layers
//! of 1000 units, Glorot normal weights, zero biases.

use candle_nn::Init;

use super::layered::{Layers, layered};
use super::{Built, ModelSpec, Task};
use crate::nn::{Linear, Node, ParamsBuilder, Pass, default_init, flatten, relu};

struct Mlp {
    layers: Vec<Linear>,
}

/// Initial weight and bias of a layer from its widths.
type InitOf = fn(usize, usize) -> [Init; 2];

/// Normal distribution of variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010).
pub(super) fn glorot_normal(fan_in: usize, fan_out: usize) -> Init {
    Init::Randn { mean: 0.0, stdev: (2.0 / (fan_in + fan_out) as f64).sqrt() }
}

pub(super) fn build(spec: &ModelSpec, task: Task) -> Built {
    with_init(spec, task, &[256, 128], |d_in, _| [default_init(d_in); 2])
}

pub(super) fn build_edge(spec: &ModelSpec, task: Task) -> Built {
    with_init(spec, task, &[1000, 1000, 1000], |d_in, d_out| [glorot_normal(d_in, d_out), Init::Const(0.0)])
}

fn with_init(spec: &ModelSpec, task: Task, hidden: &[usize], init: InitOf) -> Built {
    let hidden = spec.hidden(hidden)?;
    let mut x = task.image(spec)?.flattened();
    let mut params = ParamsBuilder::default();
    let layer = |(i, units): (usize, &usize)| {
        let init = init(x.channels, *units);
        Linear::with_init(&mut params, &format!("fc{}", i + 1), &mut x, *units, init)
    };
    let layers = hidden.iter().chain([&task.classes]).enumerate().map(layer).collect();
    Ok(layered(ModelSpec { hidden: Some(hidden), ..spec.clone() }, params, Mlp { layers }))
}

impl Layers for Mlp {
    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let mut x = flatten(x, pass)?;
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, pass)?;
            if i + 1 < self.layers.len() {
                x = relu(&x, pass)?;
            }
        }
        Ok(x)
    }
}
