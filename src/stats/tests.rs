//! Tests against SciPy 1.17, and properties that hold for any numbers.

use proptest::prelude::*;

use super::*;
use crate::random::{Stream, normal_pair, stream};

#[test]
fn summary_is_the_textbook_one() {
    // numpy: mean([1,2,4]) = 2.3333, std([1,2,4], ddof=1) = 1.5275
    let s = summary(&[1.0, 2.0, 4.0]).expect("a sample");
    assert!((s.mean - 2.333_333).abs() < 1e-6 && (s.sd.expect("a spread") - 1.527_525).abs() < 1e-6);
    assert_eq!(summary(&[3.0]), Some(Summary { n: 1, mean: 3.0, sd: None }));
    assert_eq!(summary(&[]), None);
}

#[test]
fn intervals_are_students() {
    // scipy: t.ppf(.975, 2) * std([1, 2, 4], ddof=1) / sqrt(3) = 3.794583
    let half = summary(&[1.0, 2.0, 4.0]).and_then(|s| s.half_interval(0.95)).expect("an interval");
    assert!((half - 3.794_583).abs() < 1e-5, "{half}");
    assert_eq!(summary(&[3.0]).and_then(|s| s.half_interval(0.95)), None);
}

#[test]
fn a_single_pair_tells_only_its_difference() {
    let one = Comparison::new(&vec![(1, 0.5)], None).expect("a pair");
    assert_eq!((one.n, one.mean, one.sd, one.interval, one.p, one.p_sign_flip), (1, 0.5, None, None, None, None));
    assert_eq!(Comparison::new(&Vec::new(), None), None);
}

/// Accuracies are whole multiples of one sample's share, so two differences may be equal by chance.
#[test]
fn chance_ties_are_not_certainty() {
    let tie = |step| moderated(&[vec![(1, 0.01), (2, 0.01)]], step)[0].expect("pairs");
    assert!(tie(0.0).p().is_some_and(|p| p < 1e-6));
    assert!(tie(0.005).p().is_some_and(|p| p > 0.2));
}

#[test]
fn the_front_is_what_nothing_dominates() {
    let front =
        pareto_front(&[(1.0, 0.5), (2.0, 0.9), (2.0, 0.7), (3.0, 0.8), (4.0, 0.95), (1.0, 0.5), (0.5, f64::NAN)]);
    assert_eq!(front, [true, true, false, false, true, true, false]);
    assert!(pareto_front(&[]).is_empty());
}

#[test]
fn median_of_an_even_sample_is_between() {
    assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(Median { n: 4, median: 2.5, min: 1.0, max: 4.0 }));
}

const A: [f64; 5] = [0.5125, 0.5031, 0.5219, 0.5075, 0.5150];
const B: [f64; 5] = [0.5003, 0.5041, 0.5102, 0.4987, 0.5066];
const SMALL: [f64; 5] = [-0.001, 0.002, -0.0005, 0.001, 0.0005];

fn differences() -> Vec<f64> {
    A.iter().zip(B).map(|(a, b)| a - b).collect()
}

fn paired(differences: &[f64]) -> Difference {
    summary(differences).and_then(|s| Difference::paired(&s)).expect("a difference")
}

fn near(found: Option<f64>, expected: f64) {
    assert!(found.is_some_and(|found| (found - expected).abs() < 1e-9), "{found:?} {expected}");
}

fn ends(found: Option<Interval>, [low, high]: [f64; 2], tolerance: f64) {
    let found = found.expect("an interval");
    assert!((found.low - low).abs() < tolerance && (found.high - high).abs() < tolerance, "{found:?} [{low}, {high}]");
}

#[test]
fn tests_of_differences_are_scipys() {
    // permutation_test(permutation_type="samples", n_resamples=inf)
    near(sign_flip(&differences()), 0.125);
    near(sign_flip(&[0.3, -0.1, 0.2, 0.25]), 0.25);
    near(sign_flip(&[0.5; 5]), 0.0625);
    let (x, y) = ([1.0, 2.5, 3.0, 4.2], [2.0, 5.5, 6.0, 7.1, 8.0]);
    // ttest_ind(equal_var=False), ttest_rel
    let welch = Difference::welch(&x, &y).expect("a difference");
    near(Some(welch.mean), -3.045);
    near(Some(welch.freedom), 6.518_928_357_464);
    near(welch.p(), 0.043_882_731_363);
    ends(welch.interval(0.95), [-5.977_456_135_698, -0.112_543_864_302], 1e-9);
    let paired = paired(&differences());
    near(paired.p(), 0.027_988_475_773);
    ends(paired.interval(0.95), [0.001_416_728_593, 0.014_623_271_407], 1e-9);
    for (found, expected) in holm(&[0.01, 0.04, 0.03, 0.005, 0.6]).into_iter().zip([0.04, 0.09, 0.09, 0.025, 0.6]) {
        near(Some(found), expected);
    }
}

/// With too many sign assignments to enumerate, random ones must agree with the t-test on normal
/// values.
#[test]
fn large_samples_are_drawn() {
    let mut rng = stream(1, Stream::Synthetic("values"));
    let values: Vec<f64> = (0..40).map(|_| 0.3 + normal_pair(&mut rng).0).collect();
    let [p, expected] = [sign_flip(&values), paired(&values).p()].map(|p| p.expect("p"));
    assert!((p - expected).abs() < 0.02, "{p} {expected}");
}

/// A row's evidence for "the difference exceeds minus the margin".
fn no_loss(difference: &Difference, margin: f64) -> Evidence {
    Evidence { difference: Difference { mean: difference.mean + margin, ..*difference }, look: 0, fails: false }
}

fn one(difference: &Difference, margin: f64, alpha: f64) -> Finding {
    decide(&[Some(no_loss(difference, margin))], &Looks::once(), alpha, &[Finding::Undecided])[0]
}

#[test]
fn claims_are_tested_as_by_scipy() {
    // ttest_1samp(d, -m, alternative="greater")
    let small = paired(&SMALL);
    for (margin, p) in [(0.003, 0.001_558_421_380), (0.001, 0.029_324_531_555), (0.0001, 0.200_998_147_091)] {
        near(small.p_larger_than(-margin), p);
        let expected = |alpha: f64| if p < alpha { Finding::Supported } else { Finding::Undecided };
        for alpha in [0.001, 0.01, 0.05] {
            assert_eq!(one(&small, margin, alpha), expected(alpha), "{margin} {alpha}");
        }
    }
    assert_eq!(one(&paired(&SMALL.map(|d| d - 0.01)), 0.003, 0.05), Finding::Refuted);
    assert_eq!(one(&paired(&SMALL.map(|d| d + 0.01)), 0.003, 0.05), Finding::Supported);
}

/// Holm over rows, in both directions; a row that failed more often is never supported; findings stand.
#[test]
fn claims_of_several_rows_are_corrected() {
    let row = |mean: f64| {
        Some(Evidence { difference: Difference { mean, standard_error: 1.0, freedom: 1e6 }, look: 0, fails: false })
    };
    let open = [Finding::Undecided; 3];
    let found = |rows: &[Option<Evidence>]| decide(rows, &Looks::once(), 0.05, &open[..rows.len()]);
    // One-sided p .0367 and .0228: neither is below .025 by itself, both are once the first is.
    assert_eq!(found(&[row(1.79), row(1.79)]), [Finding::Undecided; 2]);
    assert_eq!(found(&[row(1.79), row(2.0)]), [Finding::Supported; 2]);
    assert_eq!(found(&[row(3.0), row(-3.0), None]), [Finding::Supported, Finding::Refuted, Finding::Undecided]);
    let fails = Some(Evidence { fails: true, ..row(9.0).expect("evidence") });
    assert_eq!(found(&[fails]), [Finding::Undecided]);
    let stands = decide(&[row(-9.0)], &Looks::once(), 0.05, &[Finding::Supported]);
    assert_eq!(stands, [Finding::Supported]);
}

#[test]
fn seeds_that_would_decide_are_scipys() {
    // The smallest n with nct.sf(t.ppf(.95, n - 1), n - 1, margin sqrt(n) / sd) >= .8.
    for (sd, margin, seeds) in [(0.003, 0.003, 8), (0.005, 0.003, 19), (0.0038, 0.01, 3), (0.01, 0.003, 71)] {
        assert_eq!(seeds_for_no_loss(sd, margin, 0.05, 0.8), Some(seeds), "{sd}");
    }
    assert_eq!(seeds_for_no_loss(1.0, 1e-4, 0.05, 0.8), None);
    assert_eq!(seeds_for_no_loss(1.0, 0.0, 0.05, 0.8), None);
    assert_eq!(seeds_for_no_loss(0.0, 0.003, 0.05, 0.8), Some(2));
}

/// Without a difference, or with one of exactly the margin, tests must have the error rate of their
/// level. For a difference of two standard deviations, five seeds must have the power stated in
/// docs/statistics.md.
#[test]
fn error_rates_are_the_stated_ones() {
    const RUNS: usize = 20_000;
    let mut rng = stream(2, Stream::Synthetic("errors"));
    let mut rate = |true_difference: f64, decides: &dyn Fn(&Difference) -> bool| {
        let hits = (0..RUNS).filter(|_| {
            let values: Vec<f64> = (0..5).map(|_| true_difference + normal_pair(&mut rng).0).collect();
            decides(&paired(&values))
        });
        hits.count() as f64 / RUNS as f64
    };
    let significant = |d: &Difference| d.p().is_some_and(|p| p <= 0.05);
    let supported = |d: &Difference| one(d, 1.0, 0.05) == Finding::Supported;
    let refuted = |d: &Difference| one(d, 1.0, 0.05) == Finding::Refuted;
    for (found, stated) in [
        (rate(0.0, &significant), 0.05),
        (rate(-1.0, &supported), 0.05),
        (rate(-1.0, &refuted), 0.05),
        (rate(2.0, &significant), 0.91),
        (rate(0.0, &supported), 0.58),
    ] {
        assert!((found - stated).abs() < 0.01, "{found} {stated}");
    }
}

proptest! {
    #[test]
    fn tests_do_not_depend_on_order_or_scale(values in prop::collection::vec(-10.0..10.0f64, 2..6), scale in 0.1..10.0f64) {
        let other: Vec<f64> = values.iter().rev().map(|v| v * scale).collect();
        prop_assume!(summary(&values).and_then(|s| s.sd).is_some_and(|sd| sd > 1e-6));
        let close = |a: Option<f64>, b: Option<f64>| (a.expect("p") - b.expect("p")).abs() < 1e-9;
        prop_assert!(close(sign_flip(&values), sign_flip(&other)));
        prop_assert!(close(paired(&values).p(), paired(&other).p()));
    }

    #[test]
    fn the_front_is_the_definition(points in prop::collection::vec((0u8..5, 0u8..5), 0..12)) {
        let points: Vec<(f64, f64)> = points.iter().map(|(a, b)| (f64::from(*a), f64::from(*b))).collect();
        let dominated = |(cost, worth): (f64, f64)| points.iter().any(|(c, w)| *c <= cost && *w >= worth && (*c, *w) != (cost, worth));
        let expected: Vec<bool> = points.iter().map(|p| !dominated(*p)).collect();
        prop_assert_eq!(pareto_front(&points), expected);
    }

    /// A wider interval must contain a narrower one, and p must fall below 1 - level exactly if the
    /// interval excludes 0.
    #[test]
    fn intervals_and_tests_agree(values in prop::collection::vec(-1.0..1.5f64, 2..9), level in 0.5..0.99f64) {
        prop_assume!(summary(&values).and_then(|s| s.sd).is_some_and(|sd| sd > 1e-6));
        let difference = paired(&values);
        let [narrow, wide] = [level, level + 0.005].map(|l| difference.interval(l).expect("an interval"));
        prop_assert!(wide.low <= narrow.low && narrow.high <= wide.high);
        let p = difference.p().expect("p");
        prop_assume!((p - (1.0 - level)).abs() > 1e-9);
        prop_assert_eq!(p > 1.0 - level, narrow.contains(0.0));
    }

    #[test]
    fn corrected_p_only_grow_and_keep_their_order(p in prop::collection::vec(0.0..1.0f64, 1..20)) {
        let corrected = holm(&p);
        prop_assert!(p.iter().zip(&corrected).all(|(p, c)| p <= c && *c <= 1.0));
        for i in 0..p.len() {
            for j in 0..p.len() {
                prop_assert!(p[i] > p[j] || corrected[i] <= corrected[j]);
            }
        }
    }
}
