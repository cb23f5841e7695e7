//! One self-contained page: nothing is loaded from elsewhere, and without scripts everything but sorting, tips and saving works.

use std::collections::BTreeSet;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::exporter::Exporter;
use super::table::{self, Grid};
use super::verdicts::verdicts;
use super::{Figure, MaskStatistics, Report, Row, draw, figures};
use crate::error::{Error, Result};
use crate::stats::Summary;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page.
pub const HTML: Exporter = Exporter {
    name: "html",
    about: "One page with the answer, charts and everything else, for people",
    extension: "html",
    is_text: true,
    is_kept: true,
    export: |report, canvas| Ok(page(report, &figures(report, canvas.records))?.into_bytes()),
};

/// The page.
///
/// # Errors
/// When the report cannot be written as JSON, of which the page has a copy.
fn page(report: &Report, figures: &[Figure]) -> Result<String> {
    let json = serde_json::to_value(report).map(exact).and_then(|json| serde_json::to_string(&json));
    let json = json.map_err(|e| Error::Report(e.to_string()))?;
    // Inside a script element nothing may look like its end.
    let json = json.replace('<', "\\u003c");
    let title = table::title(report);
    let table = table::page(report);
    let verdicts = verdicts(report);
    let (first, others) = figures.split_at(figures.len().min(1));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " - sharpbench" }
                style { (PreEscaped(STYLE)) }
                style id="charts" { (PreEscaped(draw::STYLE)) }
            }
            body {
                h1 { (title) }
                @if report.stand_in {
                    p class="stand-in" { "STAND-IN: these are not results on the suite's own data set." }
                }
                @for line in &table::head(report, &table)[1..] { p { (line) } }
                h2 { "Answer" }
                @for sentence in &report.answer { p class="answer" { (sentence) } }
                @for figure in first { (drawn(figure)) }
                h2 { "Table" }
                (rows(&table))
                @if !verdicts.is_empty() {
                    details {
                        summary { "Verdicts, row by row" }
                        ul { @for verdict in &verdicts { li { (verdict) } } }
                        p { "Differences at .05, corrected for all comparisons (Holm); claims at " (report.claims.alpha) " for each kind, corrected for all rows." }
                    }
                }
                details {
                    summary { "Notes, and what the columns mean" }
                    ul { @for note in table::notes(report) { li { (note) } } }
                }
                @for figure in others { (drawn(figure)) }
                (masks(report))
                h2 { "Cells" }
                details { summary { "The record behind every number" } (cells(report)) }
                p { button type="button" data-save="json" data-name={ (report.suite) "-" (report.profile) ".json" } { "Save all numbers (JSON)" } }
                div id="tip" role="status" hidden {}
                script type="application/json" id="report" { (PreEscaped(json)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Ok(page.into_string())
}

/// Whole numbers that JavaScript would round, as text: seeds have 64 bits.
fn exact(json: Value) -> Value {
    const EXACT: u64 = 1 << 53;
    match json {
        Value::Number(n) if n.as_u64().is_some_and(|n| n > EXACT) => Value::String(n.to_string()),
        Value::Array(items) => items.into_iter().map(exact).collect(),
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(key, value)| (key, exact(value))).collect()),
        other => other,
    }
}

/// Panels beyond which a figure is folded.
const FOLDED: usize = 12;

/// A figure with its panels side by side where there is room.
fn drawn(figure: &Figure) -> Markup {
    let many = figure.panels.len() > FOLDED;
    let charts = html! {
        @if !figure.caption.is_empty() { p { (figure.caption) } }
        @if !figure.legend.is_empty() { p class="legend" { @for key in &figure.legend { (key.on_page()) } } }
        div class={ "panels" @if figure.panels.len() > 4 { " many" } } { @for panel in &figure.panels { (panel.on_page()) } }
        p { button type="button" data-save="svg" data-name={ (figure.name) ".svg" } { "Save as SVG" } }
    };
    html! {
        section class="figure" {
            h2 class="figure-title" { (figure.title) }
            @if many { details { summary { (figure.panels.len()) " charts" } (charts) } } @else { (charts) }
        }
    }
}

fn head(text: &str, is_text: bool) -> Markup {
    html! { th scope="col" class=[is_text.then_some("text")] { button type="button" { (text) } } }
}

/// The table of settings, with a menu of its columns that works without scripts.
fn rows(grid: &Grid) -> Markup {
    let Some((header, records)) = grid.records.split_first() else { return html! {} };
    let is_text = |i: usize| i < grid.texts;
    let class = |i: usize| format!("{}c{i}", if is_text(i) { "text " } else { "" });
    // The first column stays.
    let hides: String =
        (1..header.len()).map(|i| format!("#table:has(#c{i}:not(:checked)) .c{i} {{ display: none; }} ")).collect();
    html! {
        div id="table" {
            style { (PreEscaped(hides)) }
            details class="menu" {
                summary { "Columns" }
                @for (i, name) in header.iter().enumerate().skip(1) {
                    label { input type="checkbox" id={ "c" (i) } checked[table::is_shown(name)]; (name) }
                }
            }
            div class="scroll" tabindex="0" role="region" aria-label="Table of settings" {
                table class="sortable" id="rows" {
                    thead { tr { @for (i, name) in header.iter().enumerate() {
                        th scope="col" class=(class(i)) { button type="button" { (name) } }
                    } } }
                    tbody {
                        @for (number, record) in (1..).zip(records) {
                            tr id={ "row-" (number) } data-row=(number) {
                                @for (i, text) in record.iter().enumerate() {
                                    td class=(class(i)) data-v=(sort_key(text)) {
                                        @if i == 0 { a href={ "#cells-" (number) } { (text) } } @else { (text) }
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

/// The number that a cell of the table starts with, or its text; nothing where it has a dash.
fn sort_key(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e'))).unwrap_or(text.len());
    match text {
        "-" => "",
        _ if text[..end].parse::<f64>().is_ok() => &text[..end],
        _ => text,
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
    let heads =
        [("setting", true), ("refreshes", false), ("live %", false), ("overlap %", false), ("Fisher share %", false)];
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
                                td class="text" { a href={ "#row-" (number) } { (row.name) } }
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
            p { "After the last refresh, mean over seeds"
                @if shown.len() < masked.len() { ", the first " (shown.len()) " of " (masked.len()) } "." }
            div class="scroll" tabindex="0" role="region" aria-label="Table of live weights by tensor" {
                table class="sortable" id="tensors" {
                    thead { tr { (head("tensor", true)) @for (_, row, _) in shown { (head(&row.name, false)) } } }
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

/// Every number's cells: the records behind each row.
fn cells(report: &Report) -> Markup {
    let heads = [
        ("setting", true),
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
                                td class="text" { a href={ "#row-" (number) } { (row.name) } }
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
