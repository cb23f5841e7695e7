//! Environment shared by trainings.

use crate::compute::Compute;
use crate::registry::Registry;

/// Compute device of trainings, and what their cells may name.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// Compute device.
    pub compute: &'a Compute,
    /// Optimizers and models that cells may name.
    pub registry: &'a Registry,
}
