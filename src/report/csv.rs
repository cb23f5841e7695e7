//! One line per cell. Accuracies are fractions, times seconds, FLOPs of the whole training.

use super::Report;

/// Every finished cell with its run's names.
pub(super) fn cells(report: &Report) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for cell in report.rows.iter().flat_map(|r| &r.cells) {
        // Writing to memory cannot fail.
        writer.serialize(cell).ok();
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}
