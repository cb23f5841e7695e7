//! Tests of convolutions and of their sources.

use candle_core::{Device, Tensor};
use proptest::prelude::*;
use sharpbench_kernels::{
    self as kernels, ConvShape, FlopCount, InputGrad, Line, Measure, Moments, Source, WeightGrad,
};

use super::{
    assert_all_close, assert_close, assert_threads_do_not_matter, channels_last_values, dot, images, single, values,
};
use crate::nn::scalar::Scalar;
use crate::random::{Stream, stream, unit};

prop_compose! {
    /// Any kernel, stride, padding and groups; half the cases are 3x3 kernels for Winograd's
    /// filtering.
    fn conv_shapes()(batch in 1usize..20, c_in in 1usize..36, height in 1usize..20, width in 1usize..20,
                     c_out in 1usize..36, geometry in prop_oneof![
                         (1usize..6, 1usize..4, 0usize..4, 1usize..4), Just((3, 1, 1, 1))]) -> ConvShape {
        let (kernel, stride, padding, groups) = geometry;
        let least = kernel.saturating_sub(2 * padding);
        let (height, width) = (height.max(least), width.max(least));
        let (c_in, c_out) = (c_in * groups, c_out * groups);
        ConvShape { batch, c_in, height, width, c_out, kernel, stride, padding, groups }
    }
}

/// Random x, w and dy of a convolution.
fn operands(s: &ConvShape, seed: u64) -> [Vec<f64>; 3] {
    let rng = &mut stream(seed, Stream::Mask(0));
    [
        s.batch * s.c_in * s.height * s.width,
        s.c_out * s.c_in / s.groups * s.kernel * s.kernel,
        s.batch * s.c_out * s.out_height() * s.out_width(),
    ]
    .map(|n| values(n, rng))
}

/// Products of a convolution: y, dX and dW.
fn products<T: Scalar>(s: &ConvShape, x: &[T], w: &[T], dy: &[T]) -> [Vec<T>; 3] {
    let (x, dy, flops) = (Source::Plain(x), Source::Plain(dy), FlopCount::default());
    let mut dw = vec![T::zero(); w.len()];
    let wanted = InputGrad { weight: w, add: None, measure: Measure::Nothing };
    let weight = WeightGrad { x: &x, dw: &mut dw, live: None };
    let (dx, _) = kernels::conv2d_backward(s, &dy, Some(weight), Some(wanted), &flops).expect("the input's gradient");
    [kernels::conv2d(s, &x, w, false, &flops).0, dx, dw]
}

proptest! {
    /// Compares forward with candle's conv2d and checks the gradients by the adjoint identities of
    /// a bilinear map:
    /// <dy, conv(x, w)> = <dX(dy, w), x> = <dW(x, dy), w> for any x, w, dy.
    #[test]
    fn convolution_matches_candle_and_its_adjoints(s in conv_shapes(), seed in 0u64..1000) {
        let [x, w, dy] = operands(&s, seed);
        let [y, dx, dw] = products(&s, &x, &w, &dy);
        let weight = Tensor::from_slice(&w, (s.c_out, s.c_in / s.groups, s.kernel, s.kernel), &Device::Cpu).expect("a tensor");
        let expected = images(&x, (s.batch, s.height, s.width, s.c_in))
            .conv2d(&weight, s.padding, s.stride, 1, s.groups)
            .expect("candle's convolution");
        prop_assert_eq!(expected.dims(), [s.batch, s.c_out, s.out_height(), s.out_width()]);
        assert_all_close(&y, &channels_last_values(&expected), 1e-12);
        let whole = dot(&dy, &y);
        assert_close(dot(&dx, &x), whole, 1e-11);
        assert_close(dot(&dw, &w), whole, 1e-11);
    }

    /// Compares f32 with f64, which uses other register tiles and is checked above.
    #[test]
    fn convolution_in_f32_is_that_in_f64_rounded(s in conv_shapes(), seed in 0u64..1000) {
        let [x, w, dy] = operands(&s, seed);
        assert_rounded(&products(&s, &single(&x), &single(&w), &single(&dy)), &products(&s, &x, &w, &dy));
    }

    /// A convolution with a normalised input, a gradient that passes through a normalisation, and a
    /// second reader of the input must equal the plain convolution of the materialised values.
    #[test]
    fn sources_are_what_they_stand_for(s in conv_shapes(), seed in 0u64..1000, relu: bool) {
        let [x, w, dy] = operands(&s, seed);
        let (rng, flops) = (&mut stream(seed, Stream::Mask(1)), FlopCount::default());
        let [scale, shift] = [s.c_in; 2].map(|n| values(n, rng));
        let [a, b, c, out_scale, out_shift] = [s.c_out; 5].map(|n| values(n, rng));
        let (y, other) = (values(dy.len(), rng), values(x.len(), rng));
        let line = Line { scale: &scale, shift: &shift };
        let gate = relu.then_some(Line { scale: &out_scale, shift: &out_shift });
        let seen = Source::Normalised { x: &x, line, relu };
        let grad = Source::Gradient { dy: &dy, x: &y, gate, terms: [&a, &b, &c] };

        let x_plain: Vec<f64> = x.iter().enumerate().map(|(i, x)| {
            let y = scale[i % s.c_in] * x + shift[i % s.c_in];
            if relu { y.max(0.0) } else { y }
        }).collect();
        let dy_plain: Vec<f64> = dy.iter().zip(&y).enumerate().map(|(i, (dy, y))| {
            let c_out = i % s.c_out;
            let stopped = relu && out_scale[c_out] * y + out_shift[c_out] <= 0.0;
            a[c_out] * if stopped { 0.0 } else { *dy } + b[c_out] * y + c[c_out]
        }).collect();
        assert_all_close(&kernels::values(&seen, s.c_in), &x_plain, 1e-14);
        assert_all_close(&kernels::values(&grad, s.c_out), &dy_plain, 1e-14);

        let [y_expected, mut dx_expected, dw_expected] = products(&s, &x_plain, &w, &dy_plain);
        dx_expected.iter_mut().zip(&other).for_each(|(dx, other)| *dx += other);
        let (y, moments) = kernels::conv2d(&s, &seen, &w, true, &flops);
        assert_all_close(&y, &y_expected, 1e-12);
        assert_moments(&moments.expect("moments"), &kernels::moments(&y, s.c_out));

        let mut dw = vec![0.0; w.len()];
        let gate = relu.then_some(line);
        let wanted = InputGrad { weight: &w, add: Some(&other), measure: Measure::Gradient { x: &x, gate } };
        let weight = WeightGrad { x: &seen, dw: &mut dw, live: None };
        let (dx, moments) = kernels::conv2d_backward(&s, &grad, Some(weight), Some(wanted), &flops).expect("a gradient");
        assert_all_close(&dx, &dx_expected, 1e-11);
        assert_all_close(&dw, &dw_expected, 1e-11);
        let expected: Vec<f64> =
            dx.iter().zip(&x_plain).map(|(dx, seen)| if relu && *seen <= 0.0 { 0.0 } else { *dx }).collect();
        assert_moments(&moments.expect("moments"), &kernels::gradient_moments(&expected, &x, s.c_in, None));
        // Each gradient computed alone is bit-identical to the one computed with the other.
        let mut alone = vec![0.0; w.len()];
        let weight = WeightGrad { x: &seen, dw: &mut alone, live: None };
        prop_assert!(kernels::conv2d_backward(&s, &grad, Some(weight), None, &flops).is_none());
        prop_assert_eq!(alone, dw);
        prop_assert_eq!(kernels::conv2d_backward(&s, &grad, None, Some(wanted), &flops).expect("a gradient").0, dx);
    }

    /// The weight gradient of selected output channels must equal that part of the full gradient,
    /// and the input gradient computed with it must have the same bits as always.
    #[test]
    fn some_output_channels_are_a_part_of_all(s in conv_shapes(), seed in 0u64..1000) {
        prop_assume!(s.groups == 1);
        let [x, w, dy] = operands(&s, seed);
        let [_, dx, whole] = products(&s, &x, &w, &dy);
        let (rng, flops) = (&mut stream(seed, Stream::Mask(1)), FlopCount::default());
        let mut live: Vec<usize> = (0..s.c_out).filter(|_| unit(rng) < 0.4).collect();
        if live.is_empty() {
            live.push(s.c_out - 1);
        }
        let channel = w.len() / s.c_out;
        let mut dw = vec![0.0; live.len() * channel];
        let weight = WeightGrad { x: &Source::Plain(&x), dw: &mut dw, live: Some(&live) };
        let wanted = InputGrad { weight: &w, add: None, measure: Measure::Nothing };
        let found = kernels::conv2d_backward(&s, &Source::Plain(&dy), Some(weight), Some(wanted), &flops).expect("a gradient");
        prop_assert_eq!(found.0, dx);
        for (c, dw) in live.iter().zip(dw.chunks_exact(channel)) {
            assert_all_close(dw, &whole[c * channel..][..channel], 1e-11);
        }
    }
}

fn assert_moments(found: &Moments, expected: &Moments) {
    assert_all_close(&found.plain, &expected.plain, 1e-11);
    assert_all_close(&found.product, &expected.product, 1e-11);
}

fn assert_rounded(found: &[Vec<f32>; 3], expected: &[Vec<f64>; 3]) {
    for (found, expected) in found.iter().zip(expected) {
        let scale = expected.iter().fold(1f64, |m, e| m.max(e.abs()));
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-5 * scale, "{found} against {expected}");
        }
    }
}

/// One strided and one Winograd convolution, with channel counts that are no multiple of any vector
/// width.
fn two_shapes() -> [ConvShape; 2] {
    let strided =
        ConvShape { batch: 37, c_in: 18, height: 9, width: 7, c_out: 35, kernel: 3, stride: 2, padding: 1, groups: 1 };
    [strided, ConvShape { stride: 1, ..strided }]
}

#[test]
fn convolution_in_f32_does_not_depend_on_threads() {
    for s in two_shapes() {
        let [x, w, dy] = operands(&s, 3).map(|v| single(&v));
        assert_threads_do_not_matter(|| products(&s, &x, &w, &dy));
    }
}
