//! Figures of a training at its edge of stability.

use crate::record::{EdgeCheck, Measures};

/// Checks in the second half of the steps: by then the start is forgotten.
pub(super) fn late(measures: &Measures) -> impl Iterator<Item = &EdgeCheck> {
    measures.edge.iter().filter(|check| check.step >= measures.steps.div_ceil(2))
}

/// The norm of the Hessian over the optimizer's edge, at those checks; where the gradient has vanished there is no edge.
pub(super) fn over_edge(measures: &Measures) -> Vec<f64> {
    late(measures).map(|check| check.eigenvalue.abs() / check.edge).filter(|ratio| ratio.is_finite()).collect()
}

/// The norm of the Hessian over 2 / eta, at those checks.
pub(super) fn over_gradient_descent_edge(measures: &Measures) -> Vec<f64> {
    late(measures).map(|check| check.eigenvalue.abs() / check.gradient_descent_edge).collect()
}

/// Checks at which the gradient after the ascent step is nearer to the top eigenvector than the gradient, and all that have
/// both.
pub(super) fn better_aligned(measures: &Measures) -> [usize; 2] {
    let pairs = measures.edge.iter().filter_map(|check| Some((check.ascent_alignment?, check.alignment)));
    pairs.fold([0, 0], |[better, all], (ascent, plain)| [better + usize::from(ascent > plain), all + 1])
}
