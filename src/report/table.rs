//! The table people read, for the terminal and as markdown: same cells, other frame.

use std::collections::BTreeSet;

use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::peaker::Priority;
use tabled::settings::{Alignment, Style, Width};

use super::{Report, Row};
use crate::stats::{Median, Summary};
use crate::suite::cell::AXES;

/// For the terminal; cells are wrapped where it is narrower than the table.
pub(super) fn terminal(report: &Report, width: Option<usize>) -> String {
    let Grid { records, texts, constants } = grid(report);
    let mut table = Builder::from_iter(records).build();
    table.with(Style::sharp()).modify(Columns::new(texts..), Alignment::right());
    if let Some(width) = width {
        table.with(Width::wrap(width).keep_words(true).priority(Priority::max(true)));
    }
    format!("{}\n{table}\n{}", title(report), notes(report, constants, ""))
}

/// As markdown.
pub(super) fn markdown(report: &Report) -> String {
    let Grid { records, texts, constants } = grid(report);
    let mut table = Builder::from_iter(records).build();
    table.with(Style::markdown()).modify(Columns::new(texts..), Alignment::right());
    format!("## {}\n\n{table}\n\n{}", title(report), notes(report, constants, "- "))
}

/// The table's cells.
struct Grid {
    /// Header and rows.
    records: Vec<Vec<String>>,
    /// Leading columns that hold words or settings; the rest are numbers.
    texts: usize,
    /// Settings that all rows share, which need no column.
    constants: Vec<String>,
}

fn grid(report: &Report) -> Grid {
    let value = |row: &Row, axis: &str| row.axes.iter().find(|(name, _)| *name == axis).map(|(_, value)| value.clone());
    let mut columns = Vec::new();
    let mut constants = Vec::new();
    for axis in AXES.into_iter().filter(|axis| *axis != "seed") {
        let values: BTreeSet<String> = report.rows.iter().filter_map(|row| value(row, axis)).collect();
        match values.len() {
            0 => {}
            1 if axis != "optimizer" => constants.extend(values.into_iter().map(|v| format!("{axis} {v}"))),
            _ => columns.push(axis),
        }
    }
    // Only where there is anything to show.
    let masked = report.rows.iter().any(|row| row.live_fraction.is_some());
    let converging = report.rows.iter().any(|row| row.convergence_exponent.is_some());
    let header = columns.iter().copied().chain(masked.then_some(LIVE)).chain(MEASURES);
    let header = header.chain(converging.then_some(CONVERGENCE)).map(str::to_string).collect();
    let rows = report.rows.iter().map(|row| {
        let setting = columns.iter().map(|axis| value(row, axis).unwrap_or_else(dash));
        let live = masked.then(|| row.live_fraction.map_or_else(dash, |live| digits(100.0 * live.mean)));
        let exponent = converging.then(|| with_interval(row.convergence_exponent));
        setting.chain(live).chain(measures(row)).chain(exponent).collect()
    });
    Grid { texts: columns.len(), records: std::iter::once(header).chain(rows).collect(), constants }
}

const MEASURES: [&str; 9] =
    ["n", "accuracy %", "best %", "vs SGD", "vs SAM", "ms/step", "step/SGD", "train/SGD", "FLOPs/SGD"];

/// Header of the live fraction's column.
const LIVE: &str = "live %";
/// Header of the exponent's column.
const CONVERGENCE: &str = "exponent of T";

/// Mean with its 95% interval; without one for a single value.
fn with_interval(s: Option<Summary>) -> String {
    s.map_or_else(dash, |s| match s.half_interval(0.95) {
        Some(half) => format!("{:.3} [{:.3}, {:.3}]", s.mean, s.mean - half, s.mean + half),
        None => format!("{:.3}", s.mean),
    })
}

fn title(report: &Report) -> String {
    let stand_in = if report.stand_in { " (STAND-IN: not results on the suite's own data set)" } else { "" };
    let progress = if report.is_complete() {
        String::new()
    } else {
        format!(", INCOMPLETE: {} of {} cells", report.cells_finished, report.cells_planned)
    };
    format!("{} {} on {}{stand_in}{progress}", report.suite, report.profile, report.data)
}

fn measures(row: &Row) -> [String; 9] {
    let n = row.test_accuracy_last.map_or(0, |s| s.n);
    let diverged = if row.diverged > 0 { format!(" ({} diverged)", row.diverged) } else { String::new() };
    let of = if n + row.diverged == row.planned { String::new() } else { format!(" of {}", row.planned) };
    // Pairs may be fewer than the row's seeds.
    let pairs = |found: usize| if found == n { String::new() } else { format!(" (n = {found})") };
    let difference = |d: Option<Summary>| d.map_or_else(dash, |d| percent(&d, true) + &pairs(d.n));
    let ratio = |m: Option<Median>| m.map_or_else(dash, |m| range(Some(m), |r| format!("{r:.2}")) + &pairs(m.n));
    let flops = |r: Option<f64>| r.map_or_else(dash, |r| format!("{r:.2}"));
    let flops = [
        flops(row.flops_nominal_ratio_to_sgd),
        flops(row.flops_theoretical_ratio_to_sgd),
        flops(row.flops_executed_ratio_to_sgd),
    ];
    [
        format!("{n}{of}{diverged}"),
        row.test_accuracy_last.map_or_else(dash, |s| percent(&s, false)),
        row.test_accuracy_best.map_or_else(dash, |s| percent(&s, false)),
        difference(row.difference_to_sgd),
        difference(row.difference_to_sam),
        range(row.step_seconds, |s| digits(1000.0 * s)),
        ratio(row.step_ratio_to_sgd),
        ratio(row.train_ratio_to_sgd),
        flops.join("/"),
    ]
}

fn dash() -> String {
    "-".into()
}

/// Percent with the sample standard deviation; without one for a single value.
fn percent(s: &Summary, signed: bool) -> String {
    let mean = if signed { format!("{:+.2}", 100.0 * s.mean) } else { format!("{:.2}", 100.0 * s.mean) };
    match s.sd {
        Some(sd) => format!("{mean} ± {:.2}", 100.0 * sd),
        None => mean,
    }
}

/// Median with the range, or alone where there is one value.
fn range(m: Option<Median>, text: impl Fn(f64) -> String) -> String {
    match m {
        None => dash(),
        Some(m) if m.n == 1 => text(m.median),
        Some(m) => format!("{} ({}-{})", text(m.median), text(m.min), text(m.max)),
    }
}

/// Three significant digits, or all before the point.
fn digits(value: f64) -> String {
    let decimals = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.decimals$}")
}

fn notes(report: &Report, constants: Vec<String>, bullet: &str) -> String {
    let mut lines = report.notes.clone();
    if !constants.is_empty() {
        lines.push(format!("wherever it applies: {}", constants.join(", ")));
    }
    lines.push("accuracy: test accuracy after the last epoch, mean ± sample standard deviation over n seeds; best: of any epoch, chosen on the test set".into());
    lines.push("vs SGD, vs SAM: difference in points to the first SGD and SAM row, paired by seed, mean ± standard deviation; no test of significance".into());
    lines.push("ms/step: the cells' median steps, mask refreshes excluded; step/SGD, train/SGD: ratios to the first SGD row, paired by seed, of the step and of the whole training (mask refreshes included, evaluation not); median over seeds (range)".into());
    lines.push(format!(
        "FLOPs/SGD: nominal/theoretical/executed of the whole training; theoretical = {}, of methods without a mask their own units; executed: counted by the kernels, mask refreshes included",
        report.flops_theoretical_formula
    ));
    if report.rows.iter().any(|row| row.live_fraction.is_some()) {
        lines.push(format!("{LIVE}: weights that are live after the last mask refresh, mean over seeds"));
    }
    if report.rows.iter().any(|row| row.convergence_exponent.is_some()) {
        lines.push(format!(
            "{CONVERGENCE}: p of mean over t <= T of the squared gradient norm of the training loss ~ T^p, fitted over the last decade of T; mean over seeds [95% interval by Student's t]; the theorem's bound, log T / sqrt T, has about -.4 there"
        ));
    }
    lines.iter().map(|l| format!("{bullet}{l}\n")).collect()
}
