//! Parity cases: training steps of a reference implementation, replayed and compared.
//!
//! The format is described in docs/parity.md; `tests/parity/make_cases.py` makes cases with PyTorch.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use nalgebra::DVector;
use safetensors::SafeTensors;
use serde::Deserialize;

use crate::bounded;
use crate::compute::Compute;
use crate::data::Input;
use crate::data::loader::Batch;
use crate::data::text::VOCABULARY;
use crate::error::{Error, Result};
use crate::mask::{Mask, Pattern, fisher_keep};
use crate::model::{ModelSpec, Task};
use crate::nn::{ParamLayout, assemble};
use crate::optim::{ActiveMask, Context, OptimizerSpec, TrainingShape, Value};
use crate::random::{Stream, stream};
use crate::registry::Registry;
use crate::sharpness::{First, Hessian, Lanczos, Operator};
use crate::suite::{GridEntry, one_optimizer};
use crate::train::{BatchProblem, Optimizer, Problem, Trainer};

/// Value of the `format` entry.
const FORMAT: &str = "sharpbench-parity-1";
/// Maximum bytes of a case.
const LONGEST: u64 = 1 << 30;
/// Classes of images.
const CLASSES: usize = 10;
/// Relative residual at which an eigenvalue is compared, and the maximum number of products to
/// reach it.
const RESIDUAL: f64 = 1e-4;
const PRODUCTS: usize = 1000;
/// Number of training samples for the checks of a grid entry; a case does not specify it.
const TRAIN: usize = 128;

/// Result of a case.
#[derive(Debug)]
pub struct ParityComparison {
    /// Program that made the case.
    pub generator: String,
    /// Maximum relative error.
    pub tolerance: f64,
    /// Number of steps replayed.
    pub steps: usize,
    /// Error by tensor: max |found - expected| / max |expected|.
    pub errors: BTreeMap<String, f64>,
}

impl ParityComparison {
    /// Tensor with the largest error.
    pub fn worst(&self) -> Option<(&str, f64)> {
        self.errors.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|(name, error)| (name.as_str(), *error))
    }

    /// Whether every error is within the tolerance (NaN is not).
    pub fn passes(&self) -> bool {
        self.errors.values().all(|e| *e <= self.tolerance)
    }
}

/// Contents of a case.
struct Case<'p> {
    path: &'p Path,
    metadata: HashMap<String, String>,
    tensors: HashMap<String, Tensor>,
}

/// Replays a case.
///
/// # Errors
/// When the file is not a parity case, or its tensors do not fit its model.
pub fn replay(path: &Path, compute: &Compute, registry: &Registry) -> Result<ParityComparison> {
    let case = Case::read(path)?;
    let spec: ModelSpec = case.json("model")?;
    let lrs: Vec<f64> = case.json("lr")?;
    let input = case.input("input.0")?;
    let classes = if matches!(input, Input::Image(_)) { CLASSES } else { VOCABULARY };
    let task = Task { input, classes };
    let model = registry.model(&spec, task).map_err(|e| case.error(e))?;

    let layout = model.layout();
    let (optimizer, pattern) = case.optimizer((case.tensor("input.0")?.dims()[0], layout), registry)?;
    let mut errors = BTreeMap::new();
    let ascent = optimizer.ascent.as_ref();
    let mask = match ascent.and_then(|a| a.mask.as_ref()) {
        None => None,
        Some(spec) => {
            let mask = Mask::from_flags(case.flat("mask", layout)?.into_iter().map(|v| v != 0.0).collect());
            if let Some(pattern) = pattern {
                let scores = case.flat("score", layout)?;
                let sparsity = spec.amount.sparsity();
                let keep =
                    sparsity.ok_or_else(|| case.error("a case has masks of a sparsity, not of a budget".into()))?;
                let keep = fisher_keep(layout.len(), keep);
                let chosen = pattern.choose(layout, keep, Some(&scores), &mut stream(0, Stream::InitialMask));
                let wrong = chosen.flags().iter().zip(mask.flags()).filter(|(a, b)| a != b).count();
                errors.insert("mask".into(), wrong as f64);
            }
            Some(mask)
        }
    };
    let plan = ascent.zip(mask.as_ref()).and_then(|(ascent, mask)| ascent.norm.plan(layout, mask));
    let (weights, running) =
        assemble(layout, |name| case.values(&format!("init.{name}"))).map_err(|e| case.error(e.to_string()))?;
    let objective = case.optional("objective")?.unwrap_or_default();
    let problem = Problem { objective, device: compute.device(), ..(&*model).into() };
    if case.tensors.contains_key("eigenvalue") {
        errors.append(&mut case.curvature(problem, &weights, task)?);
    }
    let optimizer = Optimizer::new(&optimizer, layout, registry).map_err(|e| case.error(e))?;
    let mut trainer = Trainer::new(problem, optimizer, weights, running);
    for (k, lr) in lrs.iter().enumerate() {
        let batch = case.batch(k, task)?;
        let mask = mask.as_ref().map(|mask| ActiveMask { mask, plan: plan.as_ref() });
        let loss = trainer.step(&batch, *lr, &mut Context { mask, ..Context::new(k, lrs.len()) })?;
        let name = format!("loss.{k}");
        let expected = case.values(&name)?;
        errors.insert(name, relative_error(&[loss as f32], &expected));
    }
    for spec in model.layout().specs() {
        let expected = case.values(&format!("expected.{}", spec.name))?;
        errors.insert(spec.name.clone(), relative_error(&trainer.weights()[spec.range()], &expected));
    }
    for (name, values) in trainer.running().named() {
        let expected = case.values(&format!("expected.{name}"))?;
        errors.insert(name, relative_error(values, &expected));
    }
    let tolerance = case.json("tolerance")?;
    let generator = case.text("generator")?.to_string();
    Ok(ParityComparison { generator, tolerance, steps: lrs.len(), errors })
}

fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    if found.len() != expected.len() {
        return f64::NAN;
    }
    let scale = expected.iter().fold(0f64, |m, e| m.max(f64::from(e.abs()))).max(f64::from(f32::MIN_POSITIVE));
    let errors = found.iter().zip(expected).map(|(f, e)| (f64::from(*f) - f64::from(*e)).abs());
    // NaN must win, but f64::max ignores it.
    errors.fold(0f64, |m, e| if e.is_nan() || m.is_nan() { f64::NAN } else { m.max(e) }) / scale
}

impl<'p> Case<'p> {
    fn read(path: &'p Path) -> Result<Self> {
        let bytes = bounded::read(path, LONGEST).map_err(Error::io("read", path))?;
        let damaged = |e: &dyn std::fmt::Display| Error::Parity {
            path: path.into(),
            message: format!("not a safetensors file ({e})"),
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(&e))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|e| damaged(&e))?;
        let case = Self { path, metadata, tensors };
        match case.text("format")? {
            FORMAT => Ok(case),
            other => Err(case.error(format!("its format is {other}, this program reads {FORMAT}"))),
        }
    }

    fn error(&self, message: String) -> Error {
        Error::Parity { path: self.path.into(), message }
    }

    fn text(&self, key: &str) -> Result<&str> {
        let value = self.metadata.get(key).map(String::as_str);
        value.ok_or_else(|| self.error(format!("its metadata lack \"{key}\"")))
    }

    fn json<T: for<'de> Deserialize<'de>>(&self, key: &str) -> Result<T> {
        serde_json::from_str(self.text(key)?).map_err(|e| self.error(format!("its metadata \"{key}\" are wrong: {e}")))
    }

    fn optional<T: for<'de> Deserialize<'de>>(&self, key: &str) -> Result<Option<T>> {
        if self.metadata.contains_key(key) { self.json(key).map(Some) } else { Ok(None) }
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| self.error(format!("it lacks the tensor {name}")))
    }

    fn values(&self, name: &str) -> Result<Vec<f32>> {
        Ok(self.tensor(name)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    }

    /// Tensors `kind.NAME` of all parameters, flat in name order.
    fn flat(&self, kind: &str, layout: &ParamLayout) -> Result<Vec<f32>> {
        let mut flat = Vec::with_capacity(layout.len());
        for spec in layout.specs() {
            let name = format!("{kind}.{}", spec.name);
            let values = self.values(&name)?;
            if values.len() != spec.len() {
                return Err(self.error(format!(
                    "its tensor {name} has {} values, the model wants {}",
                    values.len(),
                    spec.len()
                )));
            }
            flat.extend(values);
        }
        Ok(flat)
    }

    /// Type and shape of a batch's samples: images [batch, channels, height, width] or characters
    /// [batch, length].
    fn input(&self, name: &str) -> Result<Input> {
        match *self.tensor(name)?.dims() {
            [batch, channels, height, width] if batch * channels * height * width > 0 => {
                Ok(Input::Image([channels, height, width]))
            }
            [batch, length] if batch * length > 0 => Ok(Input::Tokens { length, vocabulary: VOCABULARY }),
            ref other => Err(self.error(format!(
                "its tensor {name} has shape {other:?}, expected [batch, channels, height, width] or [batch, length]"
            ))),
        }
    }

    fn batch(&self, k: usize, task: Task) -> Result<Batch> {
        let (name, target) = (format!("input.{k}"), format!("target.{k}"));
        let found = self.input(&name)?;
        if found != task.input {
            return Err(self.error(format!("its tensor {name} holds {found:?}, input.0 {:?}", task.input)));
        }
        let (dtype, labelled) = match found {
            Input::Image(_) => (DType::F32, 1),
            Input::Tokens { length, .. } => (DType::U32, length),
        };
        let input = self.tensor(&name)?.to_dtype(dtype)?.contiguous()?;
        let labels: Vec<u32> = self.tensor(&target)?.to_dtype(DType::U32)?.flatten_all()?.to_vec1()?;
        if labels.len() != labelled * input.dims()[0] || labels.iter().any(|l| *l as usize >= task.classes) {
            return Err(self.error(format!(
                "its tensor {target} is not one class in 0..{} for each image or character",
                task.classes
            )));
        }
        Ok(Batch { input, labels, dropout: None })
    }

    /// Errors of the Hessian of the first batch's loss at `weights`, in f64: of its product with a
    /// direction, and of its eigenvalue of largest magnitude.
    fn curvature(&self, problem: Problem<'_>, weights: &[f32], task: Task) -> Result<BTreeMap<String, f64>> {
        let layout = problem.model.layout();
        let batch = self.batch(0, task)?;
        let mut loss = BatchProblem { problem, batch: &batch };
        let weights: Vec<f64> = weights.iter().map(|w| f64::from(*w)).collect();
        let mut hessian = Hessian::new(&mut loss, weights.as_slice());
        let direction = self.flat("direction", layout)?;
        let direction = DVector::from_iterator(direction.len(), direction.iter().map(|v| f64::from(*v)));
        let found: Vec<f32> = hessian.apply(&direction)?.iter().map(|v| *v as f32).collect();
        let mut errors = BTreeMap::new();
        for spec in layout.specs() {
            let name = format!("product.{}", spec.name);
            let error = relative_error(&found[spec.range()], &self.values(&name)?);
            errors.insert(name, error);
        }
        let found = Lanczos::top(First::Magnitude, RESIDUAL, PRODUCTS).run(&mut hessian, direction)?;
        let top: Vec<f32> = found.pairs.iter().map(|pair| pair.value as f32).collect();
        errors.insert("eigenvalue".into(), relative_error(&top, &self.values("eigenvalue")?));
        Ok(errors)
    }

    /// Optimizer, given as a suite's grid entry, and the pattern of its mask if it is compared too.
    fn optimizer(
        &self,
        (samples, layout): (usize, &ParamLayout),
        registry: &Registry,
    ) -> Result<(OptimizerSpec, Option<Pattern>)> {
        let mut grid: GridEntry = self.json("optimizer")?;
        let shape = TrainingShape { epochs: 1, batch_size: samples, last_batch: samples, train: TRAIN, layout };
        let named = grid.get("pattern").is_some();
        let is_sparse = grid.get("optimizer").is_some_and(|given| given.values(false) == [Value::Word("ssam".into())]);
        if is_sparse && !named {
            // The mask is given, so its live count does not matter.
            grid.set("sparsity", 0.5.into());
        }
        let optimizer = one_optimizer(&grid, shape, registry).map_err(|e| self.error(e))?;
        let pattern = optimizer.ascent.as_ref().and_then(|ascent| ascent.mask.as_ref()).map(|mask| mask.pattern);
        Ok((optimizer, pattern.filter(|_| named)))
    }
}
