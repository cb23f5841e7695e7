//! The formats of a report: a line for each exporter, which has a file of its own.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use super::exporter::Exporter;
use super::{csv, html, json, latex, parquet, table};

/// Every exporter, in the order of the command line's help.
pub const EXPORTERS: &[&Exporter] =
    &[&table::TERMINAL, &table::MARKDOWN, &csv::CSV, &json::JSON, &html::HTML, &latex::LATEX, &parquet::PARQUET];

impl ValueEnum for &'static Exporter {
    fn value_variants<'a>() -> &'a [Self] {
        EXPORTERS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name).help(self.about))
    }
}
