//! Spectral density of a symmetric operator by stochastic Lanczos quadrature (Ghorbani et al.
//! 2019). For a random unit vector v, run Lanczos from v. The eigenvalues of the Lanczos matrix,
//! weighted by the squared first entries of its eigenvectors, form a Gauss quadrature of the
//! density that v samples.

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use rand_chacha::ChaCha8Rng;

use super::operator::{Operator, dot, noise, orthonormal, restricted};
use crate::error::Result;

/// A density as a sum of point masses.
#[derive(Clone, Debug, PartialEq)]
pub struct Density {
    /// Pairs of eigenvalue and weight, by ascending eigenvalue; the weights sum to 1.
    pub points: Vec<(f64, f64)>,
    /// Number of operator products.
    pub products: usize,
}

/// Estimates the density from `probes` random vectors with `steps` Lanczos steps each.
///
/// # Errors
/// When a product fails.
pub fn density(operator: &mut dyn Operator, probes: usize, steps: usize, rng: &mut ChaCha8Rng) -> Result<Density> {
    let n = operator.dimension();
    let (mut points, mut products) = (Vec::new(), 0);
    for _ in 0..probes {
        let mut basis: Vec<DVector<f64>> = Vec::new();
        let mut h = DMatrix::<f64>::zeros(0, 0);
        let mut next = orthonormal(restricted(operator, noise(n, rng)), &basis);
        while let Some(v) = next.take().filter(|_| basis.len() < steps) {
            let image = operator.apply(&v)?;
            products += 1;
            let k = basis.len();
            h = h.resize(k + 1, k + 1, 0.0);
            h[(k, k)] = dot(&v, &image);
            basis.push(v);
            next = orthonormal(image.clone(), &basis);
            if let Some(next) = next.as_ref().filter(|_| k + 1 < steps) {
                h = h.resize(k + 2, k + 2, 0.0);
                let beta = dot(next, &image);
                (h[(k, k + 1)], h[(k + 1, k)]) = (beta, beta);
            }
        }
        let k = basis.len();
        if k == 0 {
            continue;
        }
        let small = SymmetricEigen::new(h.resize(k, k, 0.0));
        let weights = (0..k).map(|i| small.eigenvectors[(0, i)].powi(2) / probes as f64);
        points.extend(small.eigenvalues.iter().copied().zip(weights));
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(Density { points, products })
}
