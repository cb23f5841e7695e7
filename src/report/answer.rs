//! The answer of a report, in sentences that can be quoted.

use super::{Report, Row};
use crate::stats::{Comparison, Finding, Interval, Ratio};
use crate::terminal::{percent, signed};

/// Sentences on single rows; the table has the others.
const ROWS: usize = 4;
/// How far from its edge of stability an optimizer may be and still train at it: a part of the edge.
const AT_EDGE: f64 = 0.15;

/// Seconds of a step below which the clock and other programs weigh more than the step.
const SHORTEST_STEP: f64 = 1e-3;

/// At most five sentences: whether SAM gains anything, what sparse SAM keeps of it, and at what cost; or what a suite measured
/// in place of that, edges of stability or rates of convergence.
pub(super) fn answer(report: &Report) -> Vec<String> {
    let edges = of_rows(report, |row| {
        let ratio = row.eigenvalue_over_edge?;
        let (low, high) = (1.0 - AT_EDGE, 1.0 + AT_EDGE);
        let side = if ratio.median < low {
            "below"
        } else if ratio.median > high {
            "above"
        } else {
            "at"
        };
        Some(format!(
            "{} trains {side} its edge of stability: the Hessian norm is {:.2} times the edge (median; {:.2} to {:.2}).",
            row.name, ratio.median, ratio.min, ratio.max
        ))
    });
    if !edges.is_empty() {
        return edges;
    }
    let exponents = of_rows(report, |row| {
        let exponent = row.convergence_exponent?;
        let interval = exponent.half_interval(crate::stats::LEVEL);
        let interval = interval
            .map_or(String::new(), |half| format!(" [{:.2}, {:.2}]", exponent.mean - half, exponent.mean + half));
        Some(format!("{}: the mean squared gradient falls as T^{:.2}{interval}.", row.name, exponent.mean))
    });
    if !exponents.is_empty() {
        return exponents;
    }
    on_accuracy(report)
}

/// Sentences on the first rows that have one, and how many more there are.
fn of_rows(report: &Report, sentence: impl Fn(&Row) -> Option<String>) -> Vec<String> {
    let mut sentences: Vec<String> = report.rows.iter().filter_map(sentence).collect();
    if let more @ 1.. = sentences.len().saturating_sub(ROWS) {
        sentences.truncate(ROWS);
        sentences.push(format!("The table has {more} more."));
    }
    sentences
}

fn on_accuracy(report: &Report) -> Vec<String> {
    let [Some(sgd), Some(sam)] = report.references.map(|place| place.map(|place| &report.rows[place])) else {
        return vec!["There is no row of both SGD and SAM, so SAM's gain cannot be said.".into()];
    };
    let Some(gain) = &sam.to_sgd else {
        let [sgd, sam] = [sgd, sam].map(|row| &row.name);
        return vec![format!("{sgd} and {sam} have not finished a seed in common yet, so SAM's gain cannot be said.")];
    };
    let mut sentences = vec![of_sam(report, gain, [&of_whom(report, sam), &of_what(report, sgd)])];
    sentences.extend(of_sparse(report));
    sentences.extend(sam.to_equal_flops.as_ref().map(|c| at_equal_flops(c, &of_whom(report, sam))));
    sentences.extend(on_the_clock(report, sam));
    sentences
}

/// The row that SAM is compared with, in words.
fn of_what(report: &Report, row: &Row) -> String {
    let is_first = report.references[0] == report.rows.iter().position(|row| row.setting.optimizer == "sgd");
    match row.setting.optimizer.as_str() {
        "sgd" if is_first => "SGD".into(),
        "sgd" if report.claims.placebo.is_none() && report.is_matched => "SGD with the same settings".into(),
        _ => row.name.clone(),
    }
}

/// The row whose gain is to be kept, in words.
fn of_whom(report: &Report, row: &Row) -> String {
    let is_default = report.claims.active.is_none();
    if is_default && row.setting.optimizer == "sam" { "SAM".into() } else { row.name.clone() }
}

fn of_sam(report: &Report, gain: &Comparison, [sam, sgd]: [&str; 2]) -> String {
    let size = format!("{:.1} points", 100.0 * gain.mean.abs());
    let Some(i) = gain.interval else {
        return format!(
            "On one seed {sam} differs from {sgd} by {} points; one seed decides nothing.",
            points(gain.mean)
        );
    };
    let seeds = match &report.look {
        Some(look) if look.interim => format!("{} seeds, interim look {} of at most {}", gain.n, look.number, look.of),
        _ => format!("{} seeds", gain.n),
    };
    // The claim is one-sided and the interval two-sided, so the interval may contain 0 although the claim is supported.
    let p = report.references[1].and_then(|sam| report.rows[sam].claims.gain?.p).unwrap_or(f64::NAN);
    let one_sided = |p: f64| if i.contains(0.0) { format!(" (one-sided p = {p:.3})") } else { String::new() };
    match report.assay {
        Some(Finding::Supported) => {
            format!("{sam} gains {size} over {sgd} {}, {seeds}{}.", interval(i), one_sided(p))
        }
        Some(Finding::Refuted) => {
            let i = i.reversed();
            let p = one_sided(1.0 - p);
            format!("{sam} loses {size} to {sgd} {}, {seeds}{p}: sparse SAM has no gain to keep.", interval(i))
        }
        _ => {
            let claim = report.references[1].and_then(|sam| report.rows[sam].claims.gain);
            let why = if claim.is_some_and(|claim| claim.diverged) { "; it diverged more often" } else { "" };
            format!(
                "A gain of {sam} over {sgd} is not shown ({} points {}, {seeds}{why}), so what sparse SAM keeps or loses of it cannot be said.",
                points(gain.mean),
                around(i),
            )
        }
    }
}

/// Such as `[5.5, 7.9]`, in points.
fn interval(i: Interval) -> String {
    format!("[{:.1}, {:.1}]", 100.0 * i.low, 100.0 * i.high)
}

/// Such as `[-0.3, +1.9]`, for differences that may have either sign.
fn around(i: Interval) -> String {
    format!("[{}, {}]", points(i.low), points(i.high))
}

/// Such as `+1.9`, in points.
fn points(fraction: f64) -> String {
    signed(100.0 * fraction, 1)
}

/// What is kept of SAM's gain: the shares of sparse rows, and the findings on the suite's claim.
fn of_sparse(report: &Report) -> Vec<String> {
    let kept = report.rows.iter().filter(|row| is_sparse(row)).filter_map(|row| Some((row, row.claims.share?)));
    let kept: Vec<String> = kept.map(|(row, kept)| format!("{} {}", row.name, percent_kept(&kept))).collect();
    if kept.is_empty() {
        return Vec::new();
    }
    let found = |finding: Finding| {
        let is = move |row: &&Row| row.claims.retention.is_some_and(|claim| claim.finding == finding);
        named(report.rows.iter().filter(|row| row.axis("rho").is_some()).filter(is).map(|row| row.name.as_str()))
    };
    let parts = [Finding::Supported, Finding::Refuted, Finding::Undecided]
        .into_iter()
        .filter_map(|finding| Some(format!("{} for {}", finding.words(), found(finding)?)));
    let parts: Vec<String> = parts.collect();
    let percent = percent(report.claims.retain);
    let claims =
        (!parts.is_empty()).then(|| format!("The claim to keep at least {percent}% of it is {}.", parts.join("; ")));
    let shares =
        format!("Of that gain, sparse SAM keeps: {}.", named(kept.iter().map(String::as_str)).unwrap_or_default());
    std::iter::once(shares).chain(claims).collect()
}

/// The first names of a list, and how many more there are; `None` of an empty one.
fn named<'n>(names: impl Iterator<Item = &'n str>) -> Option<String> {
    let names: Vec<&str> = names.collect();
    let more = names.len().saturating_sub(ROWS);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!names.is_empty()).then(|| names[..names.len() - more].join(", ") + &rest)
}

/// Such as `76% [60, 93]`.
pub(super) fn percent_kept(kept: &Ratio) -> String {
    let interval = kept.interval.map(|i| format!("[{:.0}, {:.0}]", 100.0 * i.low, 100.0 * i.high));
    format!("{:.0}% {}", 100.0 * kept.value, interval.unwrap_or_else(|| "unbounded".into()))
}

fn is_sparse(row: &Row) -> bool {
    row.axis("mask").is_some()
}

fn at_equal_flops(c: &Comparison, sam: &str) -> String {
    let (side, lead) = if c.mean < 0.0 { ("ahead of", c.reversed()) } else { ("behind", *c) };
    let bounds = |i: Interval| if i.low < 0.0 { around(i) } else { interval(i) };
    let range = lead.interval.map_or_else(String::new, |i| format!(" {}", bounds(i)));
    format!("At equal FLOPs, SGD trained for longer is {:.1} points {side} {sam}{range}.", 100.0 * lead.mean)
}

fn on_the_clock(report: &Report, sam: &Row) -> Option<String> {
    let dense = sam.step_ratio_to_sgd?.median;
    let steps = report.rows.iter().filter_map(|row| Some(row.step_seconds?.median)).reduce(f64::min)?;
    if steps < SHORTEST_STEP {
        return Some(format!(
            "A step takes {:.2} ms here, too little to say what SAM costs on the clock.",
            1000.0 * steps
        ));
    }
    let sparse: Vec<f64> =
        report.rows.iter().filter(|row| is_sparse(row)).filter_map(|row| Some(row.step_ratio_to_sgd?.median)).collect();
    let range = sparse.iter().copied().reduce(f64::min).zip(sparse.iter().copied().reduce(f64::max));
    let range = range.map(|(low, high)| {
        let range = if high - low < 0.005 { format!("{low:.2}") } else { format!("{low:.2} to {high:.2}") };
        format!(", of sparse SAM {range} times")
    });
    Some(format!(
        "On the clock a step of {} takes {dense:.2} times SGD's{}.",
        of_whom(report, sam),
        range.unwrap_or_default()
    ))
}
