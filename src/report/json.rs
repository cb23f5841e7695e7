//! Rows and cells, for programs.

use super::exporter::Exporter;
use crate::error::Error;

pub(super) const JSON: Exporter = Exporter {
    name: "json",
    about: "Rows and cells, for programs",
    extension: "json",
    is_text: true,
    is_kept: true,
    export: |report, _| {
        let text = serde_json::to_string_pretty(report).map_err(|e| Error::Report(e.to_string()))?;
        Ok((text + "\n").into_bytes())
    },
};
