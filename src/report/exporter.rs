//! What an exporter is: a format with a pure function that writes a report in it.

use super::Report;
use crate::error::Result;
use crate::record::Record;

/// A format, and how a report is written in it.
pub struct Exporter {
    /// Name on the command line.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Extension of its files.
    pub extension: &'static str,
    /// Whether it is text, which a terminal can show.
    pub is_text: bool,
    /// Whether a finished run keeps its report in this format.
    pub is_kept: bool,
    pub(super) export: fn(&Report, &Canvas<'_>) -> Result<Vec<u8>>,
}

/// How tables are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The terminal's width, in columns; 100 where there is none.
    pub width: Option<usize>,
    /// Every column.
    pub wide: bool,
    /// What every column means, below the table.
    pub explain: bool,
}

/// What an exporter may use beside the report.
pub(super) struct Canvas<'a> {
    /// How tables are laid out.
    pub(super) layout: Layout,
    /// The records behind it, for its figures.
    pub(super) records: &'a [&'a Record],
}
