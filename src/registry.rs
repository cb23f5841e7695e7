//! What suites can name, beside data sets: optimizers and models. Programs that use this library add their own.

use crate::flops::StepCost;
use crate::model::{self, Built, MODELS, ModelEntry, ModelSpec, Task};
use crate::nn::ParamLayout;
use crate::optim::{OPTIMIZERS, OptimizerEntry, OptimizerSpec};
use crate::word::is_plain;

/// Optimizers and models that suites can name, in the order of `list`.
#[derive(Clone)]
pub struct Registry {
    optimizers: Vec<OptimizerEntry>,
    models: Vec<ModelEntry>,
}

impl Registry {
    /// Those of this library.
    pub fn standard() -> Self {
        Self { optimizers: OPTIMIZERS.to_vec(), models: MODELS.to_vec() }
    }

    /// Adds an optimizer, replacing one of the same name.
    ///
    /// # Panics
    /// When the name contains anything but letters, digits, - and _, since it becomes part of file
    /// names.
    #[must_use]
    pub fn with_optimizer(mut self, entry: OptimizerEntry) -> Self {
        assert!(is_plain(entry.name), "the optimizer name {:?} must consist of letters, digits, - and _", entry.name);
        self.optimizers.retain(|other| other.name != entry.name);
        self.optimizers.push(entry);
        self
    }

    /// Adds a model, replacing one of the same name.
    ///
    /// # Panics
    /// When the name contains anything but letters, digits, - and _.
    #[must_use]
    pub fn with_model(mut self, entry: ModelEntry) -> Self {
        assert!(is_plain(entry.name), "the model name {:?} must consist of letters, digits, - and _", entry.name);
        self.models.retain(|other| other.name != entry.name);
        self.models.push(entry);
        self
    }

    /// All optimizers.
    pub fn optimizers(&self) -> &[OptimizerEntry] {
        &self.optimizers
    }

    /// All models.
    pub fn models(&self) -> &[ModelEntry] {
        &self.models
    }

    /// Looks up an optimizer by name.
    ///
    /// # Errors
    /// Lists the known names.
    pub fn optimizer(&self, name: &str) -> Result<&OptimizerEntry, String> {
        self.optimizers.iter().find(|entry| entry.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.optimizers.iter().map(|entry| entry.name).collect();
            format!("there is no optimizer {name}; use one of {}", names.join(", "))
        })
    }

    /// Builds the model that a suite names.
    ///
    /// # Errors
    /// Describes what is wrong with the specification, and the remedy.
    pub fn model(&self, spec: &ModelSpec, task: Task) -> Built {
        model::build_one_of(&self.models, spec, task)
    }

    /// Cost of a step of an optimizer, for a model with these parameters.
    ///
    /// # Errors
    /// When the optimizer is unknown or lacks a setting.
    pub fn step_cost(&self, spec: &OptimizerSpec, layout: &ParamLayout) -> Result<StepCost, String> {
        let entry = self.optimizer(&spec.name)?;
        spec.ascent.as_ref().map_or(Ok(StepCost::ONE), |ascent| (entry.cost)(ascent, layout))
    }
}
