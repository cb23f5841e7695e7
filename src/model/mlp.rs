//! `mlp`: flatten, then fully connected layers with ReLU between them (`fc1`, `fc2`, ...). `edge-mlp` is the one of Long
//! and Bartlett (2024), section 4: three hidden layers of 1000 units, Glorot normal weights, no initial bias.

use std::sync::Arc;

use candle_nn::Init;

use super::{Built, Model, ModelSpec, Task};
use crate::flops::linear_macs;
use crate::nn::{Linear, Node, ParamLayout, ParamsBuilder, Pass, default_init, flatten, relu};

struct Mlp {
    spec: ModelSpec,
    layout: Arc<ParamLayout>,
    layers: Vec<Linear>,
    macs: u64,
}

/// Weight and bias of a layer from its widths.
type InitOf = fn(usize, usize) -> [Init; 2];

/// Variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010).
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
    let spec = ModelSpec { hidden: Some(hidden.clone()), ..spec.clone() };
    let mut widths = vec![task.image(&spec)?.iter().product()];
    widths.extend(hidden);
    widths.push(task.classes);
    let names: Vec<String> = (1..widths.len()).map(|i| format!("fc{i}")).collect();
    let mut params = ParamsBuilder::default();
    for (name, pair) in names.iter().zip(widths.windows(2)) {
        Linear::declare_init(&mut params, name, pair[0], pair[1], init(pair[0], pair[1]));
    }
    let layout = Arc::new(params.build());
    let layers = names.iter().map(|name| Linear::new(&layout, name)).collect();
    let macs = widths.windows(2).map(|pair| linear_macs(pair[0], pair[1])).sum();
    Ok(Box::new(Mlp { spec, layout, layers, macs }))
}

impl Model for Mlp {
    fn spec(&self) -> ModelSpec {
        self.spec.clone()
    }

    fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

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

    fn forward_macs(&self) -> u64 {
        self.macs
    }
}
