//! The table people read, for the terminal and as markdown: same cells, other frame.

use tabled::builder::Builder;
use tabled::settings::object::{Columns, Rows};
use tabled::settings::{Alignment, Style};

use super::{Report, Row};
use crate::stats::Summary;

const HEADER: [&str; 14] = [
    "optimizer", "s", "mask", "rho", "wd", "epochs", "n", "accuracy %", "best %", "- SGD", "- SAM", "ms/step",
    "time/SGD", "FLOPs/SGD",
];

/// For the terminal.
pub(super) fn terminal(report: &Report) -> String {
    let mut table = builder(report).build();
    table.with(Style::sharp()).modify(Columns::new(6..), Alignment::right()).modify(Rows::first(), Alignment::left());
    format!("{}\n{table}\n{}", title(report), notes(report, ""))
}

/// As markdown.
pub(super) fn markdown(report: &Report) -> String {
    let mut table = builder(report).build();
    table.with(Style::markdown()).modify(Columns::new(6..), Alignment::right());
    format!("## {}\n\n{table}\n\n{}", title(report), notes(report, "- "))
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

fn builder(report: &Report) -> Builder {
    let mut builder = Builder::default();
    builder.push_record(HEADER);
    for row in &report.rows {
        builder.push_record(cells(row));
    }
    builder
}

fn cells(row: &Row) -> [String; 14] {
    let n = row.test_accuracy_last.map_or(0, |s| s.n);
    let diverged = if row.diverged > 0 { format!(" ({} diverged)", row.diverged) } else { String::new() };
    let count = if n + row.diverged == row.planned { format!("{n}{diverged}") } else { format!("{n} of {}{diverged}", row.planned) };
    let ratio = |r: Option<f64>| r.map_or_else(dash, |r| format!("{r:.2}"));
    let flops = [
        ratio(row.flops_nominal_ratio_to_sgd),
        ratio(row.flops_theoretical_ratio_to_sgd),
        dash(),
    ];
    [
        row.optimizer.clone(),
        row.sparsity.map_or_else(dash, |s| s.to_string()),
        row.mask.clone().unwrap_or_else(dash),
        row.rho.map_or_else(dash, |r| r.to_string()),
        row.weight_decay.to_string(),
        row.epochs.to_string(),
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
    if ms < 10.0 { format!("{ms:.2}") } else if ms < 100.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

fn notes(report: &Report, bullet: &str) -> String {
    let mut lines = report.notes.clone();
    lines.push("accuracy: test accuracy after the last epoch, mean ± sample standard deviation over n seeds; best: of any epoch, chosen on the test set".into());
    lines.push("- SGD, - SAM: difference in points to the first SGD and SAM row, paired by seed, mean ± standard deviation; no test of significance".into());
    lines.push("ms/step: median over cells of each cell's median step (range), mask refreshes excluded; time/SGD: ratio of the medians".into());
    lines.push(format!(
        "FLOPs/SGD: nominal/theoretical/executed of the whole training; theoretical = {}; executed is not counted yet",
        report.flops_theoretical_formula
    ));
    lines.iter().map(|l| format!("{bullet}{l}\n")).collect()
}
