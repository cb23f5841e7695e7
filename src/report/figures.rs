//! Figures and series of what was measured of curvature.

use std::borrow::Cow;

use super::last_sharpness;
use super::plot::{Figure, Panel};
use crate::error::Result;
use crate::optim;
use crate::record::{EdgeCheck, Record};
use crate::suite::axis_names;

/// A file to be written.
pub struct File {
    /// Its name.
    pub name: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// One value of a check, where it has it.
type Value = fn(&EdgeCheck) -> Option<f64>;

/// A figure's name, what it shows, whether its vertical axis is logarithmic, and its lines.
type FigurePlan = (&'static str, &'static str, bool, &'static [(&'static str, Value)]);

const FIGURES: [FigurePlan; 4] = [
    (
        "edge",
        "Top eigenvalue of the Hessian, with the edge of gradient descent and the optimizer's own",
        true,
        &[("|λ|", eigenvalue), ("the optimizer's edge", own_edge), ("2/η", |c| Some(c.gradient_descent_edge))],
    ),
    (
        "edge-own",
        "Top eigenvalue of the Hessian, with the optimizer's own edge",
        true,
        &[("|λ|", eigenvalue), ("the optimizer's edge", own_edge)],
    ),
    (
        "alignment",
        "|cos| of gradients with the top eigenvector",
        false,
        &[("gradient", |c| Some(c.alignment)), ("gradient after the ascent step", |c| c.ascent_alignment)],
    ),
    ("loss", "Training loss", true, &[("loss of the step's batch", |c| Some(c.loss))]),
];

fn eigenvalue(check: &EdgeCheck) -> Option<f64> {
    Some(check.eigenvalue.abs())
}

fn own_edge(check: &EdgeCheck) -> Option<f64> {
    Some(check.edge)
}

/// What was measured of curvature: figures as SVG and PNG, series as CSV; nothing where no record has any.
///
/// # Errors
/// When a figure cannot be drawn.
pub fn figures(records: &[&Record]) -> Result<Vec<File>> {
    let with = |has: fn(&Record) -> bool| records.iter().copied().filter(|r| has(r)).collect::<Vec<&Record>>();
    let mut files = Vec::new();
    let edges = with(|r| !r.measures.edge.is_empty());
    if !edges.is_empty() {
        files.push(File { name: "edge.csv".into(), content: series(&edges) });
        for plan in FIGURES {
            files.extend(draw(plan.0, &edge(&edges, plan))?);
        }
    }
    let densities = with(|r| last_sharpness(r).is_some_and(|s| !s.density.is_empty()));
    if !densities.is_empty() {
        files.extend(draw("density", &density(&densities))?);
    }
    Ok(files)
}

fn draw(name: &str, figure: &Figure) -> Result<[File; 2]> {
    Ok([
        File { name: format!("{name}.svg"), content: figure.svg()?.into_bytes() },
        File { name: format!("{name}.png"), content: figure.png()? },
    ])
}

fn edge(records: &[&Record], (_, title, logarithmic, lines): FigurePlan) -> Figure {
    let panel = |(record, title): (&&Record, String)| {
        let line = |value: Value| {
            let points = record.measures.edge.iter().filter_map(|c| Some((c.step as f64, value(c)?)));
            points.collect::<Vec<(f64, f64)>>()
        };
        Panel { title, lines: lines.iter().map(|(_, value)| line(*value)).collect() }
    };
    Figure {
        title: title.into(),
        x: "step",
        logarithmic,
        lines: lines.iter().map(|(label, _)| *label).collect(),
        panels: records.iter().zip(titles(records)).map(panel).collect(),
    }
}

fn density(records: &[&Record]) -> Figure {
    let panel = |(record, title): (&&Record, String)| {
        let points = last_sharpness(record).map(|s| s.density.as_slice()).unwrap_or_default();
        Panel { title, lines: vec![curve(points)] }
    };
    Figure {
        title: "Spectral density of the Hessian after the last epoch".into(),
        x: "eigenvalue",
        logarithmic: true,
        lines: vec!["density"],
        panels: records.iter().zip(titles(records)).map(panel).collect(),
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

/// The axes in which records differ, of each.
fn titles(records: &[&Record]) -> Vec<String> {
    let axes: Vec<_> = records.iter().map(|r| r.cell.axes()).collect();
    let value = |axes: &[(Cow<'static, str>, optim::Value)], name: &str| {
        axes.iter().find(|(other, _)| other == name).map(|(_, value)| value.to_string())
    };
    let varies = |name: &str| {
        let mut values = axes.iter().filter_map(|axes| value(axes, name));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    let mut names = axis_names(records.iter().map(|r| &r.cell));
    names.retain(|name| name != "optimizer" && varies(name));
    let title = |axes: &Vec<_>| {
        let told = names.iter().filter_map(|name| Some(format!("{name} {}", value(axes, name)?)));
        value(axes, "optimizer").into_iter().chain(told).collect::<Vec<_>>().join(", ")
    };
    axes.iter().map(title).collect()
}

/// One line per check of every cell.
fn series(records: &[&Record]) -> Vec<u8> {
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
            writer.write_record(own.iter().cloned().chain(fields.values().map(super::csv::text))).ok();
        }
    }
    writer.into_inner().unwrap_or_default()
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
