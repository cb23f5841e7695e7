//! Stability limits of gradient descent and SAM on a quadratic (Long and Bartlett 2024;
//! docs/edge.md).

/// Largest curvature at which gradient descent with step `eta` is stable: 2 / eta.
pub fn gradient_descent_edge(eta: f64) -> f64 {
    2.0 / eta
}

/// SAM-edge: the l that solves `eta l (1 + rho l / G) = 2`, where G is the gradient norm. While the
/// largest eigenvalue is below it, a SAM step lowers a convex quadratic loss. With rho = 0 it is 2
/// / eta; with G = 0 it is 0.
///
/// Written to avoid cancellation: with q = 8 rho / (eta G), the paper's
/// `G/(2 rho) (sqrt(1 + q) - 1)` is `(4 / eta) / (sqrt(1 + q) + 1)`.
pub fn sam_edge(eta: f64, rho: f64, gradient_norm: f64) -> f64 {
    if rho == 0.0 {
        return gradient_descent_edge(eta);
    }
    if gradient_norm == 0.0 {
        return 0.0;
    }
    let q = 8.0 * rho / (eta * gradient_norm);
    4.0 / eta / ((1.0 + q).sqrt() + 1.0)
}

/// Edge for a sparse SAM step, `w - eta (H + c H M H) w` on a quadratic, with c = rho / D.
/// `sharpness` is the largest eigenvalue of H. `along = u' H u` and `masked = c u' H M H u` are
/// terms of the top eigenvector u of `H + c H M H`.
///
/// The step contracts as long as `along + masked < 2 / eta`. If all curvature were t times as
/// large, the sum would be `t along + t^2 masked`; the edge is the sharpness at the t at which that
/// equals 2 / eta. The step therefore contracts exactly if the sharpness is below this edge. With
/// everything live, the edge is [`sam_edge`] (docs/edge.md).
pub fn masked_edge(eta: f64, sharpness: f64, [along, masked]: [f64; 2]) -> f64 {
    sharpness * 4.0 / eta / (along + (along * along + 8.0 * masked / eta).sqrt())
}
