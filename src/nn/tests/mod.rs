//! Oracles: candle's own operations where they are correct, adjoint identities, and central
//! differences in f64.

mod conv;
mod gradients;
mod layers;

use candle_core::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

use crate::random::unit;

fn values(n: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    (0..n).map(|_| f64::from(2.0 * unit(rng) - 1.0)).collect()
}

fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn assert_close(found: f64, expected: f64, tolerance: f64) {
    let error = (found - expected).abs() / expected.abs().max(1.0);
    assert!(error < tolerance, "{found} against {expected}");
}

fn assert_all_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).for_each(|(found, expected)| assert_close(*found, *expected, tolerance));
}

/// Converts channels-last values to candle's [batch, channels, h, w].
fn images(values: &[f64], (batch, height, width, channels): (usize, usize, usize, usize)) -> Tensor {
    Tensor::from_slice(values, (batch, height, width, channels), &Device::Cpu)
        .and_then(|x| x.permute((0, 3, 1, 2))?.contiguous())
        .expect("a tensor")
}

/// Converts candle's images to channels-last values.
fn channels_last_values(images: &Tensor) -> Vec<f64> {
    images.permute((0, 2, 3, 1)).and_then(|x| x.flatten_all()?.to_vec1()).expect("values")
}

/// Asserts that `f` returns the same bits on pools of one and of several threads.
fn assert_threads_do_not_matter<R: PartialEq + Send>(f: impl Fn() -> R + Sync) {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(&f)
    };
    let one = run(1);
    assert!([2, 3, 8].into_iter().all(|threads| run(threads) == one));
}
