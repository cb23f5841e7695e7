//! Conclusions about the claims of a report's suite. There are three arms: the placebo P (SGD), the active row R (SAM), and every
//! other row E.

use serde::Serialize;

use super::comparisons::differences;
use super::rows::Reference;
use crate::record::RunLooks;
use crate::stats::{BySeed, Difference, Evidence, Finding, Looks, Ratio, decide, moderated};
use crate::suite::Claims;

/// A conclusion about one row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Conclusion {
    /// The finding, corrected for the number of rows and looks.
    pub finding: Finding,
    /// One-sided p of the claim's test at the last look, without correction.
    pub p: Option<f64>,
    /// Number of seeds compared.
    pub n: usize,
    /// Number of seeds planned.
    pub planned: usize,
}

/// The conclusions about a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RowClaims {
    /// The row is more accurate than the placebo. For the active row this is the assay: without it there is no gain to keep.
    pub gain: Option<Conclusion>,
    /// The row loses less than the margin against the active row. Shown for other rows only if it is refuted for the placebo.
    pub no_loss: Option<Conclusion>,
    /// The row keeps at least the claimed share of the active row's gain.
    pub retention: Option<Conclusion>,
    /// The share that the row keeps; `None` unless the assay is supported.
    pub share: Option<Ratio>,
    /// Number of seeds at which "no loss" would be supported with probability .8 if there were no true difference.
    pub seeds_for_no_loss: Option<usize>,
}

/// Conclusions about all rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Concluded {
    /// Conclusions by row.
    pub(super) rows: Vec<RowClaims>,
    /// Finding on the active row's gain over the placebo.
    pub(super) assay: Option<Finding>,
    /// Rows that more seeds could decide, and the placebo and active row; these two alone while the assay is undecided.
    pub(super) open: Vec<usize>,
    /// Whether the last planned look is complete.
    pub(super) complete: bool,
}

/// The kinds of claims about rows.
const KINDS: usize = 3;
const GAIN: usize = 0;
const NO_LOSS: usize = 1;
const RETENTION: usize = 2;

/// Evidence about a row at the last look at which it was ready.
#[derive(Clone, Copy, Default)]
struct Found {
    /// By kind: the quantity minus its bound.
    evidence: [Option<Difference>; KINDS],
    /// Number of seeds compared.
    n: usize,
    /// The active row's gain over the placebo at that look, over all of their seeds, and the number of these seeds.
    gain: Option<(Difference, usize)>,
}

/// When claims are tested.
pub(super) struct Schedule {
    looks: Looks,
    /// Numbers of seeds at the looks planned so far; `None` if claims are tested once, on the seeds present.
    seeds: Option<Vec<usize>>,
}

impl Schedule {
    pub(super) fn new(looks: Option<&RunLooks>) -> Self {
        match looks.filter(|looks| !looks.seeds.is_empty()) {
            None => Self { looks: Looks::once(), seeds: None },
            Some(RunLooks { seeds, planned }) => {
                Self { looks: Looks::at(seeds), seeds: Some(seeds[..(*planned).min(seeds.len())].to_vec()) }
            }
        }
    }
}

/// Tests the claims, look after look.
pub(super) fn conclude(
    rows: &[Reference],
    arms: [Option<usize>; 2],
    claims: &Claims,
    Schedule { looks, seeds: planned }: &Schedule,
) -> Option<Concluded> {
    let [Some(placebo), Some(active)] = arms else { return None };
    let others: Vec<usize> = (0..rows.len()).filter(|row| ![placebo, active].contains(row)).collect();
    let mut assay = Finding::Undecided;
    let mut control = Finding::Undecided;
    let mut findings = [GAIN, NO_LOSS, RETENTION].map(|_| vec![Finding::Undecided; others.len()]);
    let mut latest: Option<Vec<Found>> = None;
    let mut complete = true;
    for (look, seeds) in planned.as_deref().unwrap_or(&[usize::MAX]).iter().enumerate() {
        let ready = |row: &usize| planned.is_none() || rows[*row].has_ended(*seeds);
        complete = others.iter().chain(&[placebo, active]).all(|row| rows[*row].planned.len() < *seeds || ready(row));
        if !ready(&placebo) || !ready(&active) {
            complete = false;
            break;
        }
        let found = at_look(rows, [placebo, active], claims, *seeds, &|row| ready(&row));
        let failures = |row: usize| rows[row].failures(*seeds);
        let evidence = |kind: usize, row: usize| {
            let fails = failures(row) > failures(if kind == GAIN { placebo } else { active });
            Some(Evidence { difference: found[row].evidence[kind]?, look, fails })
        };
        let one = |kind: usize, row: usize, before: Finding| {
            decide(&[evidence(kind, row)], looks, claims.alpha, &[before])[0]
        };
        assay = one(GAIN, active, assay);
        control = one(NO_LOSS, placebo, control);
        for kind in [GAIN, NO_LOSS, RETENTION] {
            let all: Vec<Option<Evidence>> = others.iter().map(|row| evidence(kind, *row)).collect();
            findings[kind] = decide(&all, looks, claims.alpha, &findings[kind]);
        }
        let latest = latest.get_or_insert_with(|| vec![Found::default(); rows.len()]);
        latest.iter_mut().zip(found).filter(|(_, found)| found.n > 0).for_each(|(latest, found)| *latest = found);
    }
    let latest = latest?;
    let shown = assay == Finding::Supported;
    let conclusion = |kind: usize, row: usize, finding: Finding| {
        let difference = latest[row].evidence[kind].as_ref()?;
        let (p, n, planned) = (difference.p_larger_than(0.0), latest[row].n, rows[row].planned.len());
        Some(Conclusion { finding, p, n, planned })
    };
    let if_shown = |finding: Finding, presumed: bool| if presumed { finding } else { Finding::NotShown };
    let mut concluded = vec![RowClaims::default(); rows.len()];
    concluded[active].gain = conclusion(GAIN, active, assay);
    concluded[placebo].no_loss = conclusion(NO_LOSS, placebo, control);
    // Once there is a gain, the placebo keeps none of it.
    let nothing = if shown { Finding::Refuted } else { Finding::NotShown };
    concluded[placebo].retention = conclusion(RETENTION, placebo, nothing);
    for (index, row) in others.iter().enumerate() {
        let claims_of = &mut concluded[*row];
        claims_of.gain = conclusion(GAIN, *row, findings[GAIN][index]);
        let no_loss = if_shown(findings[NO_LOSS][index], shown && control == Finding::Refuted);
        claims_of.no_loss = conclusion(NO_LOSS, *row, no_loss);
        claims_of.retention = conclusion(RETENTION, *row, if_shown(findings[RETENTION][index], shown));
        claims_of.share = share(&latest[*row], claims).filter(|_| shown);
    }
    let is_open = |index: &usize| !(findings[NO_LOSS][*index].is_decided() && findings[RETENTION][*index].is_decided());
    let undecided = (0..others.len()).filter(is_open).map(|index| others[index]).collect::<Vec<usize>>();
    let open = match assay {
        Finding::Undecided | Finding::NotShown => vec![placebo, active],
        Finding::Supported if !undecided.is_empty() => {
            let mut open = [vec![placebo, active], undecided].concat();
            open.sort_unstable();
            open
        }
        Finding::Supported | Finding::Refuted => Vec::new(),
    };
    Some(Concluded { rows: concluded, assay: Some(assay), open, complete })
}

/// The evidence about the rows that are ready, over their first `seeds` seeds.
fn at_look(
    rows: &[Reference],
    [placebo, active]: [usize; 2],
    claims: &Claims,
    seeds: usize,
    ready: &dyn Fn(usize) -> bool,
) -> Vec<Found> {
    let accuracies: Vec<BySeed> = (0..rows.len())
        .map(|row| if ready(row) { rows[row].accuracies_of(seeds) } else { BySeed::new() })
        .collect();
    let to = |row: usize, other: usize| {
        if row == other { BySeed::new() } else { differences(&accuracies[row], &accuracies[other]) }
    };
    let gains: Vec<BySeed> = (0..rows.len()).map(|row| to(row, placebo)).collect();
    let losses: Vec<BySeed> = (0..rows.len()).map(|row| to(row, active)).collect();
    // E - f R - (1 - f) P = (E - P) - f (R - P).
    let part: BySeed = gains[active].iter().map(|(seed, gain)| (*seed, claims.retain * gain)).collect();
    let kept = |row: usize| if row == active { BySeed::new() } else { differences(&gains[row], &part) };
    let kept: Vec<BySeed> = (0..rows.len()).map(kept).collect();
    let step = rows.iter().map(|row| row.setting.accuracy_step()).fold(0.0, f64::max);
    let margin = |d: Option<Difference>| d.map(|d| Difference { mean: d.mean + claims.margin / 100.0, ..d });
    let gains = moderated(&gains, step);
    let gain = gains[active];
    let mut kept = moderated(&kept, step);
    // For the placebo it is - f (R - P), which spreads less and must not be pooled with the others.
    kept[placebo] = gain.map(|gain| Difference {
        mean: -claims.retain * gain.mean,
        standard_error: claims.retain * gain.standard_error,
        ..gain
    });
    let seeds_of_gain = differences(&accuracies[active], &accuracies[placebo]).len();
    let losses_known: Vec<Option<Difference>> = moderated(&losses, step).into_iter().map(margin).collect();
    let found = |row: usize| Found {
        evidence: [gains[row], losses_known[row], kept[row]],
        n: if row == active { seeds_of_gain } else { losses[row].len() },
        gain: gain.map(|gain| (gain, seeds_of_gain)),
    };
    (0..rows.len()).map(found).collect()
}

/// The share of the active row's gain that a row keeps, over the seeds that all three have.
fn share(found: &Found, claims: &Claims) -> Option<Ratio> {
    let [own, no_loss, _] = found.evidence;
    let (own, no_loss, (gain, n)) = (own?, no_loss?, found.gain?);
    let loss = Difference { mean: no_loss.mean - claims.margin / 100.0, ..no_loss };
    // The gain may have more seeds than the row.
    let scale = (n as f64 / found.n as f64).sqrt().max(1.0);
    let gain = Difference { mean: own.mean - loss.mean, standard_error: gain.standard_error * scale, ..gain };
    Ratio::of_means(&own, &gain, &loss, found.n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Stream, normal_pair, stream};
    use crate::report::tests::cells;
    use crate::suite::Cell;

    /// Rows of synthetic accuracies: each with its mean in points, over these seeds, with a spread of half a point.
    fn rows(means: &[f64], seeds: &[u64], noise: &mut dyn FnMut() -> f64) -> Vec<Reference> {
        // Enough test samples that the step of accuracies does not matter.
        let mut setting = cells()[0].clone();
        setting.data.test = 10_000;
        let row = |mean: &f64| {
            let accuracies = seeds.iter().map(|seed| (*seed, 0.5 + (mean + 0.5 * noise()) / 100.0)).collect();
            Reference::made(&setting, seeds, accuracies)
        };
        means.iter().map(row).collect()
    }

    const ARMS: [Option<usize>; 2] = [Some(0), Some(1)];

    fn found(of: impl Fn(&RowClaims) -> Option<Conclusion>, concluded: &Concluded) -> Vec<Finding> {
        concluded.rows[2..].iter().filter_map(|row| of(row).map(|claim| claim.finding)).collect()
    }

    #[test]
    fn three_arms_are_concluded_upon() {
        let mut rng = stream(1, Stream::Synthetic("arms"));
        let seeds: Vec<u64> = (1..=6).collect();
        let mut noise = || normal_pair(&mut rng).0;
        // SGD, SAM, a row as good as SAM, one with a bit more than half of its gain, one with a fifth of it.
        let rows = rows(&[0.0, 10.0, 11.0, 7.0, 2.0], &seeds, &mut noise);
        let claims = Claims { margin: 0.5, ..Claims::default() };
        let concluded = conclude(&rows, ARMS, &claims, &Schedule::new(None)).expect("three arms");
        assert_eq!(concluded.assay, Some(Finding::Supported));
        use Finding::{Refuted, Supported};
        assert_eq!(found(|row| row.gain, &concluded), [Supported; 3]);
        assert_eq!(found(|row| row.no_loss, &concluded), [Supported, Refuted, Refuted]);
        assert_eq!(found(|row| row.retention, &concluded), [Supported, Supported, Refuted]);
        let [placebo, active, ..] = concluded.rows.as_slice() else { panic!("rows") };
        assert_eq!(placebo.no_loss.map(|c| c.finding), Some(Refuted));
        assert_eq!(placebo.retention.map(|c| c.finding), Some(Refuted));
        assert_eq!((active.no_loss, active.retention, active.gain.map(|c| c.finding)), (None, None, Some(Supported)));
        let share = concluded.rows[3].share.expect("a share");
        assert!(share.interval.is_some_and(|i| i.low > 0.5 && i.high < 0.9) && (share.value - 0.7).abs() < 0.1, "{share:?}");
        assert!(concluded.open.is_empty() && concluded.complete);
    }

    /// Without a gain of SAM, "no loss" and "keeps" are not shown; with a gain within the margin, "no loss" is not shown.
    #[test]
    fn without_a_gain_nothing_is_shown() {
        let mut rng = stream(2, Stream::Synthetic("arms"));
        let seeds: Vec<u64> = (1..=6).collect();
        let mut noise = || normal_pair(&mut rng).0;
        let none = rows(&[0.0, 0.0, 0.0, 3.0], &seeds, &mut noise);
        let concluded = conclude(&none, ARMS, &Claims::default(), &Schedule::new(None)).expect("three arms");
        assert_eq!(concluded.assay, Some(Finding::Undecided));
        assert_eq!(found(|row| row.no_loss, &concluded), [Finding::NotShown; 2]);
        assert_eq!(found(|row| row.retention, &concluded), [Finding::NotShown; 2]);
        assert_eq!(found(|row| row.gain, &concluded)[1], Finding::Supported);
        assert!(concluded.rows.iter().all(|row| row.share.is_none()));
        let small = rows(&[0.0, 3.0, 3.0], &seeds, &mut noise);
        let wide = Claims { margin: 5.0, ..Claims::default() };
        let concluded = conclude(&small, ARMS, &wide, &Schedule::new(None)).expect("three arms");
        assert_eq!(concluded.assay, Some(Finding::Supported));
        assert_eq!(found(|row| row.no_loss, &concluded), [Finding::NotShown]);
        assert_eq!(found(|row| row.retention, &concluded), [Finding::Supported]);
    }

    /// A row that diverges more often than SAM is not supported, and the conclusion states its number of seeds.
    #[test]
    fn divergence_counts() {
        let mut rng = stream(3, Stream::Synthetic("arms"));
        let seeds: Vec<u64> = (1..=6).collect();
        let mut rows = rows(&[0.0, 10.0, 12.0], &seeds, &mut || normal_pair(&mut rng).0);
        rows[2].accuracies.truncate(5);
        let concluded = conclude(&rows, ARMS, &Claims::default(), &Schedule::new(None)).expect("three arms");
        let no_loss = concluded.rows[2].no_loss.expect("a conclusion");
        assert_eq!((no_loss.finding, no_loss.n, no_loss.planned), (Finding::Undecided, 5, 6));
        rows[0].accuracies.remove(0);
        rows[1].accuracies.remove(0);
        let concluded = conclude(&rows, ARMS, &Claims::default(), &Schedule::new(None)).expect("three arms");
        assert_eq!(concluded.rows[2].no_loss.map(|c| (c.finding, c.n)), Some((Finding::Supported, 4)));
    }

    /// Fractions of simulated studies in which "no loss" of any row, "keeps" of any row, and the assay are supported; rows lie exactly
    /// at the bounds.
    fn errors(gain: f64, others: usize, seeds: usize, looks: Option<&[usize]>, runs: usize) -> [f64; 3] {
        let claims = Claims::default();
        let loss: Vec<f64> = [0.0, gain].into_iter().chain(vec![gain - claims.margin; others]).collect();
        let half: Vec<f64> = [0.0, gain].into_iter().chain(vec![claims.retain * gain; others]).collect();
        let mut rng = stream(seeds as u64, Stream::Synthetic("errors"));
        let seeds: Vec<u64> = (0..seeds as u64).collect();
        let looks = looks.map(|seeds| RunLooks { seeds: seeds.to_vec(), planned: seeds.len() });
        let schedule = Schedule::new(looks.as_ref());
        let mut hits = [0usize; 3];
        for _ in 0..runs {
            let mut concluded = |means: &[f64]| {
                let rows = rows(means, &seeds, &mut || normal_pair(&mut rng).0);
                conclude(&rows, ARMS, &claims, &schedule).expect("three arms")
            };
            let (loss, half) = (concluded(&loss), concluded(&half));
            hits[0] += usize::from(found(|row| row.no_loss, &loss).contains(&Finding::Supported));
            hits[1] += usize::from(found(|row| row.retention, &half).contains(&Finding::Supported));
            hits[2] += usize::from(loss.assay == Some(Finding::Supported));
        }
        hits.map(|hits| hits as f64 / runs as f64)
    }

    /// The figures in docs/statistics.md.
    #[test]
    fn conclusions_are_false_as_rarely_as_stated() {
        let every: Vec<usize> = (3..=22).collect();
        for (what, [no_loss, kept, _]) in [
            ("18 rows, 5 seeds", errors(5.0, 18, 5, None, 1000)),
            ("1 row, 20 looks", errors(5.0, 1, 22, Some(&every), 1500)),
            ("4 rows, 7 looks", errors(5.0, 4, 20, Some(&[3, 4, 6, 8, 11, 15, 20]), 500)),
        ] {
            println!("{what}: no loss {no_loss:.3}, kept {kept:.3}");
            assert!(no_loss <= 0.06 && kept <= 0.06, "{what}: {no_loss}, {kept}");
        }
        // SAM gains nothing; 60 seeds.
        let [no_loss, kept, assay] = errors(0.0, 6, 60, None, 500);
        println!("no gain, 60 seeds: no loss {no_loss:.3}, kept {kept:.3}, assay {assay:.3}");
        assert!(no_loss <= 0.05 && kept <= 0.05 && assay <= 0.065, "{no_loss} {kept} {assay}");
    }

    /// Retention computed independently: Student's t of E - f R - (1 - f) P by seed; a single row shares no variance.
    #[test]
    fn retention_is_the_t_test_of_its_definition() {
        let cell: Cell = Cell { data: crate::data::DataSpec { test: 1_000_000_000, ..cells()[0].data.clone() }, ..cells()[0].clone() };
        let row = |values: [f64; 4]| {
            Reference::made(&cell, &[1, 2, 3, 4], (1..).zip(values).collect())
        };
        let rows = [
            row([0.50, 0.52, 0.51, 0.49]),
            row([0.60, 0.63, 0.59, 0.61]),
            row([0.56, 0.60, 0.57, 0.575]),
        ];
        let concluded = conclude(&rows, ARMS, &Claims::default(), &Schedule::new(None)).expect("three arms");
        // scipy.stats.ttest_1samp(E - .5 R - .5 P, 0, alternative="greater")
        let p = concluded.rows[2].retention.and_then(|c| c.p).expect("p");
        assert!((p - 0.005468828506).abs() < 1e-9, "{p}");
    }
}
