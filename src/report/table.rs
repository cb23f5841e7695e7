//! The table people read, for the terminal and as markdown: same cells, other frame.

use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Style};

use super::{Report, Row};
use crate::stats::Summary;

/// For the terminal.
pub(super) fn terminal(report: &Report) -> String {
    let Grid { records, texts, constants } = grid(report);
    let mut table = Builder::from_iter(records).build();
    table.with(Style::sharp()).modify(Columns::new(texts..), Alignment::right());
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
    let optional = |value: Option<f64>| value.map_or_else(dash, |v| v.to_string());
    type Setting<'s> = (&'static str, &'s dyn Fn(&Row) -> String);
    let settings: [Setting<'_>; 5] = [
        ("s", &|r| optional(r.sparsity)),
        ("mask", &|r| r.mask.clone().unwrap_or_else(dash)),
        ("rho", &|r| optional(r.rho)),
        ("wd", &|r| r.weight_decay.to_string()),
        ("epochs", &|r| r.epochs.to_string()),
    ];
    let mut columns: Vec<Setting<'_>> = vec![("optimizer", &|r| r.optimizer.clone())];
    let mut constants = Vec::new();
    for (name, value) in settings {
        let mut values: Vec<String> = report.rows.iter().map(value).filter(|v| *v != dash()).collect();
        values.sort();
        values.dedup();
        match values.as_slice() {
            [] => {}
            [one] => constants.push(format!("{name} {one}")),
            _ => columns.push((name, value)),
        }
    }
    let header = columns.iter().map(|(name, _)| (*name).to_string()).chain(MEASURES.map(str::to_string)).collect();
    let rows = report.rows.iter().map(|row| columns.iter().map(|(_, value)| value(row)).chain(measures(row)).collect());
    Grid { texts: columns.len(), records: std::iter::once(header).chain(rows).collect(), constants }
}

const MEASURES: [&str; 8] = ["n", "accuracy %", "best %", "vs SGD", "vs SAM", "ms/step", "time/SGD", "FLOPs/SGD"];

fn title(report: &Report) -> String {
    let stand_in = if report.stand_in { " (STAND-IN: not results on the suite's own data set)" } else { "" };
    let progress = if report.is_complete() {
        String::new()
    } else {
        format!(", INCOMPLETE: {} of {} cells", report.cells_finished, report.cells_planned)
    };
    format!("{} {} on {}{stand_in}{progress}", report.suite, report.profile, report.data)
}

fn measures(row: &Row) -> [String; 8] {
    let n = row.test_accuracy_last.map_or(0, |s| s.n);
    let diverged = if row.diverged > 0 { format!(" ({} diverged)", row.diverged) } else { String::new() };
    let count = if n + row.diverged == row.planned {
        format!("{n}{diverged}")
    } else {
        format!("{n} of {}{diverged}", row.planned)
    };
    let ratio = |r: Option<f64>| r.map_or_else(dash, |r| format!("{r:.2}"));
    let flops = [ratio(row.flops_nominal_ratio_to_sgd), ratio(row.flops_theoretical_ratio_to_sgd), dash()];
    [
        count,
        row.test_accuracy_last.map_or_else(dash, |s| percent(&s, false)),
        row.test_accuracy_best.map_or_else(dash, |s| percent(&s, false)),
        row.difference_to_sgd.map_or_else(dash, |s| percent(&s, true)),
        row.difference_to_sam.map_or_else(dash, |s| percent(&s, true)),
        row.step_seconds.map_or_else(dash, |m| {
            format!("{} ({}-{})", milliseconds(m.median), milliseconds(m.min), milliseconds(m.max))
        }),
        ratio(row.step_ratio_to_sgd),
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

fn milliseconds(seconds: f64) -> String {
    let ms = 1000.0 * seconds;
    if ms < 10.0 {
        format!("{ms:.2}")
    } else if ms < 100.0 {
        format!("{ms:.1}")
    } else {
        format!("{ms:.0}")
    }
}

fn notes(report: &Report, constants: Vec<String>, bullet: &str) -> String {
    let mut lines = report.notes.clone();
    if !constants.is_empty() {
        lines.push(format!("all rows where it applies: {}", constants.join(", ")));
    }
    lines.push("accuracy: test accuracy after the last epoch, mean ± sample standard deviation over n seeds; best: of any epoch, chosen on the test set".into());
    lines.push("vs SGD, vs SAM: difference in points to the first SGD and SAM row, paired by seed, mean ± standard deviation; no test of significance".into());
    lines.push("ms/step: median over cells of each cell's median step (range), mask refreshes excluded; time/SGD: ratio of the medians".into());
    lines.push(format!(
        "FLOPs/SGD: nominal/theoretical/executed of the whole training; theoretical = {}; executed is not counted yet",
        report.flops_theoretical_formula
    ));
    lines.iter().map(|l| format!("{bullet}{l}\n")).collect()
}
