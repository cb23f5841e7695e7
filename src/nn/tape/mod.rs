//! The tape: what a forward pass records for the backward pass. Imports go one way: `node`,
//! `gradients`, `prefix`, `pass`. The loss ([`super::objective`]) builds on them.

mod gradients;
mod node;
mod pass;
mod prefix;

pub(super) use gradients::{BatchPart, Gradient, Gradients, Through, round};
pub use node::Node;
pub(super) use node::Normalised;
pub use pass::{BatchNormMode, Pass};
pub use prefix::Prefix;
