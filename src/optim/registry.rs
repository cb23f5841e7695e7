//! Registry of the optimizers that suites can name. Each is a file with an [`OptimizerEntry`] and a
//! line in [`Registry::standard`]. Programs that use this library add others with
//! [`Registry::with`].

use super::entry::OptimizerEntry;
use super::spec::OptimizerSpec;
use crate::flops::StepCost;
use crate::nn::ParamLayout;
use crate::word::is_plain;

/// Optimizers that suites can name, in the order of `list`.
#[derive(Clone)]
pub struct Registry(Vec<OptimizerEntry>);

impl Registry {
    /// Built-in optimizers.
    pub fn standard() -> Self {
        Self(vec![
            super::plain::SGD,
            super::plain::ADAMW,
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
            super::fixed_mask::SAM_ON,
            super::fixed_mask::SAM_LAYERS,
            super::m_sam::ENTRY,
            super::momentum_sam::ENTRY,
            super::s2_sam::ENTRY,
            super::late_sam::ENTRY,
        ])
    }

    /// Adds an optimizer, replacing one of the same name.
    ///
    /// # Panics
    /// When the name contains anything but letters, digits, - and _, since it becomes part of file
    /// names.
    #[must_use]
    pub fn with(mut self, entry: OptimizerEntry) -> Self {
        assert!(is_plain(entry.name), "the optimizer name {:?} must consist of letters, digits, - and _", entry.name);
        self.0.retain(|other| other.name != entry.name);
        self.0.push(entry);
        self
    }

    /// All entries.
    pub fn entries(&self) -> &[OptimizerEntry] {
        &self.0
    }

    /// Looks up an optimizer by name.
    ///
    /// # Errors
    /// Lists the known names.
    pub fn find(&self, name: &str) -> Result<&OptimizerEntry, String> {
        self.0.iter().find(|entry| entry.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.0.iter().map(|entry| entry.name).collect();
            format!("there is no optimizer {name}; use one of {}", names.join(", "))
        })
    }

    /// Cost of a step of an optimizer, for a model with these parameters.
    ///
    /// # Errors
    /// When the optimizer is unknown or lacks a setting.
    pub fn step_cost(&self, spec: &OptimizerSpec, layout: &ParamLayout) -> Result<StepCost, String> {
        let entry = self.find(&spec.name)?;
        spec.ascent.as_ref().map_or(Ok(StepCost::ONE), |ascent| (entry.cost)(ascent, layout))
    }
}
