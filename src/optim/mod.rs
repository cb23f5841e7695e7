//! Optimizer arithmetic on flat vectors in name order: pure functions of weights, gradient and state.

pub mod sam;
pub mod schedule;
pub mod sgd;

pub use sam::{Ascent, Perturbed, SAM_EPSILON, SSAM_EPSILON};
pub use schedule::{Decay, Schedule};
pub use sgd::{Sgd, SgdState};

/// Scalars of one task of a pass over a flat vector; fixed, so that the order of sums never depends on threads.
const CHUNK: usize = 1 << 14;
