//! Symmetric linear operators that are accessible only through products.

use nalgebra::DVector;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sharpbench_kernels as kernels;

use crate::error::Result;
use crate::random::normal_pair;

/// A symmetric linear operator A on R^n.
pub trait Operator {
    /// Dimension n.
    fn dimension(&self) -> usize;

    /// Computes `A v`.
    ///
    /// # Errors
    /// When the product fails.
    fn apply(&mut self, v: &DVector<f64>) -> Result<DVector<f64>>;

    /// Projects `v` onto the space on which the operator is studied; does nothing if that is R^n.
    fn restrict(&self, _v: &mut DVector<f64>) {}
}

/// Restricts a random vector.
pub(super) fn restricted(operator: &dyn Operator, mut v: DVector<f64>) -> DVector<f64> {
    operator.restrict(&mut v);
    v
}

/// Independent standard normal numbers.
pub fn noise(n: usize, rng: &mut ChaCha8Rng) -> DVector<f64> {
    DVector::from_fn(n, |_, _| normal_pair(rng).0)
}

/// Independent signs, 1 or -1 (Rademacher).
pub fn signs(n: usize, rng: &mut ChaCha8Rng) -> DVector<f64> {
    DVector::from_fn(n, |_, _| if rng.next_u32() & 1 == 0 { 1.0 } else { -1.0 })
}

/// Inner product.
pub(super) fn dot(a: &DVector<f64>, b: &DVector<f64>) -> f64 {
    kernels::dot_f64(a.as_slice(), b.as_slice())
}

/// Euclidean norm.
pub(super) fn norm(v: &DVector<f64>) -> f64 {
    dot(v, v).sqrt()
}

/// Adds `scale v` to `sum`.
pub(super) fn add_scaled(sum: &mut DVector<f64>, scale: f64, v: &DVector<f64>) {
    kernels::accumulate_scaled(sum.as_mut_slice(), v.as_slice(), scale);
}

/// Component of `x` orthogonal to an orthonormal `basis`, scaled to length 1; `None` if only
/// rounding errors remain. Uses classical Gram-Schmidt twice, which is enough (Giraud et al. 2005).
pub(super) fn orthonormal(mut x: DVector<f64>, basis: &[DVector<f64>]) -> Option<DVector<f64>> {
    let before = norm(&x);
    for _ in 0..2 {
        let along: Vec<f64> = basis.iter().map(|v| dot(v, &x)).collect();
        for (v, along) in basis.iter().zip(along) {
            add_scaled(&mut x, -along, v);
        }
    }
    let after = norm(&x);
    // Also rejects NaN.
    (after > 1e-12 * before).then(|| x / after)
}
