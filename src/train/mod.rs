//! Training of one cell: step, epoch, evaluation, and measurements.

mod checkpoint;
mod curvature;
mod edge;
mod evaluate;
#[cfg(test)]
mod exact_hessian;
mod fisher;
mod gradient_norm;
mod keeper;
mod landscape;
mod masks;
mod memory;
mod observer;
mod reference;
mod session;
mod setup;
mod sharpness;
mod slot;
mod state;
mod step;
mod step_costs;
mod trained;

pub use checkpoint::{Checkpoint, identity};
pub use fisher::fisher_scores;
pub use keeper::{KeepNothing, Keeper};
pub use landscape::{BatchProblem, Network, Problem};
pub use memory::{peak_bytes as peak_memory_bytes, resident_bytes};
pub use observer::Observer;
pub use reference::ReferenceStep;
pub use session::{train, train_from};
pub use setup::Setup;
pub use step::{Optimizer, StepParts, Trainer};
pub use step_costs::step_costs;
pub use trained::Trained;
