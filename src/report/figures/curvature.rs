//! Measured curvature: figures, and the series of the checks.

use std::collections::HashMap;

use crate::record::{EdgeCheck, Record};
use crate::report::draw::{Curve, Figure, Key, Line, Lines};
use crate::report::{Report, csv as csv_text, last_sharpness};

/// One value of a check, where it has it.
type Value = fn(&EdgeCheck) -> Option<f64>;

/// A figure of edge checks.
struct Plan {
    name: &'static str,
    title: &'static str,
    /// Title of the vertical axis.
    y: &'static str,
    logarithmic: bool,
    lines: &'static [(&'static str, Value)],
}

const PLANS: [Plan; 4] = [
    Plan {
        name: "edge",
        title: "top eigenvalue of the Hessian, with the edge of gradient descent and the optimizer's own",
        y: "eigenvalue",
        logarithmic: true,
        lines: &[("|λ|", eigenvalue), ("the optimizer's edge", own_edge), ("2/η", |c| Some(c.gradient_descent_edge))],
    },
    Plan {
        name: "edge-own",
        title: "top eigenvalue of the Hessian, with the optimizer's own edge",
        y: "eigenvalue",
        logarithmic: true,
        lines: &[("|λ|", eigenvalue), ("the optimizer's edge", own_edge)],
    },
    Plan {
        name: "alignment",
        title: "|cos| of gradients with the top eigenvector",
        y: "|cos|",
        logarithmic: false,
        lines: &[("gradient", |c| Some(c.alignment)), ("gradient after the ascent step", |c| c.ascent_alignment)],
    },
    Plan {
        name: "loss",
        title: "training loss",
        y: "loss",
        logarithmic: true,
        lines: &[("loss of the step's batch", |c| Some(c.loss))],
    },
];

/// Classes of the lines of a panel.
const CLASSES: [&str; 3] = ["first", "second", "third"];

fn eigenvalue(check: &EdgeCheck) -> Option<f64> {
    Some(check.eigenvalue.abs())
}

fn own_edge(check: &EdgeCheck) -> Option<f64> {
    Some(check.edge)
}

/// A panel for each cell that measured curvature; no figures where none did.
pub(super) fn figures(report: &Report, records: &[&Record]) -> Vec<Figure> {
    let names = Names::new(report);
    let with = |has: fn(&Record) -> bool| records.iter().copied().filter(|r| has(r)).collect::<Vec<&Record>>();
    let mut figures = Vec::new();
    let edges = with(has_edge);
    if !edges.is_empty() {
        figures.extend(PLANS.iter().map(|plan| edge(&names, &edges, plan)));
    }
    let densities = with(|r| last_sharpness(r).is_some_and(|s| !s.density.is_empty()));
    if !densities.is_empty() {
        figures.push(density(&names, &densities));
    }
    figures
}

fn has_edge(record: &Record) -> bool {
    !record.measures.edge.is_empty()
}

/// Names of cells: their row's, with the seed where a row has several.
struct Names(HashMap<String, String>);

impl Names {
    fn new(report: &Report) -> Self {
        let name = |row: &crate::report::Row, seed: u64| match row.cells.len() {
            0 | 1 => row.name.clone(),
            _ => format!("{}, seed {seed}", row.name),
        };
        let cells = report.rows.iter().flat_map(|row| row.cells.iter().map(move |cell| (row, cell)));
        Self(cells.map(|(row, cell)| (cell.id.clone(), name(row, cell.seed))).collect())
    }

    fn of(&self, record: &Record) -> String {
        self.0.get(&record.id).cloned().unwrap_or_else(|| record.cell.label())
    }
}

fn edge(names: &Names, records: &[&Record], plan: &Plan) -> Figure {
    let panel = |record: &&Record| {
        let line = |(class, (_, value)): (&'static str, &(&str, Value))| {
            let points = record.measures.edge.iter().filter_map(|c| Some((c.step as f64, value(c)?, 0.0)));
            Line { class, curve: points.collect() }
        };
        let lines = CLASSES.into_iter().zip(plan.lines).map(line).collect();
        let axes = ["step", plan.y];
        Lines { title: names.of(record), axes, logarithmic: [false, plan.logarithmic], range: None, lines }.panel()
    };
    Figure {
        name: plan.name.into(),
        subject: String::new(),
        title: plan.title.into(),
        caption: String::new(),
        legend: CLASSES.into_iter().zip(plan.lines).map(|(class, (text, _))| Key::line(class, text)).collect(),
        panels: records.iter().map(panel).collect(),
    }
}

fn density(names: &Names, records: &[&Record]) -> Figure {
    let panel = |record: &&Record| {
        let points = last_sharpness(record).map(|s| s.density.as_slice()).unwrap_or_default();
        let curve: Curve = curve(points).into_iter().map(|(x, y)| (x, y, 0.0)).collect();
        let (title, axes) = (names.of(record), ["eigenvalue", "density"]);
        Lines { title, axes, logarithmic: [false, true], range: None, lines: vec![Line { class: "first", curve }] }
            .panel()
    };
    Figure {
        name: "density".into(),
        subject: String::new(),
        title: "spectral density of the Hessian after the last epoch".into(),
        caption: String::new(),
        legend: Vec::new(),
        panels: records.iter().map(panel).collect(),
    }
}

/// Points at which a density is drawn.
const GRID: usize = 400;
/// Part of the spectrum's width to which a point mass is widened.
const WIDENED: f64 = 0.01;
/// The least density that is drawn, over the largest: a bell's tails go on for ever.
const LEAST: f64 = 1e-7;

/// Point masses, by rising place, as a sum of bells.
fn curve(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let (Some((low, _)), Some((high, _))) = (points.first(), points.last()) else { return Vec::new() };
    let width = WIDENED * (high - low).max(1e-12);
    let (low, high) = (low - 3.0 * width, high + 3.0 * width);
    let place = |i: usize| low + (high - low) * i as f64 / (GRID - 1) as f64;
    let bell = |x: f64| (-0.5 * (x / width).powi(2)).exp() / (width * std::f64::consts::TAU.sqrt());
    let density = |x: f64| points.iter().map(|(at, weight)| weight * bell(x - at)).sum::<f64>();
    let curve: Vec<(f64, f64)> = (0..GRID).map(place).map(|x| (x, density(x))).collect();
    let highest = curve.iter().fold(0f64, |highest, (_, y)| highest.max(*y));
    curve.into_iter().map(|(x, y)| (x, y.max(LEAST * highest))).collect()
}

/// The checks of edges of stability as CSV, a line for each check of every cell; `None` where there are none.
pub fn series(records: &[&Record]) -> Option<Vec<u8>> {
    let records: Vec<&Record> = records.iter().copied().filter(|r| has_edge(r)).collect();
    if records.is_empty() {
        return None;
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut header = false;
    for record in records {
        let own = [record.id.clone(), record.cell.label()];
        for check in &record.measures.edge {
            let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(check) else { continue };
            // Writing to memory cannot fail.
            if !std::mem::replace(&mut header, true) {
                let names = ["id", "cell"].into_iter().chain(fields.keys().map(String::as_str));
                writer.write_record(names).ok();
            }
            writer.write_record(own.iter().cloned().chain(fields.values().map(csv_text::text))).ok();
        }
    }
    writer.into_inner().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_density_keeps_its_mass() {
        let points = curve(&[(-2.0, 0.25), (0.0, 0.5), (10.0, 0.25)]);
        let area: f64 = points.windows(2).map(|p| (p[1].0 - p[0].0) * (p[0].1 + p[1].1) / 2.0).sum();
        assert!((area - 1.0).abs() < 0.01, "{area}");
        assert!(curve(&[]).is_empty());
    }
}
