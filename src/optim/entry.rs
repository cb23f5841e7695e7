//! Registry entries of optimizers, and the keys a suite may set for them.

use super::base_step::BaseName;
use super::method::Method;
use super::spec::AscentSpec;
use super::value::{Kind, TrainingShape};
use crate::flops::StepCost;
use crate::mask::{MaskScore, RefreshName};
use crate::nn::ParamLayout;

/// Builds a method from its settings, for a model with these parameters; `Err` if a setting is
/// missing.
pub type Build = fn(&AscentSpec, &ParamLayout) -> Result<Box<dyn Method>, String>;
/// Checks settings that depend on one another; `Err` names the mistake and the remedy.
pub type Check = fn(&AscentSpec, TrainingShape<'_>) -> Result<(), String>;
/// Computes the cost of a step, for a model with these parameters; `Err` if a setting is missing.
pub type Cost = fn(&AscentSpec, &ParamLayout) -> Result<StepCost, String>;

/// Registry entry of an optimizer: the keys it accepts, its cost, and how it is built.
#[derive(Clone, Copy)]
pub struct OptimizerEntry {
    /// Name used in suites.
    pub name: &'static str,
    /// One-line description, with the paper.
    pub about: &'static str,
    /// Which of the keys `rho`, `rho_decay` and `batch_norm` it reads.
    pub reads: &'static [&'static str],
    /// Form of its settings in a cell.
    pub form: Form,
    /// The optimizer's own keys.
    pub keys: &'static [Key],
    /// Masks it supports.
    pub masks: Option<Masks>,
    /// Check of its settings as a whole.
    pub check: Check,
    /// Cost of a step.
    pub cost: Cost,
    /// Builds the method.
    pub build: Build,
}

/// Form of an optimizer's settings in a cell. Ids are hashes of cells, so the first methods keep
/// their forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Only a base step: SGD, AdamW.
    BaseStep(BaseName),
    /// An ascent step: SAM and sparse SAM.
    Ascent,
    /// An ascent step with the method's name and own settings: every other method.
    Variant,
}

/// An optimizer's own key in a suite.
#[derive(Clone, Copy)]
pub struct Key {
    /// Name of the key.
    pub name: &'static str,
    /// One-line description.
    pub about: &'static str,
    /// Values it accepts.
    pub kind: Kind,
    /// Default value.
    pub default: KeyDefault,
}

/// Default of a key that a suite leaves out.
#[derive(Clone, Copy)]
pub enum KeyDefault {
    /// No default: a suite must set the key. Holds an example for the error message.
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

/// Masks an optimizer supports; the first of each list is the default.
#[derive(Clone, Copy)]
pub struct Masks {
    /// Scores that select the live weights.
    pub scores: &'static [MaskScore],
    /// Refresh schedules of the mask.
    pub refreshes: &'static [RefreshName],
}

impl OptimizerEntry {
    /// Keys of a method with two gradients per step.
    pub const ASCENT: &'static [&'static str] = &["rho", "rho_decay", "batch_norm"];

    /// Entry that reads [`OptimizerEntry::ASCENT`], takes two full gradients per step and has no
    /// keys of its own; a starting point for others.
    pub const fn new(name: &'static str, about: &'static str, build: Build) -> Self {
        let (check, cost): (Check, Cost) = (|_, _| Ok(()), |_, _| Ok(StepCost::TWO));
        Self { name, about, reads: Self::ASCENT, form: Form::Variant, keys: &[], masks: None, check, cost, build }
    }
}
