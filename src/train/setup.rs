//! What trainings share.

use crate::compute::Compute;
use crate::optim::Registry;

/// Where trainings compute, and the optimizers that their cells may name.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// Where they compute.
    pub compute: &'a Compute,
    /// The optimizers that cells may name.
    pub registry: &'a Registry,
}
