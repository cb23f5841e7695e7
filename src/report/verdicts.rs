//! What a report's comparisons say, in words.

use super::{Report, Row};
use crate::stats::{ALPHA, Comparison};
use crate::terminal::signed;

/// A sentence for every row that is not SGD and was compared with something.
pub(super) fn verdicts(report: &Report) -> Vec<String> {
    report.rows.iter().filter(|row| row.setting.optimizer != "sgd").filter_map(|row| sentence(report, row)).collect()
}

fn sentence(report: &Report, row: &Row) -> Option<String> {
    let mut parts = Vec::new();
    parts.extend(row.to_sgd.map(|c| format!("{} against SGD", change(&c))));
    parts.extend(row.to_equal_flops.map(|c| format!("{} against SGD of equal FLOPs", change(&c))));
    parts.extend(row.to_sam.and_then(|c| {
        let tested = c.no_loss?;
        let claim = format!("that it loses less than {} points against SAM is", points(report.margin));
        let seeds = c.seeds_wanting().map_or(String::new(), |seeds| {
            format!(" (if there were no difference, about {seeds} seeds would likely support it)")
        });
        Some(format!("{claim} {}{seeds}", tested.finding.word()))
    }));
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

/// A fraction in points, without digits that say nothing.
pub(super) fn points(fraction: f64) -> f64 {
    (1e5 * fraction).round() / 1e3
}
