//! `quadratic`: the loss `w'Hw/2` with a diagonal H, for which the edges of stability have closed
//! forms (docs/edge.md). It ignores its input. With `objective = "squared-error"`, class c > 0 of C
//! has the logit `sqrt(h C / 2) w`, so that its part of the loss is `h w^2 / 2`. Class 0, the class
//! of the sample, has the logit 0, and its weight has no curvature.

use candle_nn::Init;

use super::layered::{Layers, layered};
use super::{Built, ModelSpec, Task};
use crate::nn::{Node, ParamId, ParamsBuilder, Pass, diagonal};

struct Quadratic {
    weight: ParamId,
    factors: Vec<f64>,
}

pub(super) fn build(spec: &ModelSpec, task: Task) -> Built {
    task.image(spec)?;
    let curvatures = spec.curvatures.clone().unwrap_or_else(|| vec![10.0, 4.0, 1.0]);
    if let Some(wrong) = curvatures.iter().find(|h| !(h.is_finite() && **h >= 0.0)) {
        return Err(format!("model.curvatures has {wrong}; use numbers of 0 or more"));
    }
    let classes = curvatures.len() + 1;
    if task.classes != classes {
        return Err(format!(
            "model quadratic requires one class more than curvatures ({classes}), the data have {}; give {} curvatures, or set data.classes",
            task.classes,
            task.classes - 1
        ));
    }
    let factors = curvatures.iter().map(|h| (h * classes as f64 / 2.0).sqrt());
    let factors = std::iter::once(0.0).chain(factors).collect();
    let mut params = ParamsBuilder::default();
    let weight = params.param("weight", &[classes], Init::Const(1.0));
    params.count_macs(classes as u64);
    let spec = ModelSpec { curvatures: Some(curvatures), ..spec.clone() };
    Ok(layered(spec, params, Quadratic { weight, factors }))
}

impl Layers for Quadratic {
    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        diagonal(self.weight, &self.factors, x.dims()[0], pass)
    }
}
