//! Nominal, theoretical and executed FLOPs side by side.

use maud::{Markup, html};

use crate::report::draw::{Axis, Figure, Key, RowPlot, tenth};
use crate::report::{Report, Row};

const KINDS: [&str; 3] = ["nominal", "theoretical", "executed"];

pub(super) fn figure(report: &Report) -> Option<Figure> {
    let plot = RowPlot::new(&report.rows);
    let all = report.rows.iter().flat_map(ratios).flatten();
    let axis = Axis::over(all.chain([0.0]), plot.pixels())
        .filter(|_| report.rows.iter().any(|row| ratios(row)[0].is_some()))?;
    let marks = |row: &Row, y: f64| {
        let found: Vec<(&str, f64)> = KINDS.into_iter().zip(ratios(row)).filter_map(|(k, r)| Some((k, r?))).collect();
        let texts: Vec<String> = found.iter().map(|(kind, ratio)| format!("{kind} {ratio:.2}")).collect();
        let drawn = html! { @for (kind, ratio) in &found { (mark(kind, axis.at(*ratio), y)) } };
        (!found.is_empty()).then(|| (format!("{}: {}", row.name, texts.join(", ")), drawn))
    };
    let panel = plot.panel("FLOPs of the whole training", (&axis, "multiples of SGD's"), &html! {}, marks);
    Some(Figure {
        name: "flops".into(),
        subject: String::new(),
        title: "FLOPs, three ways".into(),
        caption: "Nominal: everything dense. Theoretical: by the papers' formula. Executed: counted by the kernels. They must not be mixed.".into(),
        legend: KINDS.iter().map(|kind| Key { mark: mark(kind, 10.0, 7.0), text: (*kind).into() }).collect(),
        panels: vec![panel],
    })
}

fn ratios(row: &Row) -> [Option<f64>; 3] {
    [row.flops_nominal_ratio_to_sgd, row.flops_theoretical_ratio_to_sgd, row.flops_executed_ratio_to_sgd]
}

/// A large ring, a bar and a dot, all visible where they coincide.
fn mark(kind: &str, x: f64, y: f64) -> Markup {
    html! {
        @match kind {
            "nominal" => { circle class="nominal" cx=(tenth(x)) cy=(tenth(y)) r="6" {} }
            "theoretical" => { rect class="theoretical" x=(tenth(x - 1.5)) y=(tenth(y - 8.0)) width="3" height="16" {} }
            _ => { circle class="executed" cx=(tenth(x)) cy=(tenth(y)) r="3" {} }
        }
    }
}
