//! The report of a run while its cells are trained.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use super::gather::stem;
use crate::error::Result;
use crate::record::{RunFolder, RunManifest, by_setting};
use crate::report::{HTML, Layout, Options, Report};
use crate::stats::Summary;
use crate::suite::Names;

/// Between two writes of the page passes at least so many times the duration of one.
const PAUSE: u32 = 20;

/// Writes the page after every finished cell, and knows how the settings stand.
pub(super) struct Live<'r> {
    folder: &'r RunFolder,
    manifest: &'r RunManifest,
    /// What the page says, once it has been written.
    report: Option<Report>,
    /// When the page may be written again.
    due: Instant,
}

impl<'r> Live<'r> {
    /// Of a run in its folder.
    pub(super) fn new(folder: &'r RunFolder, manifest: &'r RunManifest) -> Self {
        Self { folder, manifest, report: None, due: Instant::now() }
    }

    /// Names of the run's cells by id: their setting's, as in tables, and the seed.
    pub(super) fn names(&self) -> HashMap<String, String> {
        let groups = by_setting([(&self.manifest.cells, &[])]);
        let names = Names::new(groups.iter().map(|group| &group.setting)).names;
        let cells =
            groups.iter().zip(&names).flat_map(|(group, name)| group.planned[0].iter().map(move |cell| (cell, name)));
        cells.map(|(cell, name)| (cell.id(), format!("{name}, seed {}", cell.seed))).collect()
    }

    /// Path of the page.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join(format!("report-{}.{}", stem(self.manifest), HTML.extension))
    }

    /// Writes the page after a cell; where cells take less time than the page, not after each of them. Returns whether it was
    /// written.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn update(&mut self) -> Result<bool> {
        let start = Instant::now();
        if start < self.due {
            return Ok(false);
        }
        self.write()?;
        self.due = Instant::now() + PAUSE * start.elapsed();
        Ok(true)
    }

    /// Writes the page, with the cells that other processes have finished meanwhile.
    ///
    /// # Errors
    /// When the records cannot be read or the page cannot be written.
    pub(super) fn write(&mut self) -> Result<()> {
        let records = self.folder.scan()?.records;
        let report = Report::new(self.manifest, &records, &Options::default());
        let contents = report.render(&HTML, Layout::default(), &Report::of_plan(self.manifest, &records))?;
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
