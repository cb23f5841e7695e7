//! The tape: what a forward pass records so that a backward pass can follow. Imports go one way:
//! `node`, `gradients`, `prefix`, `pass`; the loss ([`super::objective`]) stands above them.

mod gradients;
mod node;
mod pass;
mod prefix;

pub(super) use gradients::{BatchPart, Gradient, Gradients, Through, round};
pub use node::Node;
pub(super) use node::Normalised;
pub use pass::{BatchNormMode, Pass};
pub use prefix::Prefix;
