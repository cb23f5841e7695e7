//! One self-contained page: nothing is loaded from elsewhere, and without scripts everything but sorting and saving works.

mod chart;

use std::collections::BTreeSet;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::chart::{Curve, Tradeoff, curves, flops, tradeoffs};
use super::exporter::Exporter;
use super::table::{self, Grid};
use super::verdicts::{points, verdicts};
use super::{File, MaskStatistics, Report, Row, brief};
use crate::error::{Error, Result};
use crate::stats::Summary;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

pub(super) const HTML: Exporter = Exporter {
    name: "html",
    about: "One page with verdicts, charts and everything else, for people",
    extension: "html",
    is_text: true,
    draws: true,
    is_kept: true,
    export: |report, canvas| Ok(page(report, canvas.figures)?.into_bytes()),
};

/// The page, with figures drawn elsewhere (those that are SVG).
///
/// # Errors
/// When the report cannot be written as JSON, of which the page has a copy.
fn page(report: &Report, figures: &[File]) -> Result<String> {
    let json = serde_json::to_string(report).map_err(|e| Error::Report(e.to_string()))?;
    // Inside a script element nothing may look like its end.
    let json = json.replace('<', "\\u003c");
    let title = table::title(report);
    let (brief, all) = (brief::markdown(report), table::grid(report));
    let verdicts = verdicts(report);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " - sharpbench" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                @if report.stand_in {
                    p class="stand-in" { "STAND-IN: these are not results on the suite's own data set." }
                }
                @for line in &table::head(report, &brief)[1..] { p { (line) } }
                h2 { "Answer" }
                @for sentence in &report.answer { p class="answer" { (sentence) } }
                h2 { "Table" }
                (rows(&brief, "rows"))
                details { summary { "Every column" } (rows(&all, "all")) }
                @if !verdicts.is_empty() {
                    details {
                        summary { "Verdicts, row by row" }
                        ul { @for verdict in &verdicts { li { (verdict) } } }
                        p { "Tests at .05, corrected for all comparisons (Holm); claims of no loss with a margin of " (points(report.margin)) " points." }
                    }
                }
                details {
                    summary { "Notes, and what the columns mean" }
                    ul { @for note in table::notes(report) { li { (note) } } }
                }
                (charts(report))
                (masks(report))
                (drawn(figures))
                h2 { "Cells" }
                (cells(report))
                p { button data-save="json" data-name={ (report.suite) "-" (report.profile) ".json" } { "Save all numbers (JSON)" } }
                script type="application/json" id="report" { (PreEscaped(json)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Ok(page.into_string())
}

fn head(text: &str, is_text: bool) -> Markup {
    html! { th scope="col" class=[is_text.then_some("text")] { button type="button" { (text) } } }
}

/// A table of rows, each with its number; other parts of the page link to the rows of the first.
fn rows(grid: &Grid, id: &str) -> Markup {
    let texts = grid.texts;
    let Some((header, records)) = grid.records.split_first() else { return html! {} };
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Table of settings" {
            table class="sortable" id=(id) {
                thead { tr { (head("row", false)) @for (i, name) in header.iter().enumerate() { (head(name, i < texts)) } } }
                tbody {
                    @for (number, record) in (1..).zip(records) {
                        tr id=[(id == "rows").then(|| format!("row-{number}"))] {
                            td { a href={ "#cells-" (number) } { (number) } }
                            @for (i, text) in record.iter().enumerate() {
                                td class=[(i < texts).then_some("text")] data-v=(sort_key(text)) { (text) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The number that a cell of the table starts with, or its text; nothing where it has a dash.
fn sort_key(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e'))).unwrap_or(text.len());
    match text {
        "-" => "",
        _ if text[..end].parse::<f64>().is_ok() => &text[..end],
        _ => text,
    }
}

fn save_svg(name: &str) -> Markup {
    html! { button type="button" data-save="svg" data-name={ (name) ".svg" } { "Save as SVG" } }
}

fn charts(report: &Report) -> Markup {
    let numbered = || (1..).zip(&report.rows);
    let curve = |row: &Row| row.test_accuracy_by_epoch.iter().map(|s| (s.mean, s.sd)).collect::<Curve>();
    let first = |name: &str| report.rows.iter().find(|row| row.setting.optimizer == name).map(curve);
    let (sgd, sam) = (first("sgd"), first("sam"));
    let spread = |row: &Row| {
        row.test_accuracy_by_epoch
            .iter()
            .flat_map(|s| [-1.0, 1.0].map(|sign| 100.0 * (s.mean + sign * s.sd.unwrap_or(0.0))))
            .collect::<Vec<f64>>()
    };
    let all: Vec<f64> = report.rows.iter().flat_map(spread).collect();
    let range =
        [all.iter().copied().fold(f64::INFINITY, f64::min), all.iter().copied().fold(f64::NEG_INFINITY, f64::max)];
    let with_curve = || numbered().filter(|(_, row)| row.test_accuracy_by_epoch.len() > 1);
    let tradeoff = |cost: fn(&Row) -> Option<f64>, front: fn(&Row) -> bool| {
        let point = |(number, row): (usize, &Row)| {
            let accuracy = row.test_accuracy_last?;
            let (mean, sd) = (100.0 * accuracy.mean, accuracy.sd.map(|sd| 100.0 * sd));
            Some(Tradeoff {
                number,
                label: row.name.clone(),
                cost: cost(row)?,
                accuracy: mean,
                sd,
                on_front: front(row),
            })
        };
        numbered().filter_map(point).collect::<Vec<_>>()
    };
    let seconds =
        tradeoffs(&tradeoff(|r| Some(r.train_seconds?.median), |r| r.on_front_of_seconds), "seconds of training");
    let executed = tradeoffs(
        &tradeoff(|r| Some(r.flops_executed? / 1e12), |r| r.on_front_of_flops),
        "executed TFLOPs of training",
    );
    let ratios = |(number, row): (usize, &Row)| {
        let all = [row.flops_nominal_ratio_to_sgd, row.flops_theoretical_ratio_to_sgd, row.flops_executed_ratio_to_sgd];
        (number, row.name.clone(), all)
    };
    let flops = flops(&numbered().map(ratios).collect::<Vec<_>>());
    html! {
        @if with_curve().next().is_some() {
            h2 { "Learning curves" }
            p { "Test accuracy after each epoch, mean over seeds with a band of one standard deviation; dashed: the first SGD row, dotted: the first SAM row." }
            div class="multiples" {
                @for (number, row) in with_curve() {
                    figure {
                        figcaption { a href={ "#row-" (number) } { (number) } " " (row.name) }
                        (curves(&row.name, &curve(row), sgd.as_ref(), sam.as_ref(), range))
                        (save_svg(&format!("curve-{number}")))
                    }
                }
            }
        }
        @if let Some(chart) = seconds {
            h2 { "Accuracy against time" }
            figure { (chart) figcaption { "Means with one standard deviation; numbers are the table's rows; filled: no other row is better and cheaper. " (save_svg("accuracy-time")) } }
        }
        @if let Some(chart) = executed {
            h2 { "Accuracy against executed FLOPs" }
            figure { (chart) figcaption { "As above. " (save_svg("accuracy-flops")) } }
        }
        @if let Some(chart) = flops {
            h2 { "FLOPs, three ways" }
            figure { (chart) figcaption { "By row, from the top: nominal (outlined), theoretical (grey), executed (filled). They must not be mixed. " (save_svg("flops")) } }
        }
    }
}

/// Settings whose masks are shown tensor by tensor; more would be no table to read.
const MASKS_BY_TENSOR: usize = 30;

/// What masks have in common, and what of each tensor they leave live.
fn masks(report: &Report) -> Markup {
    let masked: Vec<(usize, &Row, &MaskStatistics)> =
        (1..).zip(&report.rows).filter_map(|(number, row)| Some((number, row, row.masks.as_ref()?))).collect();
    let shown = &masked[..masked.len().min(MASKS_BY_TENSOR)];
    let tensors: BTreeSet<&String> = shown.iter().flat_map(|(.., masks)| masks.live_by_tensor.keys()).collect();
    let heads = [
        ("row", false),
        ("setting", true),
        ("refreshes", false),
        ("live %", false),
        ("overlap %", false),
        ("Fisher share %", false),
    ];
    let spread = |s: Option<Summary>| s.map_or_else(String::new, |s| table::percent(&s, table::DECIMALS));
    html! {
        @if !masked.is_empty() {
            h2 { "Masks" }
            p { "Live: weights perturbed after the last refresh. Overlap: part of them that were live before a refresh, mean over refreshes. Fisher share: part of the Fisher score that they hold, where it chose them. Mean ± standard deviation over seeds." }
            div class="scroll" tabindex="0" role="region" aria-label="Table of masks" {
                table class="sortable" id="masks" {
                    thead { tr { @for (name, is_text) in heads { (head(name, is_text)) } } }
                    tbody {
                        @for (number, row, masks) in &masked {
                            tr {
                                td { a href={ "#row-" (number) } { (number) } }
                                td class="text" { (row.name) }
                                td { (masks.refreshes.median) }
                                td { (spread(row.live_fraction)) }
                                td { (spread(masks.overlap)) }
                                td { (spread(masks.fisher_share)) }
                            }
                        }
                    }
                }
            }
        }
        @if !tensors.is_empty() {
            h3 { "Live weights by tensor, %" }
            p { "After the last refresh, mean over seeds; columns are the table's rows"
                @if shown.len() < masked.len() { ", the first " (shown.len()) " of " (masked.len()) } "." }
            div class="scroll" tabindex="0" role="region" aria-label="Table of live weights by tensor" {
                table class="sortable" id="tensors" {
                    thead { tr { (head("tensor", true)) @for (number, ..) in shown { (head(&number.to_string(), false)) } } }
                    tbody {
                        @for tensor in tensors {
                            tr {
                                td class="text" { code { (tensor) } }
                                @for (.., masks) in shown {
                                    @match masks.live_by_tensor.get(tensor) {
                                        Some(live) => { td class="heat" style={ "--live:" (format!("{:.1}%", 100.0 * live)) } { (format!("{:.1}", 100.0 * live)) } }
                                        None => { td {} }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Figures of curvature, which have colours of their own.
fn drawn(figures: &[File]) -> Markup {
    let svgs =
        || figures.iter().filter_map(|f| Some((f.name.strip_suffix(".svg")?, std::str::from_utf8(&f.content).ok()?)));
    html! {
        @if svgs().next().is_some() {
            h2 { "Curvature" }
            @for (name, svg) in svgs() {
                figure class="drawn" role="group" aria-label=(name) { (PreEscaped(svg)) (save_svg(name)) }
            }
        }
    }
}

/// Every number's cells: the records behind each row.
fn cells(report: &Report) -> Markup {
    let heads = [
        ("row", false),
        ("seed", false),
        ("status", true),
        ("accuracy %", false),
        ("best %", false),
        ("seconds", false),
        ("ms/step", false),
        ("live %", false),
        ("weights", true),
        ("record", true),
    ];
    let percent = |value: Option<f64>| value.map_or(String::new(), |v| format!("{:.2}", 100.0 * v));
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Table of cells" {
            table class="sortable" id="cells" {
                thead { tr { @for (name, is_text) in heads { (head(name, is_text)) } } }
                tbody {
                    @for (number, row) in (1..).zip(&report.rows) {
                        @for (place, cell) in row.cells.iter().enumerate() {
                            tr id=[(place == 0).then(|| format!("cells-{number}"))] {
                                td { a href={ "#row-" (number) } { (number) } }
                                td { (cell.seed) }
                                td class="text" { (cell.status) }
                                td { (percent(cell.test_accuracy_last)) }
                                td { (percent(cell.test_accuracy_best)) }
                                td { (format!("{:.1}", cell.train_seconds)) }
                                td { (cell.step_seconds_median.map_or(String::new(), |s| format!("{:.2}", 1000.0 * s))) }
                                td { (percent(cell.live_fraction)) }
                                td class="text" { code { (cell.fingerprint.get(..12).unwrap_or(&cell.fingerprint)) } }
                                td class="text" { code { (cell.id) } }
                            }
                        }
                    }
                }
            }
        }
        p { "A record is the file of the run folder whose name ends with its id: " code { "cells/*-ID.json" } "; it has every setting, the data's digests, the machine and the versions." }
    }
}
