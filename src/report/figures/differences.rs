//! Differences of accuracy to a reference, with their intervals (a forest plot).

use maud::{Markup, html};

use crate::report::draw::{Axis, Family, Panel, RowPlot, tenth};
use crate::report::{Report, Row, table};
use crate::stats::{Comparison, Interval};

/// Intervals may make the axis so many times as long as the means and a middling interval need; longer ones are cut off, with an arrow.
const LONGEST: f64 = 2.0;

pub(super) fn to_sgd(report: &Report) -> Option<Panel> {
    panel(report, "Difference to SGD", |row| row.to_sgd.as_ref(), report.references[0])
}

pub(super) fn to_sam(report: &Report) -> Option<Panel> {
    panel(report, "Difference to SAM", |row| row.to_sam.as_ref(), report.references[1])
}

fn panel(
    report: &Report,
    title: &str,
    difference: fn(&Row) -> Option<&Comparison>,
    reference: Option<usize>,
) -> Option<Panel> {
    let plot = RowPlot::new(&report.rows);
    let all: Vec<&Comparison> = report.rows.iter().filter_map(difference).collect();
    let axis = axis(&all, report.claims.margin, plot.pixels())?;
    let at = |value: f64| axis.at(axis.clamped(100.0 * value));
    let [low, high] = [-report.claims.margin, report.claims.margin].map(|points| at(points / 100.0));
    let below = html! {
        (plot.band("margin", [low, high]))
        (plot.band("zero", [at(0.0), at(0.0) + 0.5]))
    };
    let is_reference = |row: &Row| reference.is_some_and(|place| std::ptr::eq(&raw const report.rows[place], row));
    let marks = |row: &Row, y: f64| {
        let family = Family::of(row);
        let Some(c) = difference(row) else {
            return is_reference(row).then(|| (format!("{}: the reference", row.name), family.mark(at(0.0), y)));
        };
        let text = format!("{}: {} points, n = {}", row.name, table::difference(c, 2), c.n);
        let interval = c.interval.map(|interval| spread(&axis, interval, y, family));
        Some((text, html! { @if let Some(interval) = interval { (interval) } (family.mark(at(c.mean), y)) }))
    };
    Some(plot.panel(title, (&axis, "points of test accuracy"), &below, marks))
}

/// The axis, in points: all means, 0, and the intervals as far as there is room.
fn axis(all: &[&Comparison], margin: f64, pixels: [f64; 2]) -> Option<Axis> {
    let values = |of: fn(&Comparison) -> Option<f64>| all.iter().filter_map(move |c| of(c)).map(|value| 100.0 * value);
    let mut halves: Vec<f64> = values(|c| c.interval.map(|i| (i.high - i.low) / 2.0)).collect();
    halves.sort_by(f64::total_cmp);
    let middling = halves.get(halves.len() / 2).copied().unwrap_or_default();
    let means = || values(|c| Some(c.mean)).chain([0.0, margin, -margin]);
    let (least, most) = (means().fold(f64::INFINITY, f64::min), means().fold(f64::NEG_INFINITY, f64::max));
    let (low, high) = (least - LONGEST * middling, most + LONGEST * middling);
    let ends = values(|c| c.interval.map(|i| i.low)).chain(values(|c| c.interval.map(|i| i.high)));
    let ends = ends.map(|end| end.clamp(low, high));
    Axis::over(means().chain(ends), pixels).filter(|_| !all.is_empty())
}

/// An interval as a line, with an arrow at an end that lies beyond the axis.
fn spread(axis: &Axis, interval: Interval, y: f64, family: Family) -> Markup {
    let [low, high] = [interval.low, interval.high].map(|value| 100.0 * value);
    let ends = [low, high].map(|value| axis.at(axis.clamped(value)));
    let y = tenth(y);
    let class = format!("spread {}", family.class());
    html! {
        line class=(class) x1=(ends[0]) x2=(ends[1]) y1=(y) y2=(y) {}
        @for (value, end, side) in [(low, ends[0], 1.0), (high, ends[1], -1.0)] {
            @if axis.clamped(value) != value {
                polygon class=(family.class()) points={ (end) "," (y) " " (tenth(end + 5.0 * side)) "," (tenth(y - 4.0)) " " (tenth(end + 5.0 * side)) "," (tenth(y + 4.0)) } {}
            }
        }
    }
}
