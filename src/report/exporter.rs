//! What an exporter is: a format with a pure function that writes a report in it.

use super::{File, Report};
use crate::error::Result;

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
    /// Whether it shows the figures of measured curvature.
    pub draws: bool,
    /// Whether a finished run keeps its report in this format.
    pub is_kept: bool,
    pub(super) export: fn(&Report, &Canvas<'_>) -> Result<Vec<u8>>,
}

/// What an exporter may use beside the report.
pub(super) struct Canvas<'a> {
    /// The terminal's width, in columns.
    pub(super) width: Option<usize>,
    /// Figures of measured curvature.
    pub(super) figures: &'a [File],
}
