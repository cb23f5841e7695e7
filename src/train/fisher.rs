//! Empirical Fisher score: the sum of squared per-sample gradients with the true labels
//! (Mi et al. 2022, equation 7).

use sharpbench_kernels as kernels;

use crate::data::DataSet;
use crate::data::augment::Augment;
use crate::error::Result;
use crate::mask::FisherMode;
use crate::nn::BatchNormMode;
use crate::random::{Stream, sample, stream};

use super::landscape::Network;

/// Computes the scores of all weights from `samples` training images, drawn without replacement
/// from the epoch's mask stream. Mode `paper` runs augmented batches of one in training mode and
/// updates BatchNorm's running statistics, as the papers' code does. Mode `clean` uses evaluation
/// mode and unaugmented images.
///
/// # Errors
/// When a tensor operation fails.
pub fn fisher_scores(
    mut network: Network<'_>,
    data: &DataSet,
    augment: &Augment,
    (samples, mode): (usize, FisherMode),
    (seed, epoch): (u64, usize),
) -> Result<Vec<f32>> {
    // The scores are of the true labels.
    network.problem.objective = network.problem.objective.unsmoothed();
    let mut rng = stream(seed, Stream::Mask(epoch));
    let chosen = sample(&mut rng, data.train.len(), samples);
    let mut sum = vec![0f32; network.weights.len()];
    match mode {
        FisherMode::Paper => {
            let mut gradient = Vec::new();
            for index in chosen {
                let batch = data.training_sample(index, (augment, &mut rng))?;
                if !batch.labels.is_empty() {
                    network.loss_gradient(&batch, BatchNormMode::Update, &mut gradient)?;
                    kernels::accumulate_squares(&mut sum, &gradient);
                }
            }
        }
        FisherMode::Clean => {
            for indices in chosen.chunks(SAMPLES_PER_PASS) {
                let batch = data.train.batch(indices, None)?;
                network.add_squared_gradients(&batch, &mut sum)?;
            }
        }
    }
    Ok(sum)
}

/// Samples per pass in mode `clean`.
const SAMPLES_PER_PASS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Images, Input, Normalise, Provenance};
    use crate::model::{ModelSpec, Task, build};
    use crate::nn::{FlopCount, RunningStats};

    /// Softmax regression has a closed form: dL/dW = (p - y) x^T and dL/db = p - y, so its Fisher
    /// score is the sum over samples of ((p - y)_k x_j)^2.
    #[test]
    fn scores_of_softmax_regression_are_the_closed_form() {
        let (shape, n) = ([1, 2, 2], 6);
        let pixels: Vec<u8> = (0..n * 4).map(|i| (i * 37 % 256) as u8).collect();
        let images = Images { pixels, labels: (0..n).map(|i| (i % 10) as u8).collect(), shape };
        let normalise = Normalise { mean: [0.4; 3], std: [0.3; 3] };
        let provenance = Provenance::made("test", "test", vec![]);
        let data = DataSet::of_images([images.clone(), images.clone()], 10, normalise, provenance);
        let spec = ModelSpec { name: "mlp".into(), hidden: Some(Vec::new()), ..ModelSpec::default() };
        let model = build(&spec, Task { input: Input::Image(shape), classes: 10 }).expect("a model");
        let weights = model.layout().init(3);
        let mut running = RunningStats::new(model.layout());
        let network = Network {
            problem: model.as_ref().into(),
            weights: &weights,
            running: &mut running,
            flops: FlopCount::default(),
        };
        let scores =
            fisher_scores(network, &data, &Augment::default(), (n, FisherMode::Clean), (1, 0)).expect("scores");

        // Name order: 10 biases, then the weight [10, 4].
        let (bias, weight) = weights.split_at(10);
        let mut expected = vec![0f64; 50];
        for i in 0..n {
            let mut x = [0f32; 4];
            normalise.image(images.image(i), shape, &mut x);
            let logits: Vec<f64> = (0..10)
                .map(|k| f64::from(bias[k]) + (0..4).map(|j| f64::from(weight[4 * k + j] * x[j])).sum::<f64>())
                .collect();
            let sum: f64 = logits.iter().map(|l| l.exp()).sum();
            for k in 0..10 {
                let error = logits[k].exp() / sum - f64::from(u8::from(k == usize::from(images.labels[i])));
                expected[k] += error.powi(2);
                (0..4).for_each(|j| expected[10 + 4 * k + j] += (error * f64::from(x[j])).powi(2));
            }
        }
        for (found, expected) in scores.iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-5 * expected.max(1e-3), "{found} against {expected}");
        }
    }
}
