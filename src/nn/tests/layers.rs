//! Tests of pooling, normalisation, dropout and the loss.

use candle_core::{Device, Tensor};
use proptest::prelude::*;
use sharpbench_kernels::{self as kernels, PoolShape};

use super::{assert_all_close, assert_close, channels_last_values, dot, images, values};
use crate::nn::{BatchNormMode, ParamsBuilder, Pass, RunningStats, Weights, dropout};
use crate::random::{Stream, sample, stream};

proptest! {
    /// Compares forward with candle's pooling, which has no padding. The mean is linear:
    /// <dy, pool(x)> = <backward(dy), x>. So is the maximum near an x without ties, so a perturbation
    /// tests its gradient.
    #[test]
    fn pooling_matches_candle_and_its_adjoints(
        (batch, h, w, c) in (1usize..4, 1usize..9, 1usize..9, 1usize..20),
        (kernel, stride) in (1usize..4, 1usize..4),
        seed in 0u64..1000,
    ) {
        let (h, w) = (h.max(kernel), w.max(kernel));
        let s = PoolShape::new((batch, h, w, c), kernel, stride, 0).expect("a shape");
        let rng = &mut stream(seed, Stream::Mask(0));
        // A permutation: no ties, and gaps larger than the perturbation.
        let n = batch * h * w * c;
        let x: Vec<f64> = sample(rng, n, n).into_iter().map(|i| f64::from(i) / n as f64).collect();
        let theirs = images(&x, (batch, h, w, c));
        let dy = values(s.out_dims().iter().product(), rng);

        let mean = kernels::avg_pool2d(&s, &x);
        let expected = theirs.avg_pool2d_with_stride(kernel, stride).expect("candle's pooling");
        assert_all_close(&mean, &channels_last_values(&expected), 1e-14);
        assert_close(dot(&kernels::avg_pool2d_backward(&s, &dy), &x), dot(&dy, &mean), 1e-12);

        let (largest, winners) = kernels::max_pool2d(&s, &x);
        let expected = theirs.max_pool2d_with_stride(kernel, stride).expect("candle's pooling");
        assert_all_close(&largest, &channels_last_values(&expected), 1e-14);
        let dx = kernels::max_pool2d_backward(&s, &winners, &dy);
        let direction = values(x.len(), rng);
        let moved: Vec<f64> = x.iter().zip(&direction).map(|(x, d)| x + 1e-6 * d).collect();
        let change = (dot(&dy, &kernels::max_pool2d(&s, &moved).0) - dot(&dy, &largest)) / 1e-6;
        assert_close(change, dot(&dx, &direction), 1e-7);
    }

    /// The shortcut and the global mean are linear: <dy, f(x)> = <backward(dy), x>.
    #[test]
    fn linear_layers_and_their_adjoints(batch in 1usize..4, c_in in 1usize..4, h in 1usize..8, w in 1usize..8, pad in 0usize..3) {
        let rng = &mut stream(1, Stream::Mask(0));
        let (dims, c_out) = ([batch, h, w, c_in], c_in + 2 * pad);
        let x = values(batch * c_in * h * w, rng);
        let y = kernels::shortcut(&x, dims, c_out);
        prop_assert_eq!(y.len(), batch * c_out * h.div_ceil(2) * w.div_ceil(2));
        prop_assert_eq!(y[pad], x[0]);
        let dy = values(y.len(), rng);
        assert_close(dot(&dy, &y), dot(&kernels::shortcut_backward(&dy, dims, c_out), &x), 1e-12);

        let y = kernels::global_avg_pool(&x, h * w, c_in);
        let dy = values(y.len(), rng);
        assert_close(dot(&dy, &y), dot(&kernels::global_avg_pool_backward(&dy, h * w, c_in), &x), 1e-12);
    }

    /// Compares forward with the composition of candle operations, and gradients with central
    /// differences.
    #[test]
    fn layer_norm_matches_candle_and_central_differences(rows in 1usize..600, n in 2usize..20, seed in 0u64..1000) {
        let rng = &mut stream(seed, Stream::Mask(0));
        let [x, dy, direction] = [rows * n; 3].map(|n| values(n, rng));
        let [gamma, beta, turn] = [n; 3].map(|n| values(n, rng));
        let (y, stats) = kernels::layer_norm(&x, &gamma, &beta, 1e-5);
        let tensor = |v: &[f64], rows: usize| Tensor::from_slice(v, (rows, v.len() / rows), &Device::Cpu).expect("a tensor");
        let flat = |v: &[f64]| Tensor::from_slice(v, v.len(), &Device::Cpu).expect("a tensor");
        let expected = candle_nn::ops::layer_norm_slow(&tensor(&x, rows), &flat(&gamma), &flat(&beta), 1e-5)
            .and_then(|y| y.flatten_all()?.to_vec1::<f64>())
            .expect("candle's normalisation");
        // candle takes eps in f32.
        assert_all_close(&y, &expected, 1e-6);

        let grad = kernels::layer_norm_backward(&x, &dy, &gamma, &stats);
        let loss = |t: f64| {
            let moved = |v: &[f64], d: &[f64]| v.iter().zip(d).map(|(v, d)| v + t * d).collect::<Vec<f64>>();
            let y = kernels::layer_norm(&moved(&x, &direction), &moved(&gamma, &turn), &moved(&beta, &turn), 1e-5).0;
            dot(&dy, &y)
        };
        let slope = dot(&grad.x, &direction) + dot(&grad.gamma, &turn) + dot(&grad.beta, &turn);
        assert_close((loss(1e-6) - loss(-1e-6)) / 2e-6, slope, 1e-3);
    }
}

/// Oracle: torch.nn.functional.max_pool2d([[1, 3, 3], [3, 0, nan], [2, 2, 2]], 2, 1, padding=1) and
/// its gradient. Ties go to the first value, NaN always wins, the padding never does.
#[test]
fn max_pooling_settles_ties_nan_and_padding_as_pytorch() {
    let x = [1.0, 3.0, 3.0, 3.0, 0.0, f64::NAN, 2.0, 2.0, 2.0].map(|v| v - 5.0);
    let s = PoolShape::new((1, 3, 3, 1), 2, 1, 1).expect("a shape");
    assert_eq!(s.out_dims(), [1, 4, 4, 1]);
    let (y, winners) = kernels::max_pool2d(&s, &x);
    let nan = f64::NAN;
    let expected =
        [1.0, 3.0, 3.0, 3.0, 3.0, 3.0, nan, nan, 3.0, 3.0, nan, nan, 2.0, 2.0, 2.0, 2.0].map(|v: f64| v - 5.0);
    assert!(y.iter().zip(&expected).all(|(y, e)| y == e || y.is_nan() && e.is_nan()), "{y:?}");
    let dx = kernels::max_pool2d_backward(&s, &winners, &[1.0; 16]);
    assert_eq!(dx, [1.0, 3.0, 1.0, 3.0, 0.0, 4.0, 2.0, 1.0, 1.0]);
}

#[test]
fn an_impossible_pooling_is_refused() {
    let error = PoolShape::new((1, 3, 3, 1), 4, 1, 0).expect_err("an error").to_string();
    insta::assert_snapshot!(error, @"impossible pooling: windows of 4, stride 1, padding 0 on images of 3 x 3");
}

#[test]
fn dropout_drops_its_share_and_keeps_the_mean() {
    let layout = ParamsBuilder::default().build();
    let (n, weights) = (100_000, Vec::<f32>::new());
    let x = Tensor::ones(n, candle_core::DType::F32, &Device::Cpu).expect("a tensor");
    let layout = std::sync::Arc::new(layout);
    let run = |mode, seed: Option<u64>| {
        let mut running = RunningStats::new(&layout);
        let pass = Pass::training(Weights::new(&layout, &weights), &mut running, mode);
        let mut pass = pass.with_dropout(seed.map(|seed| stream(seed, Stream::Dropout(0, 0))));
        let input = pass.input(x.clone()).expect("an input");
        dropout(&input, 0.3, &mut pass)?.value::<f32>()?.to_vec1::<f32>().map_err(crate::Error::from)
    };
    let values = run(BatchNormMode::Update, Some(1)).expect("values");
    let kept = values.iter().filter(|v| **v != 0.0).count() as f64 / n as f64;
    assert!((kept - 0.7).abs() < 0.01, "{kept}");
    assert!(values.iter().all(|v| *v == 0.0 || *v == (1.0 / 0.7) as f32));
    assert_eq!(values, run(BatchNormMode::Freeze, Some(1)).expect("values"));
    assert_ne!(values, run(BatchNormMode::Update, Some(2)).expect("values"));
    assert!(run(BatchNormMode::Eval, None).expect("values").iter().all(|v| *v == 1.0));
    insta::assert_snapshot!(run(BatchNormMode::Update, None).expect_err("an error"), @"dropout in training needs a batch with a random stream");
}

/// Dropout on part of a batch must drop the same values of its samples as on the whole batch.
#[test]
fn dropout_of_a_part_is_that_of_the_whole() {
    let layout = std::sync::Arc::new(ParamsBuilder::default().build());
    let weights = Vec::<f32>::new();
    let run = |rows: usize, samples: Option<&[usize]>| {
        let mut running = RunningStats::new(&layout);
        let pass = Pass::training(Weights::new(&layout, &weights), &mut running, BatchNormMode::Update);
        let stream = Some(stream(1, Stream::Dropout(0, 0)));
        let mut pass = pass.with_dropout(stream).with_samples(samples, 6);
        let x = pass
            .input(Tensor::ones((rows, 50), candle_core::DType::F32, &Device::Cpu).expect("a tensor"))
            .expect("an input");
        let y = dropout(&x, 0.5, &mut pass).and_then(|y| y.value::<f32>()).expect("values");
        y.to_vec2::<f32>().expect("rows")
    };
    let whole = run(6, None);
    assert_eq!(run(3, Some(&[0, 2, 5])), [0, 2, 5].map(|i: usize| whole[i].clone()));
}

#[test]
fn cross_entropy_matches_candle() {
    let rng = &mut stream(7, Stream::Mask(0));
    let logits = values(6 * 10, rng);
    let labels = [1u32, 4, 9, 0, 0, 7];
    let tensor = Tensor::from_slice(&logits, (6, 10), &Device::Cpu).expect("a tensor");
    let target = Tensor::from_slice(&labels, 6, &Device::Cpu).expect("a tensor");
    let expected = candle_nn::loss::cross_entropy(&tensor, &target).and_then(|l| l.to_scalar::<f64>()).expect("a loss");
    let found = kernels::cross_entropy(&logits, &labels, 10, 0.0);
    assert_close(found.iter().sum::<f64>() / 6.0, expected, 1e-12);
}
