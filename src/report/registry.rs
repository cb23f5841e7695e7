//! The formats of a report: a line for each exporter, which has a file of its own.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use super::exporter::Exporter;

/// Every exporter, in the order of the command line's help.
pub const EXPORTERS: &[&Exporter] = &[
    &super::table::TERMINAL,
    &super::table::MARKDOWN,
    &super::csv::CSV,
    &super::json::JSON,
    &super::html::HTML,
    &super::latex::LATEX,
    &super::parquet::PARQUET,
];

impl ValueEnum for &'static Exporter {
    fn value_variants<'a>() -> &'a [Self] {
        EXPORTERS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name).help(self.about))
    }
}
