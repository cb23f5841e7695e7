//! Tests of instruction sets, which callers cannot choose. Other convolution tests compare with
//! candle.

use pulp::Arch;

use super::*;
use crate::simd::FORCED;

/// Pseudo-random values between -1 and 1.
fn values(n: usize, seed: u32) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1u32 << 23) - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Products of a convolution: y, dX and dW.
fn products<T: Scalar>(s: &ConvShape, [x, w, dy]: [&[T]; 3]) -> [Vec<T>; 3] {
    let (x, dy, flops) = (Source::Plain(x), Source::Plain(dy), FlopCount::default());
    let mut dw = vec![T::zero(); w.len()];
    let wanted = InputGrad { weight: w, add: None, measure: Measure::Nothing };
    let weight = WeightGrad { x: &x, dw: &mut dw, live: None };
    let (dx, _) = conv2d_backward(s, &dy, Some(weight), Some(wanted), &flops).expect("the input's gradient");
    [conv2d(s, &x, w, false, &flops).0, dx, dw]
}

fn assert_rounded(found: &[Vec<f32>; 3], expected: &[Vec<f64>; 3]) {
    for (found, expected) in found.iter().zip(expected) {
        let scale = expected.iter().fold(1f64, |m, e| m.max(e.abs()));
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-5 * scale, "{found} against {expected}");
        }
    }
}

/// Checks that every instruction set gives correct sums, and that those with fused multiply-adds
/// agree bit for bit: the summation order does not depend on the vector width.
#[test]
fn convolution_is_right_on_cpus_with_less() {
    let with = |arch: Arch, s: &ConvShape, operands: [&[f32]; 3]| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).start_handler(move |_| FORCED.set(Some(arch)));
        pool.build().expect("a pool").install(|| products(s, operands))
    };
    // One strided and one Winograd convolution, with channel counts that are no multiple of any
    // vector width.
    let strided =
        ConvShape { batch: 37, c_in: 18, height: 9, width: 7, c_out: 35, kernel: 3, stride: 2, padding: 1, groups: 1 };
    for s in [strided, ConvShape { stride: 1, ..strided }] {
        let y = s.batch * s.out_height() * s.out_width() * s.c_out;
        let operands = [s.batch * s.c_in * s.height * s.width, s.weights(), y].map(|n| values(n, n as u32));
        let rounded = operands.each_ref().map(|values| values.iter().map(|v| *v as f32).collect::<Vec<f32>>());
        let rounded = rounded.each_ref().map(Vec::as_slice);
        let expected = products(&s, operands.each_ref().map(Vec::as_slice));
        assert_rounded(&with(Arch::Scalar, &s, rounded), &expected);
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = pulp::x86::V3::try_new() {
            assert_eq!(with(Arch::V3(avx2), &s, rounded), with(Arch::new(), &s, rounded));
        }
    }
}

/// Products of a convolution by its definition, of stride 1 and padding 1.
fn by_definition(s: &ConvShape, [x, w, dy]: [&[f64]; 3]) -> [Vec<f64>; 3] {
    let (height, width) = (s.height, s.width);
    let [mut y, mut dx, mut dw] = [dy.len(), x.len(), w.len()].map(|n| vec![0.0; n]);
    let pixels = (0..s.batch).flat_map(|b| (0..height).flat_map(move |i| (0..width).map(move |j| (b, i, j))));
    for (b, i, j) in pixels {
        for (ky, kx) in (0..9).map(|tap| (tap / 3, tap % 3)) {
            let (from, to) = ((i + ky).wrapping_sub(1), (j + kx).wrapping_sub(1));
            if from >= height || to >= width {
                continue;
            }
            let (out, input) = (((b * height + i) * width + j) * s.c_out, ((b * height + from) * width + to) * s.c_in);
            for (co, ci) in (0..s.c_out).flat_map(|co| (0..s.c_in).map(move |ci| (co, ci))) {
                let weight = (co * s.c_in + ci) * 9 + 3 * ky + kx;
                y[out + co] += w[weight] * x[input + ci];
                dx[input + ci] += w[weight] * dy[out + co];
                dw[weight] += dy[out + co] * x[input + ci];
            }
        }
    }
    [y, dx, dw]
}

/// Checks layers whose weight gradient is computed in parts (one chunk of images; several; one part) against the definition, on one
/// thread and on three: all of it, that of single channels, and what is added to the input gradient and measured of it.
#[test]
fn large_layers_are_right() {
    for (batch, c_in, c_out) in [(5, 130, 141), (37, 132, 260), (33, 512, 64), (3, 64, 520)] {
        let s = ConvShape { batch, c_in, height: 3, width: 4, c_out, kernel: 3, stride: 1, padding: 1, groups: 1 };
        let pixels = s.batch * s.height * s.width;
        let exact = [pixels * s.c_in, s.weights(), pixels * s.c_out].map(|n| values(n, n as u32));
        let expected = by_definition(&s, exact.each_ref().map(Vec::as_slice));
        let rounded = exact.each_ref().map(|values| values.iter().map(|v| *v as f32).collect::<Vec<f32>>());
        let [one, three] = [1, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| products(&s, rounded.each_ref().map(Vec::as_slice)))
        });
        assert_rounded(&one, &expected);
        assert_eq!(one, three, "bits on one thread and on three");

        let [x, w, dy] = rounded.each_ref().map(Vec::as_slice);
        let live = [0, 7, 40, c_out - 2, c_out - 1];
        let mut of_live = vec![0.0; live.len() * 9 * s.c_in];
        let (x, dy) = (Source::Plain(x), Source::Plain(dy));
        let weight = WeightGrad { x: &x, dw: &mut of_live, live: Some(&live) };
        assert!(conv2d_backward(&s, &dy, Some(weight), None, &FlopCount::default()).is_none());
        for (co, found_live) in live.iter().zip(of_live.chunks_exact(9 * s.c_in)) {
            assert_eq!(found_live, &one[2][co * 9 * s.c_in..][..9 * s.c_in], "channel {co}");
        }

        let mut dw = vec![0.0; w.len()];
        let wanted = InputGrad { weight: w, add: Some(&rounded[0]), measure: Measure::Values };
        let weight = WeightGrad { x: &x, dw: &mut dw, live: None };
        let (added, moments) =
            conv2d_backward(&s, &dy, Some(weight), Some(wanted), &FlopCount::default()).expect("the input's gradient");
        let sums: Vec<f32> = one[1].iter().zip(&rounded[0]).map(|(dx, add)| dx + add).collect();
        let near = |found: f64, expected: f64, scale: f64| assert!((found - expected).abs() < 1e-4 * scale.max(1.0));
        added.iter().zip(&sums).for_each(|(found, expected)| near((*found).into(), (*expected).into(), 1.0));
        assert_eq!(dw, one[2]);
        let moments = moments.expect("moments");
        for (channel, sum) in moments.plain.iter().enumerate() {
            let values = || added.iter().skip(channel).step_by(s.c_in).map(|value| f64::from(*value));
            near(*sum, values().sum(), values().map(f64::abs).sum());
            near(moments.product[channel], values().map(|value| value * value).sum(), 1.0);
        }
    }
}
