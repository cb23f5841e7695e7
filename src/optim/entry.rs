//! What the program knows of an optimizer, and of the keys that a suite may give it.

use super::method::Method;
use super::spec::AscentSpec;
use super::value::{Kind, TrainingShape};
use crate::flops::StepCost;
use crate::mask::{MaskScore, RefreshName};
use crate::nn::ParamLayout;

/// Makes a method from its settings, for a model with these parameters; `Err` where a setting is missing.
pub type Build = fn(&AscentSpec, &ParamLayout) -> Result<Box<dyn Method>, String>;
/// Checks what single keys cannot tell; `Err` names what is wrong and the remedy.
pub type Check = fn(&AscentSpec, TrainingShape) -> Result<(), String>;
/// The cost of a step; `Err` where a setting is missing.
pub type Cost = fn(&AscentSpec) -> Result<StepCost, String>;

/// Everything the program knows of an optimizer: what a suite may say about it, what it costs, and how it is built.
#[derive(Clone, Copy)]
pub struct OptimizerEntry {
    /// The name that suites use.
    pub name: &'static str,
    /// One line for people, with the paper.
    pub about: &'static str,
    /// Which of the keys `rho`, `rho_decay` and `batch_norm` it reads.
    pub reads: &'static [&'static str],
    /// How a cell holds its settings.
    pub form: Form,
    /// The keys of its own.
    pub keys: &'static [Key],
    /// The masks it can have.
    pub masks: Option<Masks>,
    /// The checks of its settings together.
    pub check: Check,
    /// The cost of a step.
    pub cost: Cost,
    /// The method itself.
    pub build: Build,
}

/// How a cell holds an optimizer's settings. Ids are hashes of cells, so the first methods keep their forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As a base step alone: SGD.
    BaseStep,
    /// As an ascent step: SAM and sparse SAM.
    Ascent,
    /// As an ascent step with the method's name and the settings of its own: every other method.
    Variant,
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
    pub default: KeyDefault,
}

/// What holds where a suite does not give a key.
#[derive(Clone, Copy)]
pub enum KeyDefault {
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

impl OptimizerEntry {
    /// Keys of a method with two gradients a step.
    pub const ASCENT: &'static [&'static str] = &["rho", "rho_decay", "batch_norm"];

    /// An entry that reads [`OptimizerEntry::ASCENT`], takes two full gradients a step and has no keys of its own; a starting point
    /// for others.
    pub const fn new(name: &'static str, about: &'static str, build: Build) -> Self {
        let (check, cost): (Check, Cost) = (|_, _| Ok(()), |_| Ok(StepCost::TWO));
        Self { name, about, reads: Self::ASCENT, form: Form::Variant, keys: &[], masks: None, check, cost, build }
    }
}
