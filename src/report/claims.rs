//! Conclusions about the claims of a report's suite. There are three arms: the placebo P (SGD), the active row R (SAM), and every
//! other row E.

use std::collections::BTreeMap;

use serde::Serialize;

use super::comparisons::differences;
use super::rows::Reference;
use crate::record::{RowFindings, RunLooks};
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
    /// Whether the row diverged more often than the row it is compared with, so that the claim cannot be supported.
    pub diverged: bool,
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
    /// Whether an open row lacks seeds of the present look.
    pub(super) lacking: bool,
    /// Whether all planned cells have ended.
    pub(super) complete: bool,
    /// What is found so far, by the id of a row's setting.
    pub(super) findings: BTreeMap<String, RowFindings>,
}

/// The kinds of claims about rows.
const KINDS: usize = 3;
const GAIN: usize = 0;
const NO_LOSS: usize = 1;
const RETENTION: usize = 2;

/// What is known of a row.
#[derive(Clone, Copy, Default)]
struct Found {
    /// By kind: the quantity less its bound, and the seeds compared.
    evidence: [Option<(Difference, usize)>; KINDS],
    /// Its differences to the placebo and to the active row, over the seeds that all three have.
    to_both: [Option<(Difference, usize)>; 2],
}

/// When claims are tested.
pub(super) struct Schedule {
    looks: Looks,
    /// The look, from 0, and its seeds; none where claims are tested once, on the data that is there.
    at: Option<(usize, usize)>,
    /// What earlier looks found, by the id of a row's setting.
    findings: BTreeMap<String, RowFindings>,
}

impl Schedule {
    pub(super) fn new(looks: Option<&RunLooks>) -> Self {
        let at = looks.and_then(|looks| {
            let place = looks.planned.checked_sub(1)?;
            Some((place, *looks.seeds.get(place)?))
        });
        match looks.filter(|_| at.is_some()) {
            None => Self { looks: Looks::once(), at: None, findings: BTreeMap::new() },
            Some(RunLooks { seeds, findings, .. }) => Self { looks: Looks::at(seeds), at, findings: findings.clone() },
        }
    }
}

/// Concludes on the claims: at the present look, for the rows that have all of its seeds, beyond what earlier looks found.
pub(super) fn conclude(
    rows: &[Reference],
    arms: [Option<usize>; 2],
    claims: &Claims,
    Schedule { looks, at, findings: before }: &Schedule,
) -> Option<Concluded> {
    let [Some(placebo), Some(active)] = arms else { return None };
    let others: Vec<usize> = (0..rows.len()).filter(|row| ![placebo, active].contains(row)).collect();
    let (look, seeds) = at.unwrap_or((0, usize::MAX));
    let ready = |row: usize| at.is_none() || rows[row].has_ended(seeds);
    let found = evidence(rows, [placebo, active], claims, seeds);
    // Without two seeds of the placebo and another row there is nothing to say yet.
    if at.is_none() && found.iter().all(|found| found.evidence[GAIN].is_none()) {
        return None;
    }
    let failures = |row: usize| rows[row].failures(seeds);
    let fails = |kind: usize, row: usize| failures(row) > failures(if kind == GAIN { placebo } else { active });
    let tested = |kind: usize, row: usize| {
        let is_ready = [row, placebo, active].into_iter().all(ready);
        let (difference, _) = found[row].evidence[kind].filter(|_| is_ready)?;
        Some(Evidence { difference, look, fails: fails(kind, row) })
    };
    let earlier = |kind: usize, row: usize| {
        let of = before.get(&rows[row].setting.id());
        of.map_or(Finding::Undecided, |of| [of.gain, of.no_loss, of.retention][kind])
    };
    let together = |kind: usize, of: &[usize]| {
        let tested: Vec<Option<Evidence>> = of.iter().map(|row| tested(kind, *row)).collect();
        let earlier: Vec<Finding> = of.iter().map(|row| earlier(kind, *row)).collect();
        decide(&tested, looks, claims.alpha, &earlier)
    };
    let assay = together(GAIN, &[active])[0];
    let control = together(NO_LOSS, &[placebo])[0];
    let findings = [GAIN, NO_LOSS, RETENTION].map(|kind| together(kind, &others));
    let shown = assay == Finding::Supported;
    let conclusion = |kind: usize, row: usize, finding: Finding| {
        let (difference, n) = found[row].evidence[kind].as_ref()?;
        let (p, planned) = (difference.p_larger_than(0.0), rows[row].planned.len());
        Some(Conclusion { finding, p, n: *n, planned, diverged: fails(kind, row) })
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
        claims_of.share = share(&found, [*row, active]).filter(|_| shown);
    }
    // If the placebo itself loses less than the margin, "no loss" stays empty. Rows without a completed training have no evidence to gain.
    let is_open = |index: &usize| {
        let [_, no_loss, retention] = [GAIN, NO_LOSS, RETENTION].map(|kind| findings[kind][*index].is_decided());
        let has_evidence = !rows[others[*index]].has_all_diverged();
        has_evidence && !(retention && (no_loss || control == Finding::Supported))
    };
    let undecided = (0..others.len()).filter(is_open).map(|index| others[index]).collect::<Vec<usize>>();
    let mut open = match assay {
        _ if [placebo, active].into_iter().any(|arm| rows[arm].has_all_diverged()) => Vec::new(),
        Finding::Undecided | Finding::NotShown => vec![placebo, active],
        Finding::Supported if !undecided.is_empty() => [vec![placebo, active], undecided].concat(),
        // Without the placebo's, no row's "no loss" is shown.
        Finding::Supported if !control.is_decided() && !others.is_empty() => vec![placebo, active],
        Finding::Supported | Finding::Refuted => Vec::new(),
    };
    open.sort_unstable();
    let row_findings = |row: usize| match others.iter().position(|other| *other == row) {
        Some(index) => [GAIN, NO_LOSS, RETENTION].map(|kind| findings[kind][index]),
        None if row == active => [assay, Finding::Undecided, Finding::Undecided],
        None => [Finding::Undecided, control, Finding::Undecided],
    };
    let row_findings = (0..rows.len()).map(|row| {
        let [gain, no_loss, retention] = row_findings(row);
        (rows[row].setting.id(), RowFindings { gain, no_loss, retention })
    });
    let lacking = open.iter().any(|row| rows[*row].planned.len() < seeds) && at.is_some();
    let complete = rows.iter().all(|row| row.has_ended(row.planned.len()));
    let findings = row_findings.collect();
    Some(Concluded { rows: concluded, assay: Some(assay), open, lacking, complete, findings })
}

/// The evidence about all rows, over the first `seeds` seeds.
fn evidence(rows: &[Reference], [placebo, active]: [usize; 2], claims: &Claims, seeds: usize) -> Vec<Found> {
    let accuracies: Vec<BySeed> = rows.iter().map(|row| row.accuracies_of(seeds)).collect();
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
    let known = |of: &[BySeed]| -> Vec<Option<(Difference, usize)>> {
        moderated(of, step).into_iter().zip(of).map(|(d, of)| Some((d?, of.len()))).collect()
    };
    let in_both = |of: &[BySeed]| -> Vec<BySeed> {
        let has_both = |seed: &u64| gains[active].iter().any(|(other, _)| other == seed);
        of.iter().map(|of| of.iter().filter(|(seed, _)| has_both(seed)).copied().collect()).collect()
    };
    let to_both = [known(&in_both(&gains)), known(&in_both(&losses))];
    let (gains, mut losses, mut kept) = (known(&gains), known(&losses), known(&kept));
    losses.iter_mut().flatten().for_each(|(loss, _)| loss.mean += claims.margin / 100.0);
    // For the placebo it is - f (R - P), which spreads less and must not be pooled with the others.
    kept[placebo] = gains[active].map(|(gain, n)| {
        let (mean, standard_error) = (-claims.retain * gain.mean, claims.retain * gain.standard_error);
        (Difference { mean, standard_error, ..gain }, n)
    });
    let found = |row: usize| Found {
        evidence: [gains[row], losses[row], kept[row]],
        to_both: [to_both[0][row], to_both[1][row]],
    };
    (0..rows.len()).map(found).collect()
}

/// The share of the active row's gain that a row keeps.
fn share(found: &[Found], [row, active]: [usize; 2]) -> Option<Ratio> {
    let [own, loss] = found[row].to_both;
    let ((own, n), (loss, _)) = (own?, loss?);
    let (gain, all) = found[active].to_both[0]?;
    // The gain may have more seeds than the row.
    let scale = (all as f64 / n as f64).sqrt().max(1.0);
    let gain = Difference { mean: own.mean - loss.mean, standard_error: gain.standard_error * scale, ..gain };
    Ratio::of_means(&own, &gain, &loss, n)
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
        let row = |(place, mean): (u64, &f64)| {
            let accuracies = seeds.iter().map(|seed| (*seed, 0.5 + (mean + 0.5 * noise()) / 100.0)).collect();
            Reference::made(&Cell { lr: place as f64, ..setting.clone() }, seeds, accuracies)
        };
        (1..).zip(means).map(row).collect()
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
        assert!(
            share.interval.is_some_and(|i| i.low > 0.5 && i.high < 0.9) && (share.value - 0.7).abs() < 0.1,
            "{share:?}"
        );
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

    /// Findings stand, whatever is found with more rows and seeds; and the run goes on while the placebo's "no loss" is open.
    #[test]
    fn findings_stand_and_an_open_control_goes_on() {
        let mut rng = stream(4, Stream::Synthetic("arms"));
        let seeds: Vec<u64> = (1..=4).collect();
        let mut noise = || normal_pair(&mut rng).0;
        let none = rows(&[0.0, 0.0, 0.0], &seeds, &mut noise);
        let looks = |planned: usize| RunLooks { seeds: vec![2, 4], planned, findings: BTreeMap::new() };
        let mut schedule = Schedule::new(Some(&looks(2)));
        let open = conclude(&none, ARMS, &Claims::default(), &schedule).expect("three arms");
        assert_eq!((open.assay, open.open), (Some(Finding::Undecided), vec![0, 1]));
        let id = none[1].setting.id();
        let [supported, undecided] = [Finding::Supported, Finding::Undecided];
        schedule.findings.insert(id.clone(), RowFindings { gain: supported, no_loss: undecided, retention: undecided });
        let stands = conclude(&none, ARMS, &Claims::default(), &schedule).expect("three arms");
        assert_eq!((stands.assay, stands.findings[&id].gain), (Some(supported), supported));
        // A gain of about the margin: rows are decided, the placebo's is not.
        let small = rows(&[0.0, 0.6, 30.0], &(1..=30).collect::<Vec<u64>>(), &mut noise);
        let concluded = conclude(&small, ARMS, &Claims { margin: 0.6, ..Claims::default() }, &Schedule::new(None))
            .expect("three arms");
        assert_eq!((concluded.assay, concluded.open), (Some(supported), vec![0, 1]));
        // Rows that all diverged are not waited for.
        let mut failed = rows(&[0.0, 10.0, 0.0], &seeds, &mut noise);
        failed[2].accuracies.clear();
        let concluded = conclude(&failed, ARMS, &Claims::default(), &Schedule::new(None)).expect("three arms");
        assert!(concluded.open.is_empty() && concluded.rows[2] == RowClaims::default(), "{concluded:?}");
    }

    /// The share is of the seeds that the row, SGD and SAM all have, whichever others each of them has.
    #[test]
    fn shares_are_of_seeds_in_common() {
        let seeds: Vec<u64> = (1..=6).collect();
        for number in 1..=8 {
            let mut rng = stream(number, Stream::Synthetic("shares"));
            let mut lacking = rows(&[0.0, 10.0, 6.0, 5.0], &seeds, &mut || normal_pair(&mut rng).0);
            let mut common = lacking.clone();
            lacking[0].accuracies.retain(|(seed, _)| *seed != 1);
            lacking[1].accuracies.retain(|(seed, _)| *seed != 2);
            common.iter_mut().for_each(|row| row.accuracies.retain(|(seed, _)| *seed > 2));
            let shares = [&lacking, &common].map(|rows| {
                let concluded = conclude(rows, ARMS, &Claims::default(), &Schedule::new(None)).expect("three arms");
                [2, 3].map(|row| concluded.rows[row].share.expect("a share"))
            });
            assert_eq!(shares[0], shares[1]);
        }
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
        let looks = looks.map(|seeds| RunLooks { seeds: seeds.to_vec(), planned: 1, findings: BTreeMap::new() });
        let mut schedule = Schedule::new(looks.as_ref());
        let mut hits = [0usize; 3];
        for _ in 0..runs {
            let mut concluded = |means: &[f64]| {
                let rows = rows(means, &seeds, &mut || normal_pair(&mut rng).0);
                schedule.findings.clear();
                for look in looks.iter().flat_map(|looks| looks.seeds.iter().copied().enumerate()) {
                    schedule.at = Some(look);
                    let concluded = conclude(&rows, ARMS, &claims, &schedule).expect("three arms");
                    schedule.findings = concluded.findings;
                }
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

    /// How often Fieller's intervals hold the true share, of rows that keep half of a gain of ten standard deviations.
    #[test]
    fn shares_hold_the_truth_as_often_as_they_say() {
        let mut rng = stream(7, Stream::Synthetic("shares"));
        for seeds in [3, 6] {
            let seeds: Vec<u64> = (0..seeds).collect();
            let (mut held, mut all) = (0, 0);
            for _ in 0..600 {
                let means = [0.0, 5.0, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5];
                let rows = rows(&means, &seeds, &mut || normal_pair(&mut rng).0);
                let concluded = conclude(&rows, ARMS, &Claims::default(), &Schedule::new(None)).expect("three arms");
                for interval in concluded.rows[2..].iter().filter_map(|row| row.share?.interval) {
                    held += usize::from(interval.contains(0.5));
                    all += 1;
                }
            }
            let coverage = held as f64 / all as f64;
            println!("{} seeds: shares {coverage:.3}", seeds.len());
            assert!((coverage - 0.95).abs() < 0.025, "{} seeds: {coverage}", seeds.len());
        }
    }

    /// Retention computed independently: Student's t of E - f R - (1 - f) P by seed; a single row shares no variance.
    #[test]
    fn retention_is_the_t_test_of_its_definition() {
        let cell: Cell = Cell {
            data: crate::data::DataSpec { test: 1_000_000_000, ..cells()[0].data.clone() },
            ..cells()[0].clone()
        };
        let row = |values: [f64; 4]| Reference::made(&cell, &[1, 2, 3, 4], (1..).zip(values).collect());
        let rows = [row([0.50, 0.52, 0.51, 0.49]), row([0.60, 0.63, 0.59, 0.61]), row([0.56, 0.60, 0.57, 0.575])];
        let concluded = conclude(&rows, ARMS, &Claims::default(), &Schedule::new(None)).expect("three arms");
        // scipy.stats.ttest_1samp(E - .5 R - .5 P, 0, alternative="greater")
        let p = concluded.rows[2].retention.and_then(|c| c.p).expect("p");
        assert!((p - 0.005468828506).abs() < 1e-9, "{p}");
    }
}
