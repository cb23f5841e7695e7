//! Plots with a line for each setting, by name, grouped by family.

use maud::{Markup, html};

use super::axis::horizontal;
use super::{Axis, Family, Panel, TITLE, point, tenth, text_width};
use crate::report::Row;

/// Pixels of a setting's line, between families, and of the plot itself.
const STEP: f64 = 21.0;
const BETWEEN: f64 = 5.0;
const PLOT: f64 = 250.0;

/// A setting's line.
struct RowLine<'r> {
    /// Number of its row in the table, from 1.
    number: usize,
    row: &'r Row,
    y: f64,
}

/// The names of settings at the left, an axis below, and a place for each setting's marks.
pub(in crate::report) struct RowPlot<'r> {
    lines: Vec<RowLine<'r>>,
    left: f64,
    bottom: f64,
}

impl<'r> RowPlot<'r> {
    /// Places for the rows of a table.
    pub(in crate::report) fn new(rows: &'r [Row]) -> Self {
        let mut ordered: Vec<(usize, &Row)> = (1..).zip(rows).collect();
        ordered.sort_by_key(|(_, row)| Family::of(row));
        let mut lines: Vec<RowLine<'r>> = Vec::new();
        for (number, row) in ordered {
            let y = match lines.last() {
                None => TITLE + STEP / 2.0,
                Some(last) if Family::of(last.row) == Family::of(row) => last.y + STEP,
                Some(last) => last.y + STEP + BETWEEN,
            };
            lines.push(RowLine { number, row, y });
        }
        let left = rows.iter().map(|row| text_width(&row.name)).fold(0.0, f64::max) + 12.0;
        let bottom = lines.last().map_or(TITLE, |last| last.y) + STEP / 2.0;
        Self { lines, left, bottom }
    }

    /// The pixels of its axis.
    pub(in crate::report) fn pixels(&self) -> [f64; 2] {
        [self.left, self.left + PLOT]
    }

    /// Its height, in pixels.
    pub(in crate::report) fn height(&self) -> f64 {
        self.bottom + 38.0
    }

    /// The chart. `below` is drawn first; `marks` draws a row at a height, with a text on it, or returns `None` where there is nothing
    /// to draw.
    pub(in crate::report) fn panel(
        &self,
        title: &str,
        (x, axis): (&Axis, &str),
        below: &Markup,
        marks: impl Fn(&Row, f64) -> Option<(String, Markup)>,
    ) -> Panel {
        let body = html! {
            (horizontal(x, [self.bottom, TITLE], axis))
            (below)
            @for RowLine { number, row, y } in &self.lines {
                @if let Some((text, drawn)) = marks(row, *y) {
                    (point(*number, &text, &html! {
                        rect class="hit" x="0" y=(tenth(y - STEP / 2.0)) width=(tenth(self.left + PLOT)) height=(STEP) {}
                        text class="name" x=(tenth(self.left - 8.0)) y=(tenth(y + 4.0)) text-anchor="end" { (row.name) }
                        (drawn)
                    }))
                } @else {
                    text class="name faint" x=(tenth(self.left - 8.0)) y=(tenth(y + 4.0)) text-anchor="end" { (row.name) }
                }
            }
        };
        Panel { title: title.into(), size: [self.left + PLOT + 14.0, self.height()], body }
    }

    /// A rectangle over all rows.
    pub(in crate::report) fn band(&self, class: &str, [left, right]: [f64; 2]) -> Markup {
        html! { rect class=(class) x=(left) y=(TITLE) width=(tenth(right - left)) height=(tenth(self.bottom - TITLE)) {} }
    }
}
