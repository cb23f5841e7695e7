//! One line per cell. Accuracies are fractions, times seconds, FLOPs of the whole training.

use serde_json::Value;

use super::Report;
use super::exporter::Exporter;
use super::parquet::columns;

pub(super) const CSV: Exporter = Exporter {
    name: "csv",
    about: "One line per cell, for data frames",
    extension: "csv",
    is_text: true,
    is_kept: true,
    export: |report, _| Ok(cells(report).into_bytes()),
};

/// Every finished cell, with the keys of the JSON report's cells as header, also where there is no cell.
fn cells(report: &Report) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let columns: Vec<String> = columns().into_iter().map(|(name, _)| name).collect();
    // Writing to memory cannot fail.
    writer.write_record(&columns).ok();
    for cell in report.rows.iter().flat_map(|r| &r.cells).filter_map(|c| serde_json::to_value(c).ok()) {
        writer.write_record(columns.iter().map(|column| guarded(&cell[column]))).ok();
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// A field that no spreadsheet takes for a formula: records may be a stranger's.
fn guarded(value: &Value) -> String {
    let text = text(value);
    let is_formula = value.is_string() && text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if is_formula { format!("'{text}") } else { text }
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
