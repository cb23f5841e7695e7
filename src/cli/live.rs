//! The report of a run while its cells are trained.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use super::gather::stem;
use crate::error::Result;
use crate::record::{Record, RunFolder, RunManifest};
use crate::report::{HTML, Layout, Options, Report};
use crate::stats::Summary;
use crate::suite::{Cell, names};

/// Writing the page takes at most this fraction of the time.
const SHARE: u32 = 20;

/// Writes the page after every finished cell, and knows how the settings stand.
pub(super) struct Live<'r> {
    folder: &'r RunFolder,
    manifest: &'r RunManifest,
    records: Vec<Record>,
    /// What the page says, once it has been written.
    report: Option<Report>,
    /// When the page may be written again.
    due: Instant,
}

impl<'r> Live<'r> {
    /// Starts with the records that a run has.
    ///
    /// # Errors
    /// When its records cannot be read.
    pub(super) fn new(folder: &'r RunFolder, manifest: &'r RunManifest) -> Result<Self> {
        Ok(Self { folder, manifest, records: folder.scan()?.records, report: None, due: Instant::now() })
    }

    /// Names of the run's cells by id.
    pub(super) fn names(&self) -> HashMap<String, String> {
        names::of_cells(&self.manifest.cells)
    }

    /// Path of the page.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join(format!("report-{}.{}", stem(self.manifest), HTML.extension))
    }

    /// Adds a record and writes the page; where cells take less time than the page, not for each of them. Returns whether it was
    /// written.
    ///
    /// # Errors
    /// When the page cannot be written.
    pub(super) fn add(&mut self, record: Record) -> Result<bool> {
        self.records.push(record);
        let start = Instant::now();
        if start < self.due {
            return Ok(false);
        }
        self.write()?;
        self.due = Instant::now() + SHARE * start.elapsed();
        Ok(true)
    }

    /// Adds the record of a cell that another process has trained.
    ///
    /// # Errors
    /// When it cannot be read, or the page cannot be written.
    pub(super) fn add_of(&mut self, cell: &Cell) -> Result<bool> {
        self.folder.record(cell)?.map_or(Ok(false), |record| self.add(record))
    }

    /// Writes the page.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&mut self) -> Result<()> {
        let records = Report::of_plan(self.manifest, &self.records);
        let report = Report::new(self.manifest, &self.records, &Options::default());
        let contents = report.render(&HTML, Layout::default(), &records)?;
        self.report = Some(report);
        self.folder.write_report(&format!("{}.{}", stem(self.manifest), HTML.extension), contents)
    }

    /// The mean accuracy of each setting over its finished seeds when the page was written, the best first; empty without any.
    pub(super) fn standings(&self) -> String {
        let rows = self.report.iter().flat_map(|report| &report.rows);
        let mut rows: Vec<_> = rows.filter_map(|row| Some((&row.name, row.test_accuracy_last?))).collect();
        rows.sort_by(|(_, a), (_, b)| b.mean.total_cmp(&a.mean));
        let row = |(name, accuracy): &(&String, Summary)| {
            let seeds = if accuracy.n > 1 { format!(" ({} seeds)", accuracy.n) } else { String::new() };
            format!("{name} {:.1}%{seeds}", 100.0 * accuracy.mean)
        };
        rows.iter().map(row).collect::<Vec<_>>().join(", ")
    }
}
