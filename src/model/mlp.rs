//! `mlp`: flatten, then fully connected layers with ReLU between them (`fc1`, `fc2`, ...).

use std::sync::Arc;

use super::{Model, ModelSpec, Task};
use crate::flops::linear_macs;
use crate::nn::{Linear, Node, ParamLayout, ParamsBuilder, Pass, flatten, relu};

struct Mlp {
    spec: ModelSpec,
    layout: Arc<ParamLayout>,
    layers: Vec<Linear>,
    macs: u64,
}

pub(super) fn build(spec: &ModelSpec, task: Task) -> Result<Box<dyn Model>, String> {
    if spec.width.is_some() {
        return Err("model.width does not apply to mlp; use model.hidden = [units, ...]".into());
    }
    let hidden = spec.hidden.clone().unwrap_or_else(|| vec![256, 128]);
    if let Some(units) = hidden.iter().find(|units| !(1..=65_536).contains(*units)) {
        return Err(format!("model.hidden has a layer of {units} units; use from 1 to 65536"));
    }
    if hidden.len() > 9 {
        return Err(format!("model.hidden has {} layers; use at most 9", hidden.len()));
    }
    let spec = ModelSpec { hidden: Some(hidden.clone()), ..spec.clone() };
    let mut widths = vec![task.input.iter().product()];
    widths.extend(hidden);
    widths.push(task.classes);
    let names: Vec<String> = (1..widths.len()).map(|i| format!("fc{i}")).collect();
    let mut params = ParamsBuilder::default();
    for (name, pair) in names.iter().zip(widths.windows(2)) {
        Linear::declare(&mut params, name, pair[0], pair[1]);
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
