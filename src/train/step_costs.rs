//! What a step costs by the tensors that its ascent step perturbs, as the kernels count it.

use candle_core::{DType, Device, Tensor};

use crate::data::Input;
use crate::data::loader::Batch;
use crate::error::Result;
use crate::mask::{Mask, StepCosts, TensorCost};
use crate::nn::{BackwardPlan, BatchNormMode, FlopCount, ParamSpec, RunningStats};
use crate::optim::{ActiveMask, Context, Iterate, Method, Norm, Perturbation, Sam};
use crate::random::{Stream, stream};

use super::landscape::{BatchLandscape, Problem};

/// Samples of a step. With two of them, BatchNorm has two values per channel also where an image has shrunk to a pixel.
const SAMPLES: usize = 2;

/// Counts the FLOPs of steps of sparse SAM on a few samples, on the CPU. Every tensor is perturbed alone, and together with the
/// model's first.
///
/// # Errors
/// When a tensor operation fails.
pub fn step_costs(problem: Problem<'_>, input: Input) -> Result<StepCosts> {
    let layout = problem.model.layout();
    let mut counter = Counter::new(problem, input)?;
    let plain = counter.count(&[])?;
    let Some(first) = layout.specs().iter().min_by_key(|spec| spec.id) else {
        return Ok(StepCosts { plain, tensors: Vec::new() });
    };
    let of_first = counter.count(&[first])?;
    let mut tensors = Vec::with_capacity(layout.specs().len());
    for spec in layout.specs() {
        let is_first = spec.id == first.id;
        let alone = if is_first { of_first } else { counter.count(&[spec])? };
        let gradient = if is_first { 0.0 } else { counter.count(&[spec, first])? - of_first };
        tensors.push(TensorCost { gradient, reach: alone - plain - gradient });
    }
    Ok(StepCosts { plain, tensors })
}

/// Counts the FLOPs of steps on the same samples.
struct Counter<'m> {
    problem: Problem<'m>,
    batch: Batch,
    weights: Vec<f32>,
    running: RunningStats,
}

impl<'m> Counter<'m> {
    /// Of samples and weights without content: what kernels execute does not depend on it.
    fn new(problem: Problem<'m>, input: Input) -> Result<Self> {
        let layout = problem.model.layout();
        let (input, labels) = match input {
            Input::Image([channels, height, width]) => {
                (Tensor::zeros((SAMPLES, channels, height, width), DType::F32, &Device::Cpu)?, SAMPLES)
            }
            Input::Tokens { length, .. } => {
                (Tensor::zeros((SAMPLES, length), DType::U32, &Device::Cpu)?, SAMPLES * length)
            }
        };
        let batch = Batch { input, labels: vec![0; labels], dropout: Some(stream(0, Stream::Dropout(0, 0))) };
        let problem = Problem { chunk: None, device: None, ..problem };
        Ok(Self { problem, batch, weights: vec![0.0; layout.len()], running: RunningStats::new(layout) })
    }

    /// FLOPs of a step that perturbs these tensors.
    fn count(&mut self, live: &[&ParamSpec]) -> Result<f64> {
        let layout = self.problem.model.layout();
        let mask = Mask::of_tensors(layout, |spec| live.iter().any(|live| live.id == spec.id));
        let plan = BackwardPlan::of_scalars(layout, mask.flags());
        let flops = FlopCount::default();
        let mut landscape = BatchLandscape {
            problem: self.problem,
            running: &mut self.running,
            batch: &self.batch,
            second: BatchNormMode::Freeze,
            prefix: None,
            seconds: [0.0; 2],
            flops: flops.clone(),
        };
        let mut context = Context { mask: Some(ActiveMask { mask: &mask, plan: Some(&plan) }), ..Context::new(0, 1) };
        let at = Iterate { weights: &self.weights, velocity: &[] };
        let mut method = Sam::sparse(0.0, Norm::Masked, Perturbation::Explicit);
        method.direction(at, &mut landscape, &mut context, &mut Vec::new())?;
        Ok(flops.total() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::text::{LENGTH, VOCABULARY};
    use crate::model::{self, ModelSpec, Task};
    use crate::random::unit;

    const TEXT: Input = Input::Tokens { length: LENGTH, vocabulary: VOCABULARY };
    const IMAGES: Input = Input::Image([3, 16, 16]);

    /// Oracle: the kernels' count of a step that perturbs several tensors, drawn at random. Branches that are side by side in a
    /// block make it larger by less than a hundredth of a step.
    #[test]
    fn costs_of_several_tensors_are_what_the_kernels_count() {
        let specs = [
            (serde_json::json!({"name": "mlp", "hidden": [12, 8]}), IMAGES),
            (serde_json::json!({"name": "resnet8", "width": 4}), IMAGES),
            (serde_json::json!({"name": "resnet18", "width": 4}), IMAGES),
            // Its last stage has images of one pixel.
            (serde_json::json!({"name": "resnet18", "width": 4}), Input::Image([3, 8, 8])),
            (serde_json::json!({"name": "vgg11-bn", "width": 2, "hidden": [8, 8]}), Input::Image([3, 32, 32])),
            (serde_json::json!({"name": "wideresnet", "depth": 10, "width": 1}), IMAGES),
            (serde_json::json!({"name": "speednet", "width": 4}), IMAGES),
            (serde_json::json!({"name": "vit", "width": 16, "depth": 2, "heads": 2}), IMAGES),
            (serde_json::json!({"name": "transformer", "width": 16, "depth": 2, "heads": 2}), TEXT),
        ];
        let rng = &mut stream(0, Stream::Mask(0));
        for (spec, input) in specs {
            let spec: ModelSpec = serde_json::from_value(spec).expect("a specification");
            let classes = if input == TEXT { VOCABULARY } else { 10 };
            let model = model::build(&spec, Task { input, classes }).expect("a model");
            let costs = step_costs((&*model).into(), input).expect("costs");
            let mut counter = Counter::new((&*model).into(), input).expect("samples");
            for share in [0.05, 0.1, 0.3, 0.7] {
                let live: Vec<usize> = (0..costs.tensors.len()).filter(|_| unit(rng) < share).collect();
                let specs: Vec<&ParamSpec> = live.iter().map(|place| &model.layout().specs()[*place]).collect();
                let counted = counter.count(&specs).expect("a count");
                let error = (costs.of(live.iter().copied()) - counted) / costs.plain;
                let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
                assert!((-0.01..1e-9).contains(&error), "{} {names:?}: {error}", spec.name);
            }
        }
    }
}
