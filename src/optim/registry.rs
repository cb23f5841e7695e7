//! The optimizers that suites can name. One is a file with an [`OptimizerEntry`] and a line of [`Registry::standard`]; a
//! program of its own adds others by [`Registry::with`].

use super::method::Method;
use super::spec::{AscentSpec, OptimizerSpec};
use super::value::{Kind, TrainingShape, Value};
use crate::flops::StepCost;
use crate::mask::{MaskScore, RefreshName};
use crate::nn::ParamLayout;

/// Everything the program knows of an optimizer: what a suite may say about it, what it costs, and how it is built.
#[derive(Clone, Copy)]
pub struct OptimizerEntry {
    /// The name that suites use.
    pub name: &'static str,
    /// One line for people, with the paper.
    pub about: &'static str,
    /// Which of the keys `rho`, `rho_decay` and `batch_norm` it reads.
    pub reads: &'static [&'static str],
    /// The keys of its own.
    pub keys: &'static [Key],
    /// The masks it can have.
    pub masks: Option<Masks>,
    /// Checks what single keys cannot tell: names what is wrong and the remedy.
    pub check: fn(&AscentSpec, TrainingShape) -> Result<(), String>,
    /// The cost of a step.
    pub cost: fn(&AscentSpec) -> Result<StepCost, String>,
    /// The method, for a model with these parameters.
    pub build: fn(&AscentSpec, &ParamLayout) -> Result<Box<dyn Method>, String>,
}

/// A key of an optimizer's own in a suite.
#[derive(Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// The values it allows.
    pub kind: Kind,
    /// Its value where a suite gives none.
    pub default: Default,
}

/// What holds where a suite does not give a key.
#[derive(Clone, Copy)]
pub enum Default {
    /// A suite must give it; an example for the error.
    Required(&'static str),
    /// A number.
    Number(f64),
    /// A count.
    Count(u64),
    /// `true` or `false`.
    Flag(bool),
    /// Two numbers.
    Pair([f64; 2]),
    /// A word.
    Word(&'static str),
}

/// The masks that an optimizer can have; the first of each list is the default.
#[derive(Clone, Copy)]
pub struct Masks {
    /// Scores by which weights stay live.
    pub scores: &'static [MaskScore],
    /// When the mask changes.
    pub refreshes: &'static [RefreshName],
}

/// The optimizers that suites can name, in the order of `list`.
#[derive(Clone)]
pub struct Registry(Vec<OptimizerEntry>);

impl OptimizerEntry {
    /// Keys of a method with two gradients a step.
    pub const ASCENT: &'static [&'static str] = &["rho", "rho_decay", "batch_norm"];

    /// An entry that reads [`OptimizerEntry::ASCENT`], takes two full gradients a step and has no keys of its own; a starting point
    /// for others.
    pub const fn new(
        name: &'static str,
        about: &'static str,
        build: fn(&AscentSpec, &ParamLayout) -> Result<Box<dyn Method>, String>,
    ) -> Self {
        let (check, cost): (fn(&AscentSpec, TrainingShape) -> _, fn(&AscentSpec) -> _) =
            (|_, _| Ok(()), |_| Ok(StepCost::TWO));
        Self { name, about, reads: Self::ASCENT, keys: &[], masks: None, check, cost, build }
    }

    /// Whether its settings are stored as a variant's: SAM and sparse SAM were stored before there were any.
    pub(crate) fn is_variant(&self) -> bool {
        self.masks.is_none() && self.name != "sam"
    }

    /// Whether it is the base step alone, which has no settings beyond it.
    pub(crate) fn is_base_step(&self) -> bool {
        self.name == "sgd"
    }
}

impl Default {
    /// The value, if there is one.
    pub(crate) fn value(self) -> Result<Value, &'static str> {
        Ok(match self {
            Self::Required(example) => return Err(example),
            Self::Number(n) => Value::Number(n),
            Self::Count(n) => Value::Count(n),
            Self::Flag(flag) => Value::Flag(flag),
            Self::Pair(pair) => Value::Numbers(pair.to_vec()),
            Self::Word(word) => Value::Word(word.into()),
        })
    }
}

impl Registry {
    /// The optimizers that come with the program.
    pub fn standard() -> Self {
        Self(vec![
            super::sgd::ENTRY,
            super::sam::ENTRY,
            super::ssam::SSAM_F,
            super::ssam::SSAM_D,
            super::ssam::SSAM,
            super::asam::ENTRY,
            super::gsam::ENTRY,
            super::looksam::ENTRY,
            super::esam::ENTRY,
            super::ae_sam::ENTRY,
            super::f_sam::ENTRY,
            super::sam_on::ENTRY,
            super::m_sam::ENTRY,
        ])
    }

    /// These optimizers and another, which replaces one of the same name.
    #[must_use]
    pub fn with(mut self, entry: OptimizerEntry) -> Self {
        self.0.retain(|other| other.name != entry.name);
        self.0.push(entry);
        self
    }

    /// All of them.
    pub fn entries(&self) -> &[OptimizerEntry] {
        &self.0
    }

    /// The optimizer of a name.
    ///
    /// # Errors
    /// Names those there are.
    pub fn find(&self, name: &str) -> Result<&OptimizerEntry, String> {
        self.0.iter().find(|entry| entry.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.0.iter().map(|entry| entry.name).collect();
            format!("there is no optimizer {name}; use one of {}", names.join(", "))
        })
    }

    /// The cost of a step of an optimizer.
    ///
    /// # Errors
    /// When the optimizer is not known, or lacks a setting.
    pub fn step_cost(&self, spec: &OptimizerSpec) -> Result<StepCost, String> {
        let entry = self.find(&spec.name)?;
        spec.ascent.as_ref().map_or(Ok(StepCost::ONE), |ascent| (entry.cost)(ascent))
    }
}
