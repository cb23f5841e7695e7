//! Drawing: axes, marks, names and lines as SVG elements that a style sheet colours.
//!
//! The page and the figure files are drawn by this module alone. Charts follow the reader's light or dark theme, show their numbers
//! when hovered or focused, and place names without overlap; libraries for charts offer none of these.

mod axis;
mod family;
mod labels;
mod lines;
mod png;
mod rows;

pub(super) use axis::{Axis, frame, tenth};
pub(super) use family::Family;
pub(super) use labels::{Area, placed};
pub(super) use lines::{Curve, Line, Lines};
use maud::{Markup, PreEscaped, html};
pub(super) use rows::RowPlot;

use crate::error::Result;

/// Colours and fonts of charts, in light and in dark.
pub(super) const STYLE: &str = include_str!("chart.css");
/// Pixels of a line of text.
const LINE: f64 = 14.0;
/// Pixels between panels, and around all.
const GAP: f64 = 14.0;
/// Minimum width of a figure, in pixels.
const MIN_WIDTH: f64 = 400.0;
/// Size of a heading, in that of other texts.
const HEADING: f64 = 1.2;
/// Pixels above a panel's chart, for its title.
pub(super) const TITLE: f64 = 22.0;

/// Charts with one meaning.
#[derive(Clone, Debug)]
pub struct Figure {
    /// File name without extension.
    pub name: String,
    /// What the report is of.
    pub(super) subject: String,
    /// What it shows.
    pub title: String,
    /// How to read it, in sentences.
    pub(super) caption: String,
    pub(super) legend: Vec<Key>,
    pub(super) panels: Vec<Panel>,
}

/// An entry of a legend.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// What is drawn, around (10, 7).
    pub(super) mark: Markup,
    pub(super) text: String,
}

impl Key {
    /// Width of a mark, in pixels.
    const MARK: f64 = 22.0;

    /// Of a line, by its class.
    pub(super) fn line(class: &str, text: &str) -> Self {
        Self { mark: html! { polyline class=(class) points="1,7 19,7" {} }, text: text.into() }
    }

    /// Of a family.
    pub(super) fn family(family: Family) -> Self {
        Self { mark: family.mark(10.0, 7.0), text: family.name().into() }
    }

    fn width(&self) -> f64 {
        Self::MARK + text_width(&self.text) + GAP
    }

    fn drawn(&self) -> Markup {
        html! { (self.mark) text x=(Self::MARK) y="11" { (self.text) } }
    }

    /// As an element of the page's text.
    pub(super) fn on_page(&self) -> Markup {
        html! { span class="key" { svg class="chart" width=(Self::MARK) height=(LINE) aria-hidden="true" { (self.mark) } (self.text) } }
    }
}

/// One chart.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) title: String,
    /// Width and height, in pixels.
    pub(super) size: [f64; 2],
    /// Its elements, below [`TITLE`] pixels left for the title.
    pub(super) body: Markup,
}

impl Panel {
    /// As an element of the page.
    pub(super) fn on_page(&self) -> Markup {
        let [width, height] = self.size;
        html! {
            svg class="chart" viewBox={ "0 0 " (tenth(width)) " " (tenth(height)) } style={ "max-width:" (tenth(1.4 * width)) "px" } role="group" aria-label=(self.title) {
                (self.drawn())
            }
        }
    }

    fn drawn(&self) -> Markup {
        html! { text class="title" x="4" y="14" { (self.title) } (self.body) }
    }
}

impl Figure {
    /// A file of its own, which follows the light or dark theme of its viewer.
    pub fn svg(&self) -> String {
        let columns = (self.panels.len() as f64).sqrt().ceil().max(1.0) as usize;
        let rows: Vec<&[Panel]> = self.panels.chunks(columns).collect();
        let width_of = |row: &[Panel]| row.iter().map(|panel| panel.size[0] + GAP).sum::<f64>() + GAP;
        let widest = rows.iter().map(|row| width_of(row)).fold(0.0, f64::max);
        let heading = format!("{}: {}", self.subject, self.title);
        let width = widest.max(MIN_WIDTH).ceil();
        let headings = lines_of(&heading, (width - 2.0 * GAP) / HEADING);
        let (mut body, mut top) = (String::new(), 30.0 + HEADING * LINE * (headings.len() - 1) as f64);
        let mut place = |x: f64, y: f64, drawn: Markup| {
            body += &html! { g transform={ "translate(" (tenth(x)) " " (tenth(y)) ")" } { (drawn) } }.into_string();
        };
        let mut left = GAP;
        for key in &self.legend {
            if left > GAP && left + key.width() > width {
                (left, top) = (GAP, top + LINE + 4.0);
            }
            place(left, top, key.drawn());
            left += key.width();
        }
        if !self.legend.is_empty() {
            top += LINE + GAP;
        }
        for row in rows {
            let mut left = GAP;
            for panel in row {
                place(left, top, panel.drawn());
                left += panel.size[0] + GAP;
            }
            top += row.iter().map(|panel| panel.size[1]).fold(0.0, f64::max) + GAP;
        }
        let document = html! {
            svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" aria-label=(heading) width=(width) height=(top.ceil()) viewBox={ "0 0 " (width) " " (top.ceil()) } {
                style { (PreEscaped(STYLE)) }
                rect class="paper" width=(width) height=(top.ceil()) {}
                @for (line, text) in headings.iter().enumerate() {
                    text class="heading" x=(GAP) y=(tenth(20.0 + HEADING * LINE * line as f64)) { (text) }
                }
                (PreEscaped(body))
            }
        };
        document.into_string()
    }

    /// The figure as a PNG file, at twice the SVG's resolution and in the light theme.
    ///
    /// # Errors
    /// When it cannot be drawn.
    pub fn png(&self) -> Result<Vec<u8>> {
        png::rendered(&self.svg())
    }
}

/// Pixels that a text needs at the charts' size, in any common font: about what DejaVu Sans, a wide one, needs, and the halo.
pub(super) fn text_width(text: &str) -> f64 {
    let width = |c: char| match c {
        'i' | 'j' | 'l' | 'f' | 't' | 'r' | '.' | ',' | ':' | '|' | ' ' | '-' => 4.6,
        'm' | 'w' | 'M' | 'W' | '%' => 11.8,
        'A'..='Z' => 8.8,
        _ => 7.7,
    };
    text.chars().map(width).sum::<f64>() + 4.0
}

/// Wraps a text at a width in pixels; a word that is wider has a line of its own.
fn lines_of(text: &str, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let longer = lines.last().map(|line| format!("{line} {word}")).filter(|longer| text_width(longer) <= width);
        if longer.is_some() {
            lines.pop();
        }
        lines.push(longer.unwrap_or_else(|| word.into()));
    }
    lines
}

/// A mark that tells its numbers when it is hovered or focused; `row` is the number of its table row.
pub(super) fn point(row: usize, text: &str, drawn: &Markup) -> Markup {
    html! { g class="point" data-row=(row) tabindex="0" role="img" aria-label=(text) { title { (text) } (drawn) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long heading takes lines, not width: beside it the charts would look lost.
    #[test]
    fn a_long_heading_is_wrapped() {
        let panel = || Panel { title: "sgd".into(), size: [300.0, 200.0], body: html! {} };
        let of = |title: &str| Figure {
            name: "edge".into(),
            subject: "edge-mnist noise on mnist-5k with 40% symmetric label noise".into(),
            title: title.into(),
            caption: String::new(),
            legend: Vec::new(),
            panels: vec![panel(), panel()],
        };
        let long = of("top eigenvalue of the Hessian, with the edge of gradient descent and the optimizer's own").svg();
        assert_eq!(long.matches("class=\"heading\"").count(), 3, "{long}");
        assert!(long.contains("viewBox=\"0 0 642 "), "{long}");
        assert_eq!(lines_of("a bc def", text_width("a bc")), ["a bc", "def"]);
    }
}
