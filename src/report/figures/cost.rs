//! Accuracy, and the share of SAM's gain that a row keeps, against what it costs.

use maud::html;

use crate::report::answer::percent_kept;
use crate::report::draw::{Area, Axis, Family, Panel, RowPlot, TITLE, frame, placed, point, tenth};
use crate::report::{Report, Row};
use crate::stats::{Interval, Ratio};

/// Pixels of a chart's width, and of its least height.
const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 290.0;

/// What a row costs, with its name.
type Price = (&'static str, fn(&Row) -> Option<f64>);

/// The time of the whole training.
const TRAINING: Price = ("training time, multiples of SGD's", |row| row.train_ratio_to_sgd.map(|m| m.median));
/// Executed FLOPs of the whole training.
const FLOPS: Price = ("executed FLOPs, multiples of SGD's", |row| row.flops_executed_ratio_to_sgd);

/// Accuracy against measured time.
pub(super) fn time(report: &Report) -> Option<Panel> {
    panel(report, "Accuracy against time", (TRAINING.0, "test accuracy %"), &costs(report, TRAINING.1, accuracy))
}

/// Accuracy against executed FLOPs.
pub(super) fn flops(report: &Report) -> Option<Panel> {
    panel(report, "Accuracy against FLOPs", (FLOPS.0, "test accuracy %"), &costs(report, FLOPS.1, accuracy))
}

/// The share of SAM's gain that each row keeps, against time and against executed FLOPs; none where SAM's gain is not shown.
pub(super) fn kept(report: &Report) -> Vec<Panel> {
    let panels = [("Gain kept against time", TRAINING), ("Gain kept against FLOPs", FLOPS)];
    let shares = |cost| costs(report, cost, |row| share(report, row));
    let kept = |(title, (words, cost)): (&str, Price)| {
        // SGD and SAM alone show nothing.
        Some(shares(cost))
            .filter(|all| all.len() > 2)
            .and_then(|all| panel(report, title, (words, "gain kept, % of SAM's"), &all))
    };
    panels.into_iter().filter_map(kept).collect()
}

/// Share of SAM's gain to which the bar of an interval is drawn at most, on either side.
const LONGEST_BAR: f64 = 0.5;

/// Share of SAM's gain below which a row is named instead of drawn: it loses more than SAM gains.
const LOWEST_SHARE: f64 = -1.0;

/// A row in a chart.
struct Cost<'r> {
    number: usize,
    row: &'r Row,
    cost: f64,
    worth: Worth,
}

/// What a row is worth: the value, its bar, and both in words.
struct Worth {
    value: f64,
    bar: [f64; 2],
    words: String,
}

/// Test accuracy, with the standard deviation over seeds.
fn accuracy(row: &Row) -> Option<Worth> {
    let s = row.test_accuracy_last?;
    let bar = [-1.0, 1.0].map(|sign| 100.0 * (s.mean + sign * s.sd.unwrap_or(0.0)));
    let words = format!("{} %, n = {}", crate::report::table::percent(&s, 2), s.n);
    Some(Worth { value: 100.0 * s.mean, bar, words })
}

/// Share of SAM's gain, with its interval; by definition 0 of SGD and 1 of SAM.
fn share(report: &Report, row: &Row) -> Option<Worth> {
    let [sgd, active] = report.references.map(|place| place.map(|place| &report.rows[place].name));
    let fixed = |value: f64| Worth { value, bar: [value; 2], words: format!("{value}% by definition") };
    if [sgd, active].contains(&Some(&row.name)) {
        return Some(fixed(if sgd == Some(&row.name) { 0.0 } else { 100.0 }));
    }
    let (kept, interval) = bounded(report, row)?;
    // A long interval would make all others unreadable.
    let ends = [kept.value - LONGEST_BAR, kept.value + LONGEST_BAR];
    let bar = [interval.low, interval.high].map(|end| 100.0 * end.clamp(ends[0], ends[1]));
    Some(Worth { value: 100.0 * kept.value, bar, words: format!("keeps {}, n = {}", percent_kept(&kept), kept.n) })
}

/// Which rows no chart against cost has, in a sentence after others: drawn, they would crowd all others together.
pub(super) fn left_out(report: &Report) -> String {
    let words = |row: &Row| Some(format!("{} (gain kept {})", row.name, percent_kept(&far_below(report, row)?)));
    let rows: Vec<String> = report.rows.iter().filter_map(words).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(" Left out of the charts against cost, as they lose more than SAM gains: {}.", rows.join(", "))
}

/// The share of SAM's gain of a row that loses more than SAM gains.
fn far_below(report: &Report, row: &Row) -> Option<Ratio> {
    let (kept, interval) = bounded(report, row)?;
    (interval.high < LOWEST_SHARE).then_some(kept)
}

/// The share of SAM's gain that a row keeps, if its interval is bounded.
fn bounded(report: &Report, row: &Row) -> Option<(Ratio, Interval)> {
    // The gain is of an ascent step under SAM's base step.
    let base = |row: &Row| row.axis("base").map(str::to_string);
    let sam = report.references[1].map(|place| &report.rows[place])?;
    let kept = row.claims.share.filter(|_| base(row) == base(sam))?;
    Some((kept, kept.interval?))
}

/// The rows that have a cost and a worth.
fn costs(report: &Report, cost: fn(&Row) -> Option<f64>, worth: impl Fn(&Row) -> Option<Worth>) -> Vec<Cost<'_>> {
    let is_sgd = |number: usize| report.references[0].is_some_and(|sgd| sgd + 1 == number);
    let of = |(number, row)| {
        let row: &Row = row;
        if far_below(report, row).is_some() {
            return None;
        }
        // Nothing is compared with itself.
        let cost = cost(row).or(is_sgd(number).then_some(1.0))?;
        Some(Cost { number, row, cost, worth: worth(row)? })
    };
    (1..).zip(&report.rows).filter_map(of).collect()
}

fn panel(report: &Report, title: &str, (across, up): (&str, &str), all: &[Cost<'_>]) -> Option<Panel> {
    if all.len() < 2 {
        return None;
    }
    // As high as the plot of differences beside it, which leaves room for every name.
    let height = RowPlot::new(&report.rows).height().max(HEIGHT);
    let x = Axis::over(all.iter().map(|c| c.cost), [58.0, WIDTH - 12.0])?;
    let y = Axis::over(all.iter().flat_map(|c| c.worth.bar), [height - 40.0, TITLE])?;
    let at = |c: &Cost<'_>| (x.at(c.cost), y.at(c.worth.value));
    let points: Vec<((f64, f64), &str)> = all.iter().map(|c| (at(c), c.row.name.as_str())).collect();
    let [left, right] = x.pixels();
    let bar = |c: &Cost<'_>| {
        let ([low, high], (px, _)) = (c.worth.bar.map(|value| y.at(value)), at(c));
        Area { left: px - 2.0, right: px + 2.0, top: high, bottom: low }
    };
    let bars: Vec<Area> = all.iter().map(bar).collect();
    let names = placed(&points, &bars, Area { left, right, top: TITLE, bottom: height - 40.0 });
    let text = |c: &Cost<'_>| format!("{}: {}, cost {:.2}", c.row.name, c.worth.words, c.cost);
    let body = html! {
        (frame(&x, &y, [across, up]))
        // Below all names and marks.
        @for (c, name) in all.iter().zip(&names) {
            @let (px, py) = at(c);
            @let [low, high] = c.worth.bar.map(|value| y.at(value));
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
