//! How a report is printed: the options that its commands share.

use std::io::IsTerminal;

use crate::error::{Error, Result};
use crate::record::Record;
use crate::report::{Exporter, Layout, Report};
use crate::terminal;

#[derive(clap::Args)]
pub(super) struct Printing {
    /// Format of the report.
    #[arg(long, value_enum, default_value = "table")]
    pub(super) format: &'static Exporter,
    /// Show every column of the table, not only those that fit the terminal.
    #[arg(long)]
    wide: bool,
    /// Explain each column below the table.
    #[arg(long)]
    explain: bool,
}

impl Printing {
    /// Refuses to print what is no text to a terminal.
    pub(super) fn check(&self) -> Result<()> {
        let format = self.format;
        if format.is_text || !std::io::stdout().is_terminal() {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "--format {} is binary and not for a terminal; write it to a file: > cells.{}",
            format.name, format.extension
        )))
    }

    /// Prints a report, the table within the terminal's width where there is one.
    pub(super) fn print(&self, report: &Report, records: &[&Record]) -> Result<()> {
        let layout = Layout { width: Some(terminal::width()), wide: self.wide, explain: self.explain };
        super::print(report.render(self.format, layout, records)?)?;
        Ok(())
    }
}
