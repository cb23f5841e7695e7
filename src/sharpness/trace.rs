//! Trace of a symmetric operator by Hutch++ (Meyer et al. 2021): exact on a sketched subspace,
//! Hutchinson's estimator on the rest.

use nalgebra::DVector;
use rand_chacha::ChaCha8Rng;

use super::operator::{Operator, add_scaled, dot, orthonormal, restricted, signs};
use crate::error::Result;

/// An estimate of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trace {
    /// Unbiased estimate.
    pub value: f64,
    /// Standard error from the spread of the random part; `None` for a single sample.
    pub standard_error: Option<f64>,
    /// Number of operator products.
    pub products: usize,
}

/// Estimates the trace with at most `3 k` products.
///
/// # Errors
/// When a product fails.
pub fn trace(operator: &mut dyn Operator, k: usize, rng: &mut ChaCha8Rng) -> Result<Trace> {
    let n = operator.dimension();
    let mut products = 0;
    let mut basis: Vec<DVector<f64>> = Vec::new();
    for _ in 0..k.min(n) {
        let probe = restricted(operator, signs(n, rng));
        let image = operator.apply(&probe)?;
        products += 1;
        basis.extend(orthonormal(image, &basis));
    }
    let mut exact = 0.0;
    for q in &basis {
        exact += dot(q, &operator.apply(q)?);
        products += 1;
    }
    if basis.len() == n {
        return Ok(Trace { value: exact, standard_error: Some(0.0), products });
    }
    let mut samples = Vec::new();
    for _ in 0..k {
        let mut g = restricted(operator, signs(n, rng));
        for q in &basis {
            let along = dot(q, &g);
            add_scaled(&mut g, -along, q);
        }
        samples.push(dot(&g, &operator.apply(&g)?));
        products += 1;
    }
    let rest = crate::stats::summary(&samples);
    let standard_error = rest.and_then(|rest| Some(rest.sd? / (rest.n as f64).sqrt()));
    Ok(Trace { value: exact + rest.map_or(0.0, |rest| rest.mean), standard_error, products })
}
