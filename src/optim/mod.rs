//! Optimizers: methods, which choose a direction from gradients of one batch's loss, and the base step that follows it.
//! Nothing here knows of models or training.

mod ae_sam;
mod asam;
mod ascent;
mod esam;
mod f_sam;
mod gsam;
mod looksam;
mod m_sam;
mod method;
mod sam;
mod sam_on;
pub mod schedule;
pub mod sgd;
#[cfg(test)]
mod tests;
mod variant;

pub use ae_sam::AeSam;
pub use asam::Asam;
pub use ascent::{Perturbed, dot, masked_norm, norm};
pub use esam::Esam;
pub use f_sam::FSam;
pub use gsam::Gsam;
pub use looksam::LookSam;
pub use m_sam::MSam;
pub use method::{ActiveMask, Ask, BatchLoss, Between, Context, Kept, Landscape, Method, Plain};
pub use sam::{Norm, Perturbation, SAM_EPSILON, SSAM_EPSILON, Sam};
pub use sam_on::SamOn;
pub use schedule::{Decay, Schedule};
pub use sgd::{Sgd, SgdState};
pub use variant::Variant;

/// Scalars of one task of a pass over a flat vector; fixed, so that the order of sums never depends on threads.
const CHUNK: usize = 1 << 14;
