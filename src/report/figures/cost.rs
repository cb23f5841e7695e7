//! Accuracy against what a training costs.

use maud::html;

use crate::report::draw::{Area, Axis, Family, Panel, RowPlot, TITLE, frame, placed, point, tenth};
use crate::report::{Report, Row};
use crate::stats::Summary;

/// Pixels of a chart's width, and of its least height.
const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 290.0;

/// Against measured time.
pub(super) fn time(report: &Report) -> Option<Panel> {
    let ratio = |row: &Row| row.train_ratio_to_sgd.map(|m| m.median);
    panel(report, "Accuracy against time", ("training time, multiples of SGD's", ratio))
}

/// Against executed FLOPs.
pub(super) fn flops(report: &Report) -> Option<Panel> {
    let title = ("executed FLOPs, multiples of SGD's", (|row: &Row| row.flops_executed_ratio_to_sgd) as fn(&Row) -> _);
    panel(report, "Accuracy against FLOPs", title)
}

/// A row in the chart.
struct Cost<'r> {
    number: usize,
    row: &'r Row,
    cost: f64,
    accuracy: Summary,
}

fn panel(report: &Report, title: &str, (words, cost): (&str, fn(&Row) -> Option<f64>)) -> Option<Panel> {
    let is_sgd = |number: usize| report.references[0].is_some_and(|sgd| sgd + 1 == number);
    let of = |(number, row)| {
        let row: &Row = row;
        // Nothing is compared with itself.
        let cost = cost(row).or(is_sgd(number).then_some(1.0))?;
        Some(Cost { number, row, cost, accuracy: row.test_accuracy_last? })
    };
    let all: Vec<Cost<'_>> = (1..).zip(&report.rows).filter_map(of).collect();
    if all.len() < 2 {
        return None;
    }
    // As high as the plot of differences beside it, which leaves room for every name.
    let height = RowPlot::new(&report.rows).height().max(HEIGHT);
    let x = Axis::over(all.iter().map(|c| c.cost), [58.0, WIDTH - 12.0])?;
    let ends = |c: &Cost<'_>| [-1.0, 1.0].map(|sign| 100.0 * (c.accuracy.mean + sign * c.accuracy.sd.unwrap_or(0.0)));
    let y = Axis::over(all.iter().flat_map(ends), [height - 40.0, TITLE])?;
    let at = |c: &Cost<'_>| (x.at(c.cost), y.at(100.0 * c.accuracy.mean));
    let points: Vec<((f64, f64), &str)> = all.iter().map(|c| (at(c), c.row.name.as_str())).collect();
    let [left, right] = x.pixels();
    let bar = |c: &Cost<'_>| {
        let ([low, high], (px, _)) = (ends(c).map(|value| y.at(value)), at(c));
        Area { left: px - 2.0, right: px + 2.0, top: high, bottom: low }
    };
    let bars: Vec<Area> = all.iter().map(bar).collect();
    let names = placed(&points, &bars, Area { left, right, top: TITLE, bottom: height - 40.0 });
    let text = |c: &Cost<'_>| {
        let accuracy = crate::report::table::percent(&c.accuracy, 2);
        format!("{}: {accuracy} %, cost {:.2}, n = {}", c.row.name, c.cost, c.accuracy.n)
    };
    let body = html! {
        (frame(&x, &y, [words, "test accuracy %"]))
        // Below all names and marks.
        @for (c, name) in all.iter().zip(&names) {
            @let (px, py) = at(c);
            @let [low, high] = ends(c).map(|value| y.at(value));
            @if low > high { line class={ "spread " (Family::of(c.row).class()) } x1=(px) x2=(px) y1=(low) y2=(high) {} }
            @if let Some((nx, ny)) = name.and_then(|name| leader((px, py), name)) { line class="leader" x1=(px) y1=(py) x2=(tenth(nx)) y2=(tenth(ny)) {} }
        }
        @for (c, name) in all.iter().zip(&names) {
            @let (px, py) = at(c);
            (point(c.number, &text(c), &html! {
                @if let Some(name) = name {
                    text class="name" x=(tenth(name.left + 1.0)) y=(tenth(name.top + 11.0)) { (c.row.name) }
                }
                (Family::of(c.row).mark(px, py))
            }))
        }
    };
    Some(Panel { title: title.into(), size: [WIDTH, height], body })
}

/// The point of a name nearest to its mark, where they are so far apart that a line should join them.
fn leader((x, y): (f64, f64), name: Area) -> Option<(f64, f64)> {
    let (nx, ny) = (x.clamp(name.left, name.right), y.clamp(name.top + 2.0, name.bottom - 2.0));
    ((nx - x).hypot(ny - y) > 14.0).then_some((nx, ny))
}
