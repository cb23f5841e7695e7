//! Learning curves.

use std::collections::BTreeSet;

use crate::report::draw::{Curve, Family, Figure, Key, Line, Lines, Panel};
use crate::report::{Report, Row};

/// Test accuracy by epoch: a panel for each setting, with those that it is compared with; the same range of accuracies in all.
pub(super) fn figure(report: &Report) -> Option<Figure> {
    let [sgd, sam] = report.references.map(|place| place.map(|place| &report.rows[place]));
    let shown: Vec<&Row> = report.rows.iter().filter(|row| row.test_accuracy_by_epoch.len() > 1).collect();
    let ends =
        |row: &&Row| curve(row).into_iter().flat_map(|(_, mean, band)| [mean - band, mean + band]).collect::<Vec<_>>();
    let all: Vec<f64> = shown.iter().flat_map(ends).collect();
    let range =
        [all.iter().copied().fold(f64::INFINITY, f64::min), all.iter().copied().fold(f64::NEG_INFINITY, f64::max)];
    let panel = |row: &&Row| -> Panel {
        let compared = [(sgd, "to-sgd"), (sam, "to-sam")].into_iter().filter_map(|(other, class)| {
            let other = other.filter(|other| !std::ptr::eq(*other, *row))?;
            Some(Line { class, curve: curve(other).into_iter().map(|(x, y, _)| (x, y, 0.0)).collect() })
        });
        let own = Line { class: Family::of(row).class(), curve: curve(row) };
        let lines = compared.chain([own]).collect();
        let (title, axes) = (row.name.clone(), ["epoch", "test accuracy %"]);
        Lines { title, axes, logarithmic: [false; 2], range: Some(range), lines }.panel()
    };
    let families: BTreeSet<Family> = shown.iter().map(|row| Family::of(row)).collect();
    let own = families.into_iter().map(|family| Key::line(family.class(), family.name()));
    let compared =
        [("to-sgd", "the SGD that rows are compared with"), ("to-sam", "the SAM that rows are compared with")];
    let legend = own.chain(compared.map(|(class, text)| Key::line(class, text))).collect();
    (!shown.is_empty()).then(|| Figure {
        name: "curves".into(),
        subject: String::new(),
        title: "learning curves".into(),
        caption: "Test accuracy after each epoch, mean over seeds, with a band of one standard deviation.".into(),
        legend,
        panels: shown.iter().map(panel).collect(),
    })
}

/// In percent.
fn curve(row: &Row) -> Curve {
    let points = row.test_accuracy_by_epoch.iter().map(|after| (after.epoch as f64, after.accuracy));
    points.map(|(epoch, s)| (epoch, 100.0 * s.mean, 100.0 * s.sd.unwrap_or(0.0))).collect()
}
