//! Training one cell: the step, the epoch, evaluation, and what is measured on the way.

mod cell;
mod checkpoint;
mod evaluate;
mod fisher;
mod gradient_norm;
mod landscape;
mod masks;
mod memory;
mod reference;
mod sharpness;
mod step;

pub use cell::{Observer, Setup, Trained, train, train_from};
pub use checkpoint::{Checkpoint, KeepNothing, Keeper, identity};
pub use fisher::fisher_scores;
pub use landscape::{BatchProblem, Network, Problem};
pub use memory::{peak_bytes as peak_memory_bytes, resident_bytes};
pub use reference::ReferenceStep;
pub use step::{Optimizer, StepParts, Trainer};
