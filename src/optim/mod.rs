//! Optimizers: methods, which choose a direction from gradients of one batch's loss, and the base
//! step that follows it. This module does not depend on models or training.

mod ae_sam;
mod asam;
mod ascent;
mod ascent_step;
mod base_step;
mod entry;
mod esam;
mod f_sam;
mod fixed_mask;
mod gsam;
mod late_sam;
mod looksam;
mod m_sam;
mod method;
mod momentum_sam;
mod norm;
mod plain;
mod s2_sam;
mod sam;
pub mod schedule;
mod spec;
mod ssam;
#[cfg(test)]
mod tests;
mod value;

pub use ae_sam::AeSam;
pub use asam::Asam;
pub use ascent::{Perturbed, combine, dot, masked_norm, norm};
pub use ascent_step::AscentStep;
pub use base_step::{AdamW, BaseName, BaseSpec, BaseState, BaseStep, Sgd};
pub use entry::{Build, Check, Cost, Form, Key, KeyDefault, Masks, OptimizerEntry};
pub use esam::Esam;
pub use f_sam::FSam;
pub use fixed_mask::FixedMaskSam;
pub use gsam::Gsam;
pub use looksam::LookSam;
pub use m_sam::MSam;
pub use method::{ActiveMask, Ask, BatchLoss, Between, Context, Iterate, Kept, Landscape, Method};
pub use norm::{Norm, Perturbation};
pub use plain::Plain;
pub use sam::Sam;
pub use schedule::{Decay, Schedule};
pub(crate) use spec::is_default;
pub use spec::{AscentSpec, BatchNormPass2, OptimizerSpec, RhoDecay, Variant};
pub(crate) use value::trainable;
pub use value::{Bounds, Kind, Most, TrainingShape, Value};

/// All optimizers: a line for each entry, which has a file of its own.
pub const OPTIMIZERS: &[OptimizerEntry] = &[
    plain::SGD,
    plain::ADAMW,
    sam::ENTRY,
    ssam::SSAM_F,
    ssam::SSAM_D,
    ssam::SSAM,
    asam::ENTRY,
    gsam::ENTRY,
    looksam::ENTRY,
    esam::ENTRY,
    ae_sam::ENTRY,
    f_sam::ENTRY,
    fixed_mask::SAM_ON,
    fixed_mask::SAM_LAYERS,
    m_sam::ENTRY,
    momentum_sam::ENTRY,
    s2_sam::ENTRY,
    late_sam::ENTRY,
];
