//! Step time against threads, batch size and width.

use crate::bench::Sweep;
use crate::report::draw::{Figure, Key, Line, Lines, Panel};

/// A panel for each sweep, with logarithmic axes.
pub fn scaling(subject: String, sweeps: &[Sweep]) -> Figure {
    let panel = |sweep: &Sweep| -> Panel {
        let line = |class, seconds: &[f64]| {
            let points = sweep.points.iter().zip(seconds);
            Line { class, curve: points.map(|(point, s)| (point.value as f64, 1e3 * s, 0.0)).collect() }
        };
        let measured: Vec<f64> = sweep.points.iter().map(|point| point.seconds()).collect();
        Lines {
            title: sweep.varied.name().into(),
            axes: [sweep.varied.name(), "ms per step"],
            logarithmic: [true, true],
            range: None,
            lines: vec![line("second", &sweep.at_best_rate()), line("first", &measured)],
        }
        .panel()
    };
    Figure {
        name: "scaling".into(),
        subject,
        title: "time of a step".into(),
        caption: "Median time of a step.".into(),
        legend: vec![Key::line("first", "measured"), Key::line("second", "at the best rate per thread of the panel")],
        panels: sweeps.iter().map(panel).collect(),
    }
}
