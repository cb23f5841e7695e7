//! The table that fits a terminal or a README: few columns, rows by name.

use super::answer::percent_kept;
use super::table::{Grid, OPTIONAL, compared, dash, percent};
use super::{Report, Row};
use crate::terminal;

/// Notes below the table; `--explain` has the others.
const NOTES: usize = 6;

/// A column: its header and what it says of a row, with so many decimals of percent.
type Column = (&'static str, fn(&Row, usize) -> Option<String>);

const COUNT: Column = ("n", |row, _| Some(count(row)));
const ACCURACY: Column = ("accuracy %", |row, decimals| row.test_accuracy_last.map(|s| percent(&s, decimals)));
const TO_SGD: Column = ("vs SGD", |row, decimals| row.to_sgd.map(|c| compared(row, &c, decimals)));
const TO_SAM: Column = ("vs SAM", |row, decimals| row.to_sam.map(|c| compared(row, &c, decimals)));
const GAIN_KEPT: Column = ("gain kept", |row, _| row.claims.share.map(|kept| percent_kept(&kept)));
const STEP: Column = ("step", |row, _| row.step_ratio_to_sgd.map(|m| format!("{:.2}", m.median)));
const FLOPS: Column = ("FLOPs", |row, _| row.flops_executed_ratio_to_sgd.map(|ratio| format!("{ratio:.2}")));

/// Six columns, or seven where numbers of seeds differ; one fewer where they exceed `width`.
pub(super) fn terminal(report: &Report, width: usize) -> Grid {
    let measured = measured(report);
    let mut columns = Vec::new();
    // Told only where it tells rows apart.
    if report.rows.iter().any(|row| count(row) != count(&report.rows[0]) || row.diverged > 0) {
        columns.push(COUNT);
    }
    columns.extend(measured.iter().copied());
    columns.push(ACCURACY);
    if measured.is_empty() {
        columns.extend([TO_SGD, if keeps_gain(report) { GAIN_KEPT } else { TO_SAM }]);
    }
    columns.extend([STEP, FLOPS]);
    let all = grid(report, &columns);
    if terminal::table_width(&all.records) <= width {
        return all;
    }
    columns.retain(|(header, _)| *header != TO_SAM.0);
    grid(report, &columns)
}

/// At most eight columns.
pub(super) fn markdown(report: &Report) -> Grid {
    let mut columns = vec![COUNT, ACCURACY];
    match measured(report).as_slice() {
        [] => {
            columns.extend([TO_SGD, TO_SAM]);
            columns.extend(keeps_gain(report).then_some(GAIN_KEPT));
        }
        measured => columns.extend(measured),
    }
    columns.extend([STEP, FLOPS]);
    grid(report, &columns)
}

/// Whether SAM gains anything that other rows can keep.
fn keeps_gain(report: &Report) -> bool {
    report.rows.iter().any(|row| row.claims.share.is_some())
}

/// The columns of what a suite measures in place of a gain in accuracy.
fn measured(report: &Report) -> Vec<Column> {
    const EDGE: [Column; 3] = [
        ("H/edge", |row, _| optional("H/edge", row)),
        ("H/(2/eta)", |row, _| optional("H/(2/eta)", row)),
        ("aligned %", |row, _| optional("aligned %", row)),
    ];
    const EXPONENT: Column = ("exponent of T", |row, _| optional("exponent of T", row));
    let any = |column: &Column| report.rows.iter().any(|row| (column.1)(row, 0).is_some());
    EDGE.into_iter().chain([EXPONENT]).filter(any).collect()
}

/// What a column of the wide table says.
fn optional(header: &str, row: &Row) -> Option<String> {
    OPTIONAL.iter().find(|column| column.header == header).and_then(|column| (column.text)(row))
}

fn grid(report: &Report, columns: &[Column]) -> Grid {
    let decimals = report.decimals();
    let header = std::iter::once("setting").chain(columns.iter().map(|(header, _)| *header)).map(str::to_string);
    let rows = report.rows.iter().map(|row| {
        let texts = columns.iter().map(|(_, text)| text(row, decimals).unwrap_or_else(dash));
        std::iter::once(row.name.clone()).chain(texts).collect()
    });
    let records = std::iter::once(header.collect()).chain(rows).collect();
    Grid { records, texts: 1, shared: report.shared.clone(), by_optimizer: report.by_optimizer.clone() }
}

/// What to bear in mind, and the signs of the table.
pub(super) fn notes(report: &Report) -> Vec<String> {
    let mut notes = report.notes.clone();
    let signs = signs(report);
    let more = notes.len().saturating_sub(NOTES - 1);
    notes.truncate(NOTES - 1);
    let rest = if more > 0 { format!(" ({more} more notes)") } else { String::new() };
    notes.push(format!("{signs}. Every column: --wide; what each means: --explain{rest}"));
    notes
}

/// What the signs and columns of the table mean that it has.
fn signs(report: &Report) -> String {
    let any = |is: fn(&Row) -> bool| report.rows.iter().any(is);
    let compared = |row: &Row| [row.to_sgd, row.to_sam].into_iter().flatten().collect::<Vec<_>>();
    let parts = [
        (any(|row| row.test_accuracy_last.is_some_and(|s| s.sd.is_some())), "± standard deviation over seeds"),
        (
            any(|row| row.eigenvalue_over_edge.is_some()),
            "H/edge: norm of the Hessian over the optimizer's edge, median (range); H/(2/eta): over gradient descent's; aligned: checks at which the gradient after the ascent step is nearer to the top eigenvector",
        ),
        (
            report.rows.iter().flat_map(compared).any(|c| c.interval.is_some()),
            "95% interval in brackets, * differs at .05 after Holm's correction",
        ),
        (true, "step and FLOPs are multiples of SGD's"),
    ];
    let mut parts: Vec<String> = parts.into_iter().filter(|(is, _)| *is).map(|(_, text)| text.to_string()).collect();
    // The first row of SGD needs no word.
    let why = match &report.claims.placebo {
        Some(_) => "the row that the suite's claims compare with",
        None if report.is_matched => "which has SAM's settings but for its ascent step",
        None if report.references[1].is_some() => "since no row has SAM's settings but for its ascent step",
        None => "the first row without an ascent step",
    };
    let named = report.reference.as_ref().filter(|name| *name != "sgd");
    parts.extend(named.map(|name| format!("SGD in columns and sentences is {name}, {why}")));
    parts.join("; ")
}

/// Seeds that completed, of those planned where they are fewer, and those that diverged.
pub(super) fn count(row: &Row) -> String {
    let n = row.test_accuracy_last.map_or(0, |s| s.n);
    let diverged = if row.diverged > 0 { format!(" ({} diverged)", row.diverged) } else { String::new() };
    let of = if n + row.diverged == row.planned { String::new() } else { format!(" of {}", row.planned) };
    format!("{n}{of}{diverged}")
}
