//! Common parts of both curvature measurements: a deterministic loss, the free weights, and the
//! tolerance of eigenpairs.

use super::landscape::{BatchLandscape, Network};
use crate::data::loader::Batch;
use crate::error::Result;
use crate::nn::{BatchNormMode, ParamLayout};
use crate::optim::{Ask, Landscape};
use crate::sharpness::GradientAt;
use crate::suite::Cell;

/// Maximum residual of an eigenpair relative to its eigenvalue. The error of the eigenvalue is of
/// the order of its square.
pub(super) const TOLERANCE: f64 = 0.01;
/// Maximum products per eigenpair.
pub(super) const PRODUCTS: usize = 50;

/// Deterministic loss of a batch: running statistics do not change, and dropout repeats the same
/// mask.
pub(super) struct Still<'a>(BatchLandscape<'a>);

impl GradientAt<f32> for Still<'_> {
    fn gradient(&mut self, weights: &[f32], gradient: &mut Vec<f32>) -> Result<f64> {
        Ok(self.0.gradient(weights, Ask::SECOND, gradient)?.mean)
    }
}

impl<'a> Still<'a> {
    /// Creates the loss of a batch, and returns it with the network's current weights.
    pub(super) fn of(network: Network<'a>, batch: &'a Batch, mode: BatchNormMode) -> (Self, &'a [f32]) {
        let Network { problem, weights, running, flops } = network;
        let landscape =
            BatchLandscape { problem, running, batch, second: mode, prefix: None, seconds: [0.0; 2], flops };
        (Self(landscape), weights)
    }

    /// Number of samples in the batch.
    pub(super) fn samples(&self) -> usize {
        self.0.samples()
    }
}

/// Marks the weights that are not frozen; `None` if none is frozen.
pub(super) fn free(cell: &Cell, layout: &ParamLayout) -> Option<Vec<bool>> {
    if cell.measure.frozen.is_empty() {
        return None;
    }
    let mut free = vec![true; layout.len()];
    for spec in layout.specs().iter().filter(|spec| cell.measure.freezes(&spec.name)) {
        free[spec.range()].fill(false);
    }
    Some(free)
}

#[cfg(test)]
mod tests {
    use nalgebra::{DVector, SymmetricEigen};

    use super::super::exact_hessian::{SmallMlp, dense, exact};
    use super::*;
    use crate::nn::Objective;
    use crate::random::{Stream, stream};
    use crate::sharpness::{First, Hessian, Lanczos, Operator, noise};

    const OBJECTIVES: [Objective; 2] = [Objective::CrossEntropy { label_smoothing: 0.1 }, Objective::SquaredError];

    #[test]
    fn products_by_differences_are_those_of_the_r_operator() {
        for objective in OBJECTIVES {
            let mlp = SmallMlp::new(objective);
            let mut loss = mlp.loss();
            let weights: Vec<f64> = mlp.weights();
            let v = noise(weights.len(), &mut stream(2, Stream::Synthetic("direction")));
            let expected = DVector::from_vec(exact(&mlp, &weights, v.as_slice()));
            let found = Hessian::new(&mut loss, weights.as_slice()).apply(&v).expect("a product");
            assert!((&found - &expected).norm() < 1e-7 * expected.norm(), "{objective:?}: f64");
            let single: Vec<f32> = mlp.weights();
            let found = Hessian::new(&mut loss, single.as_slice()).apply(&v).expect("a product");
            assert!((&found - &expected).norm() < 3e-3 * expected.norm(), "{objective:?}: f32");
        }
    }

    /// Compares Lanczos on differences with a dense solver on the exact Hessian, to 1e-6 in f64,
    /// and to 1e-3 in f32 at the residual that the checks use.
    #[test]
    fn eigenvalues_are_those_of_the_dense_hessian() {
        for objective in OBJECTIVES {
            let mlp = SmallMlp::new(objective);
            let mut loss = mlp.loss();
            let mut expected: Vec<f64> = SymmetricEigen::new(dense(&mlp)).eigenvalues.iter().copied().collect();
            expected.sort_by(|a, b| b.abs().total_cmp(&a.abs()));
            let start = noise(expected.len(), &mut stream(3, Stream::Synthetic("start")));
            let weights: Vec<f64> = mlp.weights();
            let lanczos = Lanczos { pairs: 3, first: First::Magnitude, tolerance: 1e-5, products: 300 };
            let mut hessian = Hessian::new(&mut loss, weights.as_slice());
            let found = lanczos.run(&mut hessian, start.clone()).expect("eigenpairs");
            assert!(found.converged, "{objective:?}");
            for (pair, expected) in found.pairs.iter().zip(&expected) {
                assert!((pair.value / expected - 1.0).abs() < 1e-6, "{objective:?}: {} {expected}", pair.value);
            }
            let weights: Vec<f32> = mlp.weights();
            let mut hessian = Hessian::new(&mut loss, weights.as_slice());
            let found =
                Lanczos::top(First::Magnitude, TOLERANCE, PRODUCTS).run(&mut hessian, start).expect("an eigenpair");
            assert!(found.converged, "{objective:?}");
            let top = found.pairs[0].value;
            assert!((top / expected[0] - 1.0).abs() < 1e-3, "{objective:?}: {top} {}", expected[0]);
        }
    }
}
