//! Intervals over other seeds and other test samples.

use super::{Difference, Interval};

/// Interval of a mean difference of accuracies over other test samples of the same kind as well as other seeds. `pairs` states for
/// each seed whether the two predictions for each sample are right. `known` is the difference over seeds; the returned interval
/// contains its interval. `None` for fewer than two seeds or samples, or if seeds have different numbers of samples.
///
/// Seeds and samples are crossed random effects. The variance of the mean over n seeds and m samples is the variance over seeds, plus
/// the variance of the samples' means divided by m, minus the part of the latter that is noise of single predictions (Cameron, Gelbach
/// and Miller 2011; Owen 2007). Satterthwaite's degrees of freedom would grow with the square of the ratio of total variance to
/// variance over seeds. That is far too many if few seeds agree by chance, so here they grow with the ratio itself.
pub fn over_samples(pairs: &[[&[bool]; 2]], known: &Difference, level: f64) -> Option<Interval> {
    let (n, m) = (pairs.len(), pairs.first()?[0].len());
    if n < 2 || m < 2 || pairs.iter().flatten().any(|bits| bits.len() != m) {
        return None;
    }
    let difference = |a: bool, b: bool| i32::from(a) - i32::from(b);
    let mut by_sample = vec![0i32; m];
    let (mut by_seed, mut squares) = (Vec::with_capacity(n), 0i64);
    for [a, b] in pairs {
        let mut sum = 0;
        for ((a, b), total) in a.iter().zip(*b).zip(&mut by_sample) {
            let d = difference(*a, *b);
            (sum, *total, squares) = (sum + d, *total + d, squares + i64::from(d * d));
        }
        by_seed.push(f64::from(sum));
    }
    let (seeds, samples) = (n as f64, m as f64);
    let mean = by_seed.iter().sum::<f64>() / (seeds * samples);
    let of_seeds: f64 = by_seed.iter().map(|sum| samples * (sum / samples - mean).powi(2)).sum();
    let of_samples: f64 = by_sample.iter().map(|sum| seeds * (f64::from(*sum) / seeds - mean).powi(2)).sum();
    let rest = squares as f64 - seeds * samples * mean * mean - of_seeds - of_samples;
    let noise = rest / ((seeds - 1.0) * (samples - 1.0)) / (seeds * samples);
    let samples_variance = of_samples / (seeds * samples * (samples - 1.0)) - noise;
    let seeds_variance = known.standard_error.powi(2);
    let variance = seeds_variance + samples_variance.max(0.0);
    let freedom = known.freedom * (variance / seeds_variance);
    let freedom = if freedom.is_nan() { known.freedom } else { freedom.min(1e9) };
    Difference { standard_error: variance.sqrt(), freedom, ..*known }.interval(level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Stream, normal_pair, stream};
    use crate::stats::{LEVEL, moderated};

    /// Predictions depend on the seed and on the sample; the interval contains the difference over all seeds and samples.
    #[test]
    fn intervals_over_samples_hold_the_truth_as_often_as_they_say() {
        const SAMPLES: usize = 300;
        let mut rng = stream(1, Stream::Synthetic("samples"));
        let mut normal = || normal_pair(&mut rng).0;
        for seeds in [3, 8] {
            let (mut held, mut over_seeds) = (0, 0);
            let runs = 600;
            for _ in 0..runs {
                // Both settings are right on a sample if its ease, the seed's luck and chance together exceed 0. They differ by how
                // easy each sample is to them, equally on average.
                let ease: Vec<[f64; 2]> = (0..SAMPLES)
                    .map(|_| {
                        let shared = normal();
                        [shared + normal(), shared + normal()]
                    })
                    .collect();
                let bits: Vec<[Vec<bool>; 2]> = (0..seeds)
                    .map(|_| {
                        let luck = [0.1 * normal(), 0.1 * normal()];
                        [0, 1].map(|of| ease.iter().map(|ease| ease[of] + luck[of] + 0.5 * normal() > 0.0).collect())
                    })
                    .collect();
                let part = |bits: &[bool]| bits.iter().filter(|bit| **bit).count() as f64 / SAMPLES as f64;
                let differences = (0..).zip(&bits).map(|(seed, [a, b])| (seed, part(a) - part(b))).collect();
                let known = moderated(&[differences], 1.0 / SAMPLES as f64)[0].expect("a difference");
                let pairs: Vec<[&[bool]; 2]> = bits.iter().map(|[a, b]| [a.as_slice(), b.as_slice()]).collect();
                let interval = over_samples(&pairs, &known, LEVEL).expect("an interval");
                held += usize::from(interval.contains(0.0));
                over_seeds += usize::from(known.interval(LEVEL).is_some_and(|i| i.contains(0.0)));
            }
            let [held, over_seeds] = [held, over_seeds].map(|n| n as f64 / runs as f64);
            println!("{seeds} seeds: {held:.3} over samples, {over_seeds:.3} over seeds alone");
            assert!((held - LEVEL).abs() < 0.025 && over_seeds < held - 0.02, "{seeds} seeds: {held} {over_seeds}");
        }
    }

    /// If samples differ by chance alone, the interval is hardly wider than the one over seeds.
    #[test]
    fn chance_in_samples_is_not_counted_twice() {
        let mut rng = stream(2, Stream::Synthetic("samples"));
        let bits: Vec<[Vec<bool>; 2]> =
            (0..10).map(|_| [0, 1].map(|_| (0..2000).map(|_| normal_pair(&mut rng).0 > 0.0).collect())).collect();
        let known = Difference { mean: 0.0, standard_error: 0.005, freedom: 9.0 };
        let pairs: Vec<[&[bool]; 2]> = bits.iter().map(|[a, b]| [a.as_slice(), b.as_slice()]).collect();
        let [wide, narrow] =
            [over_samples(&pairs, &known, LEVEL), known.interval(LEVEL)].map(|i| i.expect("an interval"));
        assert!(wide.high >= narrow.high && wide.high < 1.05 * narrow.high, "{wide:?} {narrow:?}");
        assert_eq!(over_samples(&pairs[..1], &known, LEVEL), None);
    }
}
