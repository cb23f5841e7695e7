//! What a report shows as pictures: each file draws one kind of figure.

mod cost;
mod curvature;
mod curves;
mod differences;
mod flops;
mod scaling;

use std::collections::BTreeSet;

pub use curvature::series;
pub use scaling::scaling;

use super::Report;
use super::draw::{Family, Figure, Key};
use crate::record::Record;

/// A file to be written.
pub struct File {
    /// Its name.
    pub name: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// All figures of a report and of the records behind it, the most important first.
pub fn figures(report: &Report, records: &[&Record]) -> Vec<Figure> {
    let mut figures = curvature::figures(report, records);
    figures.extend(answer(report));
    figures.extend(frontier(report));
    figures.extend(flops::figure(report));
    figures.extend(curves::figure(report));
    let subject = super::table::title(report);
    figures.iter_mut().for_each(|figure| figure.subject.clone_from(&subject));
    figures
}

/// Differences to SGD and SAM, and accuracy against what it costs.
fn answer(report: &Report) -> Option<Figure> {
    let (to_sgd, to_sam) = (differences::to_sgd(report), differences::to_sam(report));
    let (time, flops) = (cost::time(report), cost::flops(report));
    let panels: Vec<_> = [to_sgd, time, to_sam, flops].into_iter().flatten().collect();
    (!panels.is_empty()).then(|| Figure {
        name: "answer".into(),
        subject: String::new(),
        title: "differences to SGD and SAM, and accuracy against cost".into(),
        caption: format!(
            "Differences: mean over seeds with the 95% interval; the band is the margin of {} points within which a loss \
             does not count. Cost: mean accuracy ± standard deviation over seeds.{}",
            report.claims.margin,
            cost::left_out(report)
        ),
        legend: families(report),
        panels,
    })
}

/// What each row keeps of SAM's gain, against what it costs.
fn frontier(report: &Report) -> Option<Figure> {
    let panels = cost::kept(report);
    (!panels.is_empty()).then(|| Figure {
        name: "frontier".into(),
        subject: String::new(),
        title: "share of SAM's gain kept, against cost".into(),
        caption: format!(
            "Gain kept: the difference to SGD over SAM's, with Fieller's 95% interval; SGD is at 0 and SAM at 100 by definition. \
             Bars end 50 points from the mean; rows whose interval is unbounded are left out.{}",
            cost::left_out(report)
        ),
        legend: families(report),
        panels,
    })
}

/// A legend of the families that a report has.
fn families(report: &Report) -> Vec<Key> {
    report.rows.iter().map(Family::of).collect::<BTreeSet<_>>().into_iter().map(Key::family).collect()
}
