//! Curvature of a loss: its Hessian as an operator, extreme eigenvalues, trace, spectral density,
//! and the edges of stability. Uses gradients as functions of flat weights and does not depend on
//! models.

mod density;
mod edge;
mod hessian;
mod lanczos;
mod operator;
#[cfg(test)]
mod tests;
mod trace;

pub use density::{Density, density};
pub use edge::{gradient_descent_edge, masked_edge, sam_edge};
pub use hessian::{AscentOperator, GradientAt, Hessian};
pub use lanczos::{Eigenpair, First, Lanczos, Spectrum};
pub use operator::{Operator, noise, signs};
pub use trace::{Trace, trace};
