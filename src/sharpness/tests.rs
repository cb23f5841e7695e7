//! Compares curvature with dense matrices and closed forms.

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::error::Result;
use crate::random::{Stream, stream};

/// A matrix as an operator.
struct Dense(DMatrix<f64>);

impl Operator for Dense {
    fn dimension(&self) -> usize {
        self.0.nrows()
    }

    fn apply(&mut self, v: &DVector<f64>) -> Result<DVector<f64>> {
        Ok(&self.0 * v)
    }
}

fn rng(seed: u64) -> ChaCha8Rng {
    stream(seed, Stream::Synthetic("sharpness"))
}

/// Returns `Q diag(values) Q'` with a random orthogonal Q.
fn with_spectrum(values: &[f64], rng: &mut ChaCha8Rng) -> DMatrix<f64> {
    let n = values.len();
    let q = DMatrix::from_vec(n, n, noise(n * n, rng).data.into()).qr().q();
    &q * DMatrix::from_diagonal(&DVector::from_column_slice(values)) * q.transpose()
}

fn run(lanczos: Lanczos, matrix: &DMatrix<f64>, seed: u64) -> Spectrum {
    lanczos.run(&mut Dense(matrix.clone()), noise(matrix.nrows(), &mut rng(seed))).expect("a spectrum")
}

/// Largest eigenvalue, by a dense solver.
fn largest(matrix: &DMatrix<f64>) -> f64 {
    SymmetricEigen::new(matrix.clone()).eigenvalues.max()
}

#[test]
fn lanczos_finds_the_largest_of_either_sign_and_says_how_well() {
    let mut values: Vec<f64> = (0..200).map(|i| 1.0 / (1.0 + f64::from(i))).collect();
    values[0] = -3.0;
    let matrix = with_spectrum(&values, &mut rng(1));
    let lanczos = Lanczos { pairs: 3, first: First::Magnitude, tolerance: 1e-9, products: 500 };
    let found = run(lanczos, &matrix, 2);
    assert!(found.converged && found.products < 100, "{} products", found.products);
    for (pair, expected) in found.pairs.iter().zip([-3.0, 0.5, 1.0 / 3.0]) {
        assert!((pair.value - expected).abs() < 1e-8, "{} against {expected}", pair.value);
        let residual = (&matrix * &pair.vector - pair.value * &pair.vector).norm();
        assert!((residual - pair.residual).abs() < 1e-12 && residual <= 1e-9 * pair.value.abs());
        assert!((pair.vector.norm() - 1.0).abs() < 1e-12);
    }
    let largest = run(Lanczos { first: First::Largest, ..lanczos }, &matrix, 2);
    for (pair, expected) in largest.pairs.iter().zip([0.5, 1.0 / 3.0, 0.25]) {
        assert!((pair.value - expected).abs() < 1e-8, "{} against {expected}", pair.value);
    }
}

/// Three hundred eigenvalues within 3e-4 of one another: any eigenpair reported as converged must
/// be one within its residual, and too few products must never be reported as enough.
#[test]
fn lanczos_never_claims_a_clustered_spectrum_it_has_not_resolved() {
    let mut values: Vec<f64> = (0..300).map(|i| 1.0 - 1e-6 * f64::from(i)).collect();
    values[299] = 0.0;
    let matrix = with_spectrum(&values, &mut rng(3));
    let (mut resolved, mut given_up) = (0, 0);
    for (i, products) in [4, 9, 20, 60, 200, 2000].into_iter().enumerate() {
        let lanczos = Lanczos { pairs: 2, first: First::Magnitude, tolerance: 1e-9, products };
        let found = run(lanczos, &matrix, 10 + i as u64);
        assert!(found.products <= products);
        let good = found.pairs.iter().all(|pair| {
            let residual = (&matrix * &pair.vector - pair.value * &pair.vector).norm();
            residual <= 1.01 * lanczos.tolerance * pair.value.abs()
        });
        assert_eq!(found.converged, good, "{products} products");
        if found.converged {
            resolved += 1;
        } else {
            given_up += 1;
        }
    }
    assert!(given_up >= 4, "{given_up} of {}", resolved + given_up);
}

/// A start that equals the second eigenvector up to rounding must not hide the first.
#[test]
fn lanczos_is_not_held_by_its_start() {
    let values: Vec<f64> = (0..50).map(|i| 1.0 / (1.0 + f64::from(i))).collect();
    let matrix = with_spectrum(&values, &mut rng(4));
    let lanczos = Lanczos { pairs: 2, first: First::Magnitude, tolerance: 1e-12, products: 500 };
    let second = run(lanczos, &matrix, 5).pairs.remove(1);
    assert!((second.value - 0.5).abs() < 1e-9);
    let start = second.vector + 1e-3 * noise(50, &mut rng(6));
    let found = Lanczos::top(First::Magnitude, 1e-2, 500).run(&mut Dense(matrix), start).expect("a spectrum");
    assert!(found.converged && (found.pairs[0].value - 1.0).abs() < 1e-3, "{}", found.pairs[0].value);
}

#[test]
fn lanczos_ends_in_small_and_degenerate_spaces() {
    for matrix in [DMatrix::identity(3, 3), DMatrix::zeros(4, 4), DMatrix::from_diagonal_element(1, 1, -2.0)] {
        let found = run(Lanczos::top(First::Magnitude, 1e-6, 100), &matrix, 7);
        assert!(found.converged && found.products <= 4, "{found:?}");
        assert!((found.pairs[0].value.abs() - matrix[(0, 0)].abs()).abs() < 1e-12);
    }
    let broken = run(Lanczos::top(First::Magnitude, 1e-6, 100), &DMatrix::from_element(5, 5, f64::NAN), 8);
    assert!(!broken.converged && broken.pairs.is_empty());
}

/// Estimates must be unbiased within their own standard error, better than Hutchinson's estimator
/// on a falling spectrum, and exact if the sketch spans everything.
#[test]
fn traces_are_right_within_their_standard_error() {
    let values: Vec<f64> = (1..=120).map(|i| 100.0 / f64::from(i * i) - 0.05).collect();
    let matrix = with_spectrum(&values, &mut rng(9));
    let exact: f64 = values.iter().sum();
    let found = trace(&mut Dense(matrix.clone()), 15, &mut rng(10)).expect("a trace");
    let error = found.standard_error.expect("a spread");
    assert!((found.value - exact).abs() < 4.0 * error, "{} +- {error} against {exact}", found.value);
    let squares: f64 = values.iter().map(|v| v * v).sum();
    let hutchinson = (2.0 * squares / 45.0).sqrt();
    assert!(error < 0.1 * hutchinson, "{error} against {hutchinson}");
    assert_eq!(found.products, 45);
    let small = trace(&mut Dense(with_spectrum(&[3.0, -1.0, 0.5], &mut rng(11))), 10, &mut rng(12)).expect("a trace");
    assert!((small.value - 2.5).abs() < 1e-12 && small.standard_error == Some(0.0));
}

/// Quadrature is exact for low moments: mean and mean square of the eigenvalues must match within
/// the spread over probes.
#[test]
fn densities_have_the_moments_of_the_spectrum() {
    let values: Vec<f64> = (0..100).map(|i| f64::from(i % 10) - 2.0).collect();
    let matrix = with_spectrum(&values, &mut rng(13));
    let found = density(&mut Dense(matrix), 20, 10, &mut rng(14)).expect("a density");
    assert_eq!(found.products, 200);
    assert!(found.points.is_sorted_by(|a, b| a.0 <= b.0));
    let moment = |k: i32| found.points.iter().map(|(value, weight)| weight * value.powi(k)).sum::<f64>();
    assert!((moment(0) - 1.0).abs() < 1e-12);
    assert!((moment(1) - 2.5).abs() < 0.3 && (moment(2) - 14.5).abs() < 1.5, "{} {}", moment(1), moment(2));
    // Ten distinct eigenvalues: ten steps find every one.
    for (value, weight) in found.points.iter().filter(|(_, weight)| *weight > 1e-6) {
        assert!((value - value.round()).abs() < 1e-6, "{value} with weight {weight}");
    }
}

#[test]
fn edges_are_the_published_ones() {
    for (g, expected) in [(1.0, 10.0), (0.01, 1.365_097_2), (100.0, 19.615_242_3), (1e-4, 0.140_922_2)] {
        let found = sam_edge(0.1, 0.1, g);
        assert!((found - expected).abs() < 1e-7, "{found} against {expected}");
    }
    assert_eq!(sam_edge(0.1, 0.0, 1.0), gradient_descent_edge(0.1));
    assert_eq!(sam_edge(0.1, 0.1, 0.0), 0.0);
}

proptest! {
    /// The SAM-edge must solve its equation and equal the masked edge with everything live.
    #[test]
    fn edges_solve_their_equation(eta in 1e-4f64..1.0, rho in 1e-4f64..1.0, g in 1e-6f64..1e3, sharpness in 1e-2f64..1e3) {
        let edge = sam_edge(eta, rho, g);
        prop_assert!((eta * edge * (1.0 + rho * edge / g) - 2.0).abs() < 1e-9);
        prop_assert!(edge < gradient_descent_edge(eta));
        let masked = masked_edge(eta, sharpness, [sharpness, rho / g * sharpness * sharpness]);
        prop_assert!((masked / edge - 1.0).abs() < 1e-9, "{} against {}", masked, edge);
    }
}

/// A SAM step on `w' H w / 2`, masked.
fn sam_step(h: &DMatrix<f64>, w: &DVector<f64>, eta: f64, rho: f64, live: &[bool]) -> DVector<f64> {
    let g: DVector<f64> = h * w;
    let ascent = hessian::masked(&g, live) * (rho / g.norm());
    w - eta * h * (w + ascent)
}

/// On 10,000 random quadratics, a SAM step below its edge must lower the loss, and a masked step
/// must bring the weights closer to the minimum.
#[test]
fn below_the_edge_no_random_quadratic_is_climbed() {
    let rng = &mut rng(15);
    let mut below = [0; 2];
    for case in 0..10_000 {
        let n = 2 + case % 4;
        let a = DMatrix::from_vec(n, n, noise(n * n, rng).data.into());
        let h = &a * a.transpose();
        let w = noise(n, rng);
        let [eta, rho] = [0.05, 0.3].map(|scale| scale * noise(1, rng)[0].exp());
        let g = (&h * &w).norm();
        let (loss, sharpness) = (w.dot(&(&h * &w)), largest(&h));
        if sharpness < sam_edge(eta, rho, g) {
            let next = sam_step(&h, &w, eta, rho, &vec![true; n]);
            assert!(next.dot(&(&h * &next)) <= loss * (1.0 + 1e-12), "case {case}");
            below[0] += 1;
        }
        let live: Vec<bool> = noise(n, rng).iter().map(|x| *x > 0.0).collect();
        let mut dense = Dense(h.clone());
        let mut operator = AscentOperator { hessian: &mut dense, live: &live, scale: rho / g };
        let found = Lanczos::top(First::Largest, 1e-10, 100).run(&mut operator, noise(n, rng)).expect("a spectrum");
        assert!(found.converged);
        let top = &found.pairs[0];
        let image: DVector<f64> = &h * &top.vector;
        let parts = [top.vector.dot(&image), rho / g * hessian::masked(&image, &live).norm_squared()];
        let edge = masked_edge(eta, sharpness, parts);
        // The edge must agree with the step's own matrix, and not lie below SAM's.
        assert_eq!(sharpness < edge, top.value < 2.0 / eta, "case {case}");
        assert!(edge >= sam_edge(eta, rho, g) * (1.0 - 1e-9), "case {case}");
        if sharpness < edge {
            assert!(sam_step(&h, &w, eta, rho, &live).norm() <= w.norm() * (1.0 + 1e-12), "case {case}");
            below[1] += 1;
        }
    }
    // With nothing live it is gradient descent's.
    assert_eq!(masked_edge(0.1, 3.0, [3.0, 0.0]), gradient_descent_edge(0.1));
    assert!(below.iter().all(|n| (1000..9900).contains(n)), "{below:?} of 10,000 lie below their edge");
}
