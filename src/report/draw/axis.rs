//! Axes: ranges of numbers over ranges of pixels, and the frame that two of them make.

use maud::{Markup, html};

/// Marks on an axis, about.
const TICKS: f64 = 5.0;

/// A range of numbers drawn over a range of pixels.
pub(in crate::report) struct Axis {
    low: f64,
    high: f64,
    pixels: [f64; 2],
    logarithmic: bool,
}

impl Axis {
    /// Covers all finite values, with some room at both ends; `None` without any.
    pub(in crate::report) fn over(values: impl IntoIterator<Item = f64>, pixels: [f64; 2]) -> Option<Self> {
        let [low, high] = extent(values)?;
        let room = 0.05 * (high - low).max(1e-9 + 1e-3 * high.abs());
        Some(Self { low: low - room, high: high + room, pixels, logarithmic: false })
    }

    /// Covers all positive values on a logarithmic scale; `None` without any.
    pub(in crate::report) fn logarithmic(values: impl IntoIterator<Item = f64>, pixels: [f64; 2]) -> Option<Self> {
        let [low, high] = extent(values.into_iter().filter(|value| *value > 0.0))?;
        Some(Self { low: low / 1.3, high: high * 1.3, pixels, logarithmic: true })
    }

    /// Covers all values on a linear or a logarithmic scale.
    pub(in crate::report) fn scaled(
        logarithmic: bool,
        values: impl IntoIterator<Item = f64>,
        pixels: [f64; 2],
    ) -> Option<Self> {
        if logarithmic { Self::logarithmic(values, pixels) } else { Self::over(values, pixels) }
    }

    /// Pixel of a value, to a tenth: that is enough, and keeps pages small.
    pub(in crate::report) fn at(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.ln() } else { value };
        let part = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low));
        tenth(self.pixels[0] + part * (self.pixels[1] - self.pixels[0]))
    }

    /// Whether it can show a value at all.
    pub(in crate::report) fn shows(&self, value: f64) -> bool {
        value.is_finite() && !(self.logarithmic && value <= 0.0)
    }

    /// The nearest value that lies on it.
    pub(in crate::report) fn clamped(&self, value: f64) -> f64 {
        value.clamp(self.low, self.high)
    }

    /// The pixels that it covers.
    pub(in crate::report) fn pixels(&self) -> [f64; 2] {
        self.pixels
    }

    /// Round numbers on it, with their texts.
    pub(in crate::report) fn ticks(&self) -> Vec<(f64, String)> {
        if self.logarithmic { self.logarithmic_ticks() } else { self.linear_ticks() }
    }

    fn linear_ticks(&self) -> Vec<(f64, String)> {
        let raw = (self.high - self.low) / TICKS;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|f| f * power).find(|s| *s >= raw).unwrap_or(raw);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|i| i as f64 * step).map(|v| (v, format!("{v:.decimals$}"))).collect()
    }

    /// 1, 2 and 5 in every power of ten, or the powers alone where there are many.
    fn logarithmic_ticks(&self) -> Vec<(f64, String)> {
        let powers = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let factors: &[f64] = if powers.clone().count() > 4 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let all = powers.flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
        let marks: Vec<(f64, String)> =
            all.filter(|value| (self.low..=self.high).contains(value)).map(|value| (value, number(value))).collect();
        // A range within one power of ten may have none of these.
        if marks.len() < 2 { self.linear_ticks() } else { marks }
    }
}

/// The least and the greatest finite value.
fn extent(values: impl IntoIterator<Item = f64>) -> Option<[f64; 2]> {
    let finite = values.into_iter().filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    low.is_finite().then_some([low, high])
}

/// A number on a logarithmic axis.
fn number(value: f64) -> String {
    if (1e-3..1e5).contains(&value) {
        let text = format!("{value:.4}");
        return text.trim_end_matches('0').trim_end_matches('.').to_string();
    }
    format!("{value:.0e}")
}

/// Rounds to a tenth.
pub(in crate::report) fn tenth(pixels: f64) -> f64 {
    (10.0 * pixels).round() / 10.0
}

/// The horizontal axis: its lines up to `top`, numbers and title below `bottom`.
pub(in crate::report) fn horizontal(x: &Axis, [bottom, top]: [f64; 2], title: &str) -> Markup {
    let [left, right] = x.pixels;
    html! {
        @for (value, text) in x.ticks() {
            line class="grid" x1=(x.at(value)) x2=(x.at(value)) y1=(tenth(bottom)) y2=(tenth(top)) {}
            text x=(x.at(value)) y=(tenth(bottom + 15.0)) text-anchor="middle" { (text) }
        }
        text x=(tenth((left + right) / 2.0)) y=(tenth(bottom + 31.0)) text-anchor="middle" { (title) }
    }
}

/// Both axes with their numbers and titles.
pub(in crate::report) fn frame(x: &Axis, y: &Axis, titles: [&str; 2]) -> Markup {
    let [left, right] = x.pixels;
    let [bottom, top] = y.pixels;
    html! {
        @for (value, text) in y.ticks() {
            line class="grid" x1=(tenth(left)) x2=(tenth(right)) y1=(y.at(value)) y2=(y.at(value)) {}
            text x=(tenth(left - 5.0)) y=(y.at(value) + 4.0) text-anchor="end" { (text) }
        }
        (horizontal(x, y.pixels, titles[0]))
        text transform={ "translate(" (tenth(left - 40.0)) " " (tenth((bottom + top) / 2.0)) ") rotate(-90)" } text-anchor="middle" { (titles[1]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_axis_has_marks_on_it() {
        for exponent in -6..7 {
            for (low, high) in [(1.0, 1.0), (2.7, 3.7), (1.0, 9.9), (2.0, 7e3), (3.0, 3.1)] {
                let scale = 10f64.powi(exponent);
                let values = [low * scale, high * scale];
                let axes = [Axis::over(values, [0.0, 100.0]), Axis::logarithmic(values, [0.0, 100.0])];
                for axis in axes.into_iter().flatten() {
                    let marks = axis.ticks();
                    assert!((2..20).contains(&marks.len()), "{values:?}: {marks:?}");
                    assert!(marks.iter().all(|(value, _)| (-0.1..=100.1).contains(&axis.at(*value))), "{marks:?}");
                }
            }
        }
        assert!(Axis::over([f64::NAN], [0.0, 1.0]).is_none() && Axis::logarithmic([0.0, -1.0], [0.0, 1.0]).is_none());
    }
}
