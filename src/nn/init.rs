//! Initial values, drawn from this program's random streams.

use candle_core::Shape;
use candle_nn::Init;
use candle_nn::init::NormalOrUniform;
use rand_chacha::ChaCha8Rng;

use crate::random::{normal_pair, unit};

/// PyTorch's default for convolutions, linear layers and their biases: uniform within
/// 1/sqrt(fan_in), which equals Kaiming uniform with a = sqrt 5.
pub(crate) fn default_init(fan_in: usize) -> Init {
    let up = 1.0 / (fan_in as f64).sqrt();
    Init::Uniform { lo: -up, up }
}

/// Draws one value of an initial distribution (candle's initialisers cannot be seeded on a CPU).
pub(super) fn draw(init: &Init, shape: &[usize], rng: &mut ChaCha8Rng) -> f32 {
    let uniform = |lo: f64, up: f64, rng: &mut ChaCha8Rng| lo as f32 + (up - lo) as f32 * unit(rng);
    let normal = |mean: f64, stdev: f64, rng: &mut ChaCha8Rng| (mean + stdev * normal_pair(rng).0) as f32;
    match *init {
        Init::Const(value) => value as f32,
        Init::Randn { mean, stdev } => normal(mean, stdev, rng),
        Init::Uniform { lo, up } => uniform(lo, up, rng),
        Init::Kaiming { dist, fan, non_linearity } => {
            let stdev = non_linearity.gain() / (fan.for_shape(&Shape::from(shape)) as f64).sqrt();
            match dist {
                NormalOrUniform::Normal => normal(0.0, stdev, rng),
                NormalOrUniform::Uniform => uniform(-stdev * 3f64.sqrt(), stdev * 3f64.sqrt(), rng),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_nn::init::{DEFAULT_KAIMING_NORMAL, DEFAULT_KAIMING_UNIFORM};

    use super::*;
    use crate::random::{Stream, stream};

    /// Checks that every initialiser has the moments of its definition: Kaiming's variance is
    /// gain^2 / fan_in, ReLU's gain sqrt 2.
    #[test]
    fn initial_values_have_the_moments_of_their_distribution() {
        let shape = [50, 40];
        for (init, mean, variance) in [
            (Init::Const(3.0), 3.0, 0.0),
            (Init::Randn { mean: 1.0, stdev: 0.5 }, 1.0, 0.25),
            (Init::Uniform { lo: -1.0, up: 3.0 }, 1.0, 16.0 / 12.0),
            (default_init(100), 0.0, 4e-2 / 12.0),
            (DEFAULT_KAIMING_NORMAL, 0.0, 2.0 / 40.0),
            (DEFAULT_KAIMING_UNIFORM, 0.0, 2.0 / 40.0),
        ] {
            let rng = &mut stream(1, Stream::Init("weight"));
            let values: Vec<f64> = (0..20_000).map(|_| f64::from(draw(&init, &shape, rng))).collect();
            let m = values.iter().sum::<f64>() / 20_000.0;
            let v = values.iter().map(|x| (x - m).powi(2)).sum::<f64>() / 20_000.0;
            assert!(
                (m - mean).abs() < 0.02 * (1.0 + variance) && (v - variance).abs() <= 0.04 * variance,
                "{init:?}: {m} {v}"
            );
        }
    }
}
