//! Charts as SVG elements, coloured by the page's style sheet.

use maud::{Markup, html};

/// A range of numbers drawn over a range of pixels.
struct Axis {
    low: f64,
    high: f64,
    pixels: [f64; 2],
}

impl Axis {
    /// Over all finite values, with some room; none without any.
    fn over(values: impl Iterator<Item = f64>, pixels: [f64; 2]) -> Option<Self> {
        let (low, high) =
            values.filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let room = 0.05 * (high - low).max(1e-9 + 1e-3 * high.abs());
        low.is_finite().then_some(Self { low: low - room, high: high + room, pixels })
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value - self.low) / (self.high - self.low);
        // A tenth of a pixel is enough, and keeps the page small.
        (10.0 * (self.pixels[0] + part * (self.pixels[1] - self.pixels[0]))).round() / 10.0
    }

    /// Round numbers on it, about `count`, as text.
    fn ticks(&self, count: f64) -> Vec<(f64, String)> {
        let raw = (self.high - self.low) / count;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|f| f * power).find(|s| *s >= raw).unwrap_or(raw);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|i| i as f64 * step).map(|v| (v, format!("{v:.decimals$}"))).collect()
    }
}

/// The frame of a chart: both axes with their numbers and words.
fn frame(x: &Axis, y: &Axis, words: [&str; 2]) -> Markup {
    let [left, right] = x.pixels;
    let [bottom, top] = y.pixels;
    html! {
        @for (value, text) in y.ticks(5.0) {
            line class="grid" x1=(left) x2=(right) y1=(y.at(value)) y2=(y.at(value)) {}
            text x=(left - 6.0) y=(y.at(value) + 4.0) text-anchor="end" { (text) }
        }
        @for (value, text) in x.ticks(5.0) {
            line class="grid" x1=(x.at(value)) x2=(x.at(value)) y1=(bottom) y2=(top) {}
            text x=(x.at(value)) y=(bottom + 16.0) text-anchor="middle" { (text) }
        }
        text x=((left + right) / 2.0) y=(bottom + 34.0) text-anchor="middle" { (words[0]) }
        text transform={ "translate(" (left - 42.0) " " ((bottom + top) / 2.0) ") rotate(-90)" } text-anchor="middle" { (words[1]) }
    }
}

fn points(x: &Axis, y: &Axis, values: impl Iterator<Item = (f64, f64)>) -> String {
    let pairs = values.filter(|(a, b)| a.is_finite() && b.is_finite()).map(|(a, b)| format!("{},{}", x.at(a), y.at(b)));
    pairs.collect::<Vec<_>>().join(" ")
}

/// A curve of means with its spread.
pub(super) type Curve = Vec<(f64, Option<f64>)>;

/// Accuracy by epoch: the setting's own with a band of one standard deviation, and those it is compared with. The same range of
/// accuracies in all charts.
pub(super) fn curves(label: &str, own: &Curve, sgd: Option<&Curve>, sam: Option<&Curve>, range: [f64; 2]) -> Markup {
    let all = [Some(own), sgd, sam];
    let longest = all.iter().flatten().map(|c| c.len()).max().unwrap_or(0);
    let (Some(x), Some(y)) =
        (Axis::over([1.0, longest as f64].into_iter(), [52.0, 332.0]), Axis::over(range.into_iter(), [180.0, 8.0]))
    else {
        return html! {};
    };
    let line =
        |curve: &Curve| points(&x, &y, curve.iter().enumerate().map(|(i, (mean, _))| ((i + 1) as f64, 100.0 * mean)));
    let edge = |sign: f64| {
        own.iter().enumerate().map(move |(i, (mean, sd))| ((i + 1) as f64, 100.0 * (mean + sign * sd.unwrap_or(0.0))))
    };
    let band = edge(1.0).chain(edge(-1.0).collect::<Vec<_>>().into_iter().rev());
    html! {
        svg class="chart" viewBox="0 0 340 222" role="img" aria-label={ "Test accuracy by epoch of " (label) } {
            (frame(&x, &y, ["epoch", "test accuracy %"]))
            polygon class="band" points=(points(&x, &y, band)) {}
            @if let Some(curve) = sgd { polyline class="sgd" points=(line(curve)) {} }
            @if let Some(curve) = sam { polyline class="sam" points=(line(curve)) {} }
            polyline class="own" points=(line(own)) {}
        }
    }
}

/// A row in a chart of accuracy against cost.
pub(super) struct Tradeoff {
    pub(super) number: usize,
    pub(super) label: String,
    pub(super) cost: f64,
    pub(super) accuracy: f64,
    pub(super) sd: Option<f64>,
    pub(super) on_front: bool,
}

/// Accuracy against cost; the front is filled.
pub(super) fn tradeoffs(all: &[Tradeoff], cost: &str) -> Option<Markup> {
    let spread = |t: &Tradeoff, sign: f64| t.accuracy + sign * t.sd.unwrap_or(0.0);
    let x = Axis::over(all.iter().map(|t| t.cost), [60.0, 620.0])?;
    let y = Axis::over(all.iter().flat_map(|t| [spread(t, 1.0), spread(t, -1.0)]), [320.0, 8.0])?;
    Some(html! {
        svg class="chart" viewBox="0 0 640 362" role="group" aria-label={ "Test accuracy against " (cost) } {
            (frame(&x, &y, [cost, "test accuracy %"]))
            @for t in all {
                g class=(if t.on_front { "point front" } else { "point" }) {
                    title { (t.number) ": " (t.label) }
                    line x1=(x.at(t.cost)) x2=(x.at(t.cost)) y1=(y.at(spread(t, -1.0))) y2=(y.at(spread(t, 1.0))) {}
                    circle cx=(x.at(t.cost)) cy=(y.at(t.accuracy)) r="5" {}
                    text x=(x.at(t.cost) + 8.0) y=(y.at(t.accuracy) - 6.0) { (t.number) }
                }
            }
        }
    })
}

/// Bars of nominal, theoretical and executed FLOPs over SGD's, for each numbered row.
pub(super) fn flops(rows: &[(usize, String, [Option<f64>; 3])]) -> Option<Markup> {
    let all = rows.iter().flat_map(|(_, _, ratios)| ratios.iter().flatten().copied());
    let most = all.fold(f64::NAN, f64::max);
    if most.is_nan() {
        return None;
    }
    let height = rows.len() as f64 * 40.0;
    let x = Axis { low: 0.0, high: 1.15 * most, pixels: [40.0, 620.0] };
    Some(html! {
        svg class="chart" viewBox={ "0 0 640 " (height + 40.0) } role="group" aria-label="FLOPs of the whole training over SGD's, by row" {
            @for (value, text) in x.ticks(5.0) {
                line class="grid" x1=(x.at(value)) x2=(x.at(value)) y1="0" y2=(height) {}
                text x=(x.at(value)) y=(height + 16.0) text-anchor="middle" { (text) }
            }
            text x="330" y=(height + 34.0) text-anchor="middle" { "FLOPs of the whole training over SGD's" }
            @for (place, (number, label, ratios)) in rows.iter().enumerate() {
                g {
                    title { (number) ": " (label) }
                    text x="32" y=(place as f64 * 40.0 + 24.0) text-anchor="end" { (number) }
                    @for (bar, (ratio, class)) in ratios.iter().zip(["nominal", "theoretical", "executed"]).enumerate() {
                        @if let Some(ratio) = ratio {
                            rect class=(class) x="40" y=(place as f64 * 40.0 + 5.0 + bar as f64 * 10.0) width=(x.at(*ratio) - 40.0) height="8" {}
                            text class="small" x=(x.at(*ratio) + 4.0) y=(place as f64 * 40.0 + 13.0 + bar as f64 * 10.0) { (format!("{ratio:.2}")) }
                        }
                    }
                }
            }
        }
    })
}
