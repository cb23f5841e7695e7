//! Decay rate of the averaged squared gradient norm, which convergence theorems bound (Mi et al.
//! 2022, theorem 2, for sparse SAM: log T / sqrt T with eta and rho falling as 1 / sqrt t).

/// Fraction of the training at which the fit starts.
const FIRST_PART: f64 = 0.1;
/// Number of T values, evenly spaced in log T.
const POINTS: usize = 20;

/// Exponent p of `mean over t <= T of the squared gradient norm ~ T^p`: the slope of a
/// least-squares line through (log T, log mean) over the last decade of T. `norms` are (step from
/// 0, squared norm), by ascending step. `None` if there are too few, or one is not a positive
/// number.
pub fn convergence_exponent(norms: &[(u64, f64)]) -> Option<f64> {
    let last = norms.last()?.0 as f64 + 1.0;
    let mut sum = 0.0;
    let means: Vec<(f64, f64)> = norms
        .iter()
        .enumerate()
        .map(|(i, (step, squared))| {
            sum += squared;
            (*step as f64 + 1.0, sum / (i + 1) as f64)
        })
        .collect();
    let mut points: Vec<(f64, f64)> = Vec::new();
    for k in 0..POINTS {
        let wanted = last * FIRST_PART.powf(1.0 - k as f64 / (POINTS - 1) as f64);
        let (t, mean) = *means.iter().find(|(t, _)| *t >= wanted - 1e-9)?;
        let point = (t.ln(), mean.ln());
        if points.last() != Some(&point) {
            points.push(point);
        }
    }
    slope(&points).filter(|slope| slope.is_finite())
}

/// Slope of the least-squares line; `None` for fewer than three points.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    if points.len() < 3 {
        return None;
    }
    let n = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let (sxy, sxx) =
        points.iter().fold((0.0, 0.0), |(sxy, sxx), p| (sxy + (p.0 - x) * (p.1 - y), sxx + (p.0 - x).powi(2)));
    Some(sxy / sxx)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values with a running mean of exactly T^-1/2.
    #[test]
    fn a_power_law_is_found() {
        let total = |t: f64| t.powf(0.5);
        let norms: Vec<(u64, f64)> = (0..1000).map(|i| (i, total((i + 1) as f64) - total(i as f64))).collect();
        let found = convergence_exponent(&norms).expect("an exponent");
        assert!((found + 0.5).abs() < 1e-9, "{found}");
    }

    #[test]
    fn a_constant_does_not_fall_and_nonsense_has_no_exponent() {
        let constant: Vec<(u64, f64)> = (0..200).map(|i| (5 * i, 0.3)).collect();
        assert!(convergence_exponent(&constant).expect("an exponent").abs() < 1e-12);
        assert_eq!(convergence_exponent(&[]), None);
        assert_eq!(convergence_exponent(&[(0, 1.0), (10, 0.5)]), None);
        assert_eq!(convergence_exponent(&constant.iter().map(|(t, _)| (*t, 0.0)).collect::<Vec<_>>()), None);
        assert_eq!(convergence_exponent(&constant.iter().map(|(t, _)| (*t, f64::NAN)).collect::<Vec<_>>()), None);
    }
}
