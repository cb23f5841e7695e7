//! Line charts.

use maud::{Markup, html};

use super::{Axis, Panel, TITLE, frame};

/// Points of a line, and how far its band reaches up and down from each, where it has one.
pub(in crate::report) type Curve = Vec<(f64, f64, f64)>;

/// A line and its class in the style sheet. Lines of one chart differ in their dashes too.
pub(in crate::report) struct Line {
    pub(in crate::report) class: &'static str,
    pub(in crate::report) curve: Curve,
}

/// A line chart.
pub(in crate::report) struct Lines {
    pub(in crate::report) title: String,
    /// Titles of the axes.
    pub(in crate::report) axes: [&'static str; 2],
    /// Whether the horizontal and the vertical axis are logarithmic.
    pub(in crate::report) logarithmic: [bool; 2],
    /// The range of the vertical axis; `None` for that of the lines.
    pub(in crate::report) range: Option<[f64; 2]>,
    pub(in crate::report) lines: Vec<Line>,
}

impl Lines {
    /// The chart; empty where there is no point to show.
    pub(in crate::report) fn panel(self) -> Panel {
        let size = [360.0, 230.0];
        let body = self.body(size).unwrap_or_default();
        Panel { title: self.title, size, body }
    }

    fn body(&self, [width, height]: [f64; 2]) -> Option<Markup> {
        let curves = || self.lines.iter().flat_map(|line| &line.curve);
        let places = curves().map(|(x, ..)| *x);
        let x = Axis::scaled(self.logarithmic[0], places, [58.0, width - 12.0])?;
        let (values, pixels) = (curves().flat_map(|(_, y, band)| [y - band, y + band]), [height - 40.0, TITLE]);
        let y = match self.range {
            Some(range) => Axis::over(range, pixels),
            None => Axis::scaled(self.logarithmic[1], values, pixels),
        }?;
        let at = |points: &mut dyn Iterator<Item = (f64, f64)>| {
            let shown = points.filter(|(_, value)| y.shows(*value));
            shown.map(|(px, py)| format!("{},{}", x.at(px), y.at(y.clamped(py)))).collect::<Vec<_>>().join(" ")
        };
        Some(html! {
            (frame(&x, &y, self.axes))
            @for Line { class, curve } in &self.lines {
                @if curve.iter().any(|(.., band)| *band > 0.0) {
                    @let upper = curve.iter().map(|(x, y, band)| (*x, y + band));
                    @let lower = curve.iter().rev().map(|(x, y, band)| (*x, y - band));
                    polygon class={ "band " (class) } points=(at(&mut upper.chain(lower))) {}
                }
                polyline class=(class) points=(at(&mut curve.iter().map(|(x, y, _)| (*x, *y)))) {}
            }
        })
    }
}
