//! What a report's comparisons say, in words.

use super::{Conclusion, Report, Row, RowClaims};
use crate::stats::{ALPHA, Comparison, Finding};
use crate::terminal::{percent, signed};

/// A sentence for every row that was compared with something.
pub(super) fn verdicts(report: &Report) -> Vec<String> {
    report.rows.iter().filter_map(|row| sentence(report, row)).collect()
}

fn sentence(report: &Report, row: &Row) -> Option<String> {
    let mut parts = Vec::new();
    parts.extend(row.to_sgd.map(|c| format!("{} against SGD", change(&c))));
    parts.extend(row.to_equal_flops.map(|c| format!("{} against SGD of equal FLOPs", change(&c))));
    let RowClaims { gain, no_loss, retention, .. } = row.claims;
    let margin = report.claims.margin;
    let kept = percent(report.claims.retain);
    parts.extend(gain.map(|claim| format!("that it gains over SGD is {}", conclusion(&claim))));
    parts.extend(no_loss.map(|claim| {
        let seeds = seeds_wanting(&row.claims).map_or(String::new(), |seeds| {
            format!(" (if there were no difference, about {seeds} seeds would likely support it)")
        });
        format!("that it loses less than {margin} points against SAM is {}{seeds}", conclusion(&claim))
    }));
    parts.extend(retention.map(|claim| format!("that it keeps {kept}% of SAM's gain is {}", conclusion(&claim))));
    if parts.is_empty() {
        return None;
    }
    parts.extend(row.step_ratio_to_sgd.map(|m| format!("a step takes {:.2} times SGD's", m.median)));
    Some(format!("{}: {}.", row.name, parts.join("; ")))
}

/// Such as `no difference shown (+0.10 points [-1.27, +1.47], n = 3)`.
fn change(c: &Comparison) -> String {
    let side = if c.mean > 0.0 { "a gain" } else { "a loss" };
    let verdict = match (c.p, c.p_corrected) {
        (Some(_), Some(corrected)) if corrected <= ALPHA => side.to_string(),
        (Some(p), _) if p <= ALPHA => format!("{side} that does not survive correction"),
        (Some(_), _) => "no difference shown".into(),
        (None, _) => "one seed decides nothing".into(),
    };
    let interval =
        c.interval.map_or(String::new(), |i| format!(" [{}, {}]", signed(100.0 * i.low, 2), signed(100.0 * i.high, 2)));
    format!("{verdict} ({} points{interval}, n = {})", signed(100.0 * c.mean, 2), c.n)
}

/// A finding, with the number of seeds that it rests on if some are missing.
pub(super) fn conclusion(claim: &Conclusion) -> String {
    let of = if claim.n < claim.planned { format!(" ({} of {})", claim.n, claim.planned) } else { String::new() };
    let diverged = claim.diverged && claim.finding == Finding::Undecided;
    let why = if diverged { ", diverged more often" } else { "" };
    claim.finding.words().to_string() + why + &of
}

/// Seeds that would support "no loss", if it is undecided and they exceed the present number.
pub(super) fn seeds_wanting(claims: &RowClaims) -> Option<usize> {
    let claim = claims.no_loss.filter(|claim| claim.finding == Finding::Undecided)?;
    claims.seeds_for_no_loss.filter(|seeds| *seeds > claim.n)
}
