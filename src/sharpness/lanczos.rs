//! Extreme eigenpairs of a symmetric operator: Lanczos with full reorthogonalisation, the projected
//! problem solved explicitly (Rayleigh-Ritz), restarted with the best vectors when the basis is
//! full (thick restart, Wu and Simon 2000).
//!
//! Products A V are stored beside the basis V, so the residual `||A u - theta u||` is exact. The
//! usual estimate assumes exact products, which those of a Hessian by differences are not.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

use super::operator::{Operator, add_scaled, dot, norm, orthonormal, restricted};
use crate::error::Result;

/// Minimum products before convergence: a start close to one eigenvector must not hide a larger
/// eigenvalue.
const LEAST: usize = 8;

/// Ritz vectors kept in a restart besides the requested ones.
const SPARE: usize = 2;

/// Fraction of the largest eigenvalue below which eigenvalues count as near 0.
const NEAR_ZERO: f64 = 0.01;

/// Maximum number of basis vectors; as many again hold their products.
const BASIS: usize = 24;

/// Eigenpairs to compute, their tolerance, and the maximum cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lanczos {
    /// Number of eigenpairs, at most [`Lanczos::MOST_PAIRS`].
    pub pairs: usize,
    /// Order of eigenvalues.
    pub first: First,
    /// Maximum residual relative to the larger of the eigenvalue's magnitude and a hundredth of the
    /// largest one. An eigenvalue near 0 has no meaningful relative error.
    pub tolerance: f64,
    /// Maximum number of products.
    pub products: usize,
}

/// Order of eigenvalues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Largest magnitude first, positive or negative.
    Magnitude,
    /// Largest first.
    Largest,
}

/// A computed eigenpair.
#[derive(Clone, Debug)]
pub struct Eigenpair {
    /// Eigenvalue, with sign.
    pub value: f64,
    /// Eigenvector of length 1.
    pub vector: DVector<f64>,
    /// Residual `||A v - value v||`.
    pub residual: f64,
}

/// Computed eigenpairs and their cost.
#[derive(Clone, Debug)]
pub struct Spectrum {
    /// Eigenpairs in the requested order. Fewer than requested if no more exist; empty if a product
    /// was not finite.
    pub pairs: Vec<Eigenpair>,
    /// Number of operator products.
    pub products: usize,
    /// Whether all requested pairs were found within the tolerance.
    pub converged: bool,
}

/// Basis, products, and the operator's projection on the basis.
struct Subspace {
    first: First,
    v: Vec<DVector<f64>>,
    w: Vec<DVector<f64>>,
    h: DMatrix<f64>,
}

impl Lanczos {
    /// Maximum number of eigenpairs, which leaves half of the basis for new directions after a
    /// restart.
    pub const MOST_PAIRS: usize = BASIS / 2 - SPARE;

    /// Computes only the first eigenpair.
    pub fn top(first: First, tolerance: f64, products: usize) -> Self {
        Self { pairs: 1, first, tolerance, products }
    }

    /// Runs from `start`: a random vector, or the previous eigenvector with random noise added.
    ///
    /// # Errors
    /// When a product fails.
    ///
    /// # Panics
    /// When more than [`Lanczos::MOST_PAIRS`] pairs are requested.
    pub fn run(&self, operator: &mut dyn Operator, start: DVector<f64>) -> Result<Spectrum> {
        assert!(self.pairs <= Self::MOST_PAIRS, "at most {} eigenpairs", Self::MOST_PAIRS);
        let mut space = Subspace { first: self.first, v: Vec::new(), w: Vec::new(), h: DMatrix::zeros(0, 0) };
        let mut next = restricted(operator, start);
        let (mut pairs, mut products, mut converged) = (Vec::new(), 0, false);
        while products < self.products {
            // `None` if the space spanned from a random start is invariant, so no direction is
            // left.
            let Some(fresh) = orthonormal(next, &space.v) else { break };
            let product = operator.apply(&fresh)?;
            products += 1;
            if !product.iter().all(|x| x.is_finite()) {
                return Ok(Spectrum { pairs: Vec::new(), products, converged: false });
            }
            space.add(fresh, product);
            let mut residuals;
            (pairs, residuals) = space.best(self.pairs);
            let largest = pairs.iter().fold(0f64, |largest, pair| largest.max(pair.value.abs()));
            let allowed = |value: f64| self.tolerance * value.abs().max(NEAR_ZERO * largest);
            let lacking = pairs.iter().position(|pair| pair.residual > allowed(pair.value));
            converged = lacking.is_none() && pairs.len() == self.pairs.min(operator.dimension());
            if converged && products >= LEAST {
                break;
            }
            // All residuals lie along the next Krylov vector.
            next = residuals.swap_remove(lacking.unwrap_or(0));
            if space.v.len() >= BASIS {
                space.restart(self.pairs + SPARE);
            }
        }
        Ok(Spectrum { pairs, products, converged })
    }
}

impl Subspace {
    fn add(&mut self, v: DVector<f64>, w: DVector<f64>) {
        let k = self.v.len();
        self.v.push(v);
        self.w.push(w);
        self.h = std::mem::replace(&mut self.h, DMatrix::zeros(0, 0)).resize(k + 1, k + 1, 0.0);
        for i in 0..=k {
            // Both are equal up to rounding and the error of the products; the mean is symmetric.
            let entry = (dot(&self.v[i], &self.w[k]) + dot(&self.v[k], &self.w[i])) / 2.0;
            (self.h[(i, k)], self.h[(k, i)]) = (entry, entry);
        }
    }

    /// Eigenvalues of the projection, in order, with eigenvectors in the coordinates of the basis.
    fn ritz(&self) -> Vec<(f64, DVector<f64>)> {
        let small = SymmetricEigen::new(self.h.clone());
        let vectors = small.eigenvectors.column_iter().map(|column| column.into_owned());
        let mut ritz: Vec<(f64, DVector<f64>)> = small.eigenvalues.iter().copied().zip(vectors).collect();
        ritz.sort_by(|a, b| match self.first {
            First::Magnitude => b.0.abs().total_cmp(&a.0.abs()),
            First::Largest => b.0.total_cmp(&a.0),
        });
        ritz
    }

    /// Best `k` pairs of the subspace, and their residual vectors.
    fn best(&self, k: usize) -> (Vec<Eigenpair>, Vec<DVector<f64>>) {
        let ritz = self.ritz().into_iter().take(k);
        let pairs = ritz.map(|(value, s)| {
            let vector = combination(&self.v, &s);
            let mut residual = combination(&self.w, &s);
            add_scaled(&mut residual, -value, &vector);
            (Eigenpair { value, vector, residual: norm(&residual) }, residual)
        });
        pairs.unzip()
    }

    /// Keeps only the best `k` Ritz vectors.
    fn restart(&mut self, k: usize) {
        let ritz = self.ritz();
        let kept = &ritz[..k];
        self.v = kept.iter().map(|(_, s)| combination(&self.v, s)).collect();
        self.w = kept.iter().map(|(_, s)| combination(&self.w, s)).collect();
        self.h = DMatrix::from_diagonal(&DVector::from_iterator(k, kept.iter().map(|(value, _)| *value)));
    }
}

/// `sum of s[i] v[i]`.
fn combination(v: &[DVector<f64>], s: &DVector<f64>) -> DVector<f64> {
    let mut sum = DVector::zeros(v.first().map_or(0, DVector::len));
    for (v, s) in v.iter().zip(s.iter()) {
        add_scaled(&mut sum, *s, v);
    }
    sum
}
