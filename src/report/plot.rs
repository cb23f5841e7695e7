//! Line plots as small multiples, SVG and PNG from one description. Lines differ by dashes, so that they can be told apart in
//! black and white.

use std::io::Cursor;
use std::ops::Range;

use image::{ImageFormat, RgbImage};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use crate::error::{Error, Result};

/// Pixels of a panel.
const PANEL: (u32, u32) = (480, 320);
/// Pixels above all panels, for the title and what the lines mean.
const HEADING: u32 = 52;
const TEXT: u32 = 14;
const INK: RGBColor = RGBColor(20, 20, 20);

/// Panels with one meaning of axes and lines.
pub(super) struct Figure {
    /// What it shows.
    pub(super) title: String,
    /// Label of the horizontal axis.
    pub(super) x: &'static str,
    /// Whether the vertical axis is logarithmic.
    pub(super) logarithmic: bool,
    /// What each line is, in every panel.
    pub(super) lines: Vec<&'static str>,
    /// A panel for each training.
    pub(super) panels: Vec<Panel>,
}

/// One training.
pub(super) struct Panel {
    /// What distinguishes it.
    pub(super) title: String,
    /// Points of each line, empty where it has none.
    pub(super) lines: Vec<Vec<(f64, f64)>>,
}

/// Runs an expression on a line through points, whole or dashed.
macro_rules! with_line {
    ($points:expr, $style:expr, |$line:ident| $then:expr) => {{
        let Style { dash, gap, colour } = $style;
        let stroke = colour.stroke_width(2);
        if gap == 0 {
            let $line = PathElement::new($points, stroke);
            $then
        } else {
            let $line = DashedPathElement::new($points, dash, gap, stroke);
            $then
        }
    }};
}

/// How a line is drawn: pixels of its dashes and of the gaps between them (0: a whole line), and a colour dark enough on white.
#[derive(Clone, Copy)]
struct Style {
    dash: i32,
    gap: i32,
    colour: RGBColor,
}

const STYLES: [Style; 3] = [
    Style { dash: 1, gap: 0, colour: INK },
    Style { dash: 9, gap: 5, colour: RGBColor(178, 34, 34) },
    Style { dash: 2, gap: 4, colour: RGBColor(30, 80, 160) },
];

impl Figure {
    /// As an SVG document.
    ///
    /// # Errors
    /// When it cannot be drawn.
    pub(super) fn svg(&self) -> Result<String> {
        let mut text = String::new();
        self.draw(SVGBackend::with_string(&mut text, self.size()).into_drawing_area())?;
        Ok(text)
    }

    /// As a PNG file.
    ///
    /// # Errors
    /// When it cannot be drawn.
    pub(super) fn png(&self) -> Result<Vec<u8>> {
        let (width, height) = self.size();
        let mut pixels = vec![255; (width * height * 3) as usize];
        self.draw(BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area())?;
        let picture = RgbImage::from_raw(width, height, pixels).ok_or_else(|| error(&"no picture"))?;
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, ImageFormat::Png).map_err(|e| error(&e))?;
        Ok(file.into_inner())
    }

    fn columns(&self) -> usize {
        (self.panels.len() as f64).sqrt().ceil().max(1.0) as usize
    }

    fn size(&self) -> (u32, u32) {
        let (columns, rows) = (self.columns(), self.panels.len().div_ceil(self.columns()));
        (PANEL.0 * columns as u32, PANEL.1 * rows as u32 + HEADING)
    }

    fn draw<B: DrawingBackend>(&self, area: DrawingArea<B, Shift>) -> Result<()> {
        font()?;
        area.fill(&WHITE).map_err(|e| error(&e))?;
        let (heading, panels) = area.split_vertically(HEADING);
        self.heading(&heading)?;
        let rows = self.panels.len().div_ceil(self.columns());
        for (panel, place) in self.panels.iter().zip(panels.split_evenly((rows, self.columns()))) {
            let [x, y] = panel.ranges(self.logarithmic);
            let place = place.margin(4, 8, 6, 24);
            if self.logarithmic {
                let marks = marks(&y);
                panel.draw(&place, x, (y.start..y.end).log_scale().with_key_points(marks), self)?;
            } else {
                panel.draw(&place, x, y, self)?;
            }
        }
        area.present().map_err(|e| error(&e))
    }

    /// Title, and below it a piece of every line with its meaning.
    fn heading<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<()> {
        let text = |size: u32| ("sans-serif", size).into_font().color(&INK);
        area.draw_text(&self.title, &text(TEXT + 3), (12, 8)).map_err(|e| error(&e))?;
        let mut at = 14;
        for (name, style) in self.lines.iter().zip(STYLES) {
            let points = [(at, 40), (at + 34, 40)];
            with_line!(points, style, |line| area.draw(&line)).map_err(|e| error(&e))?;
            area.draw_text(name, &text(TEXT), (at + 42, 32)).map_err(|e| error(&e))?;
            let (width, _) = area.estimate_text_size(name, &text(TEXT)).map_err(|e| error(&e))?;
            at += 42 + width as i32 + 28;
        }
        Ok(())
    }
}

impl Panel {
    /// The ranges of both axes: all points, with some room above and below.
    fn ranges(&self, logarithmic: bool) -> [Range<f64>; 2] {
        let points = || self.shown(logarithmic).flatten();
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
        };
        let (x0, x1) = range(&mut points().map(|(x, _)| x));
        let (y0, y1) = range(&mut points().map(|(_, y)| y));
        if !x0.is_finite() {
            return [0.0..1.0, if logarithmic { 0.1..1.0 } else { 0.0..1.0 }];
        }
        let y = if logarithmic {
            y0 / 1.3..y1 * 1.3
        } else {
            let room = 0.05 * (y1 - y0).max(1e-9 + 1e-3 * y1.abs());
            y0 - room..y1 + room
        };
        [x0..if x1 > x0 { x1 } else { x0 + 1.0 }, y]
    }

    /// The points of each line that its axes can show.
    fn shown(&self, logarithmic: bool) -> impl Iterator<Item = impl Iterator<Item = (f64, f64)>> {
        self.lines.iter().map(move |points| points.iter().copied().filter(move |(_, y)| !logarithmic || *y > 0.0))
    }

    fn draw<B, Y>(&self, area: &DrawingArea<B, Shift>, x: Range<f64>, y: Y, figure: &Figure) -> Result<()>
    where
        B: DrawingBackend,
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
    {
        let text = ("sans-serif", TEXT).into_font().color(&INK);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, text.clone())
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)
            .map_err(|e| error(&e))?;
        chart
            .configure_mesh()
            .x_desc(figure.x)
            .axis_style(INK)
            .bold_line_style(RGBColor(215, 215, 215))
            .light_line_style(WHITE)
            .label_style(text)
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .draw()
            .map_err(|e| error(&e))?;
        for (points, style) in self.shown(figure.logarithmic).zip(STYLES) {
            let points: Vec<(f64, f64)> = points.collect();
            with_line!(points, style, |line| chart.draw_series([line]).map(drop)).map_err(|e| error(&e))?;
        }
        Ok(())
    }
}

/// Places for numbers on a logarithmic axis: 1, 2 and 5 in every power of ten, or the powers alone where there are many.
fn marks(range: &Range<f64>) -> Vec<f64> {
    let powers = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let factors: &[f64] = if powers.clone().count() > 5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let all = powers.flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
    all.filter(|mark| range.contains(mark)).collect()
}

/// A number on an axis.
fn number(value: f64) -> String {
    if value != 0.0 && !(1e-3..1e5).contains(&value.abs()) {
        return format!("{value:.0e}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Makes the font known by which text is drawn and measured: the program's own, since a machine may have none.
fn font() -> Result<()> {
    static FONT: &[u8] = include_bytes!("../../data/font/DejaVuSans.ttf");
    register_font("sans-serif", FontStyle::Normal, FONT).map_err(|_| error(&"its font is damaged"))
}

fn error(e: &dyn std::fmt::Display) -> Error {
    Error::Report(format!("a figure cannot be drawn: {e}"))
}
