//! Repeated surveys of a run. A cell that Slurm no longer lists counts as lost only after it has
//! been absent for a while.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::client::Slurm;
use super::sbatch::settle;
use super::submission::{Acceptance, read_submissions};
use super::survey::{Standing, Survey};
use crate::error::Result;
use crate::record::Selection;

/// Surveys the cells of a run repeatedly.
pub struct Tracker<'a> {
    slurm: &'a Slurm,
    selection: Selection<'a>,
    finished: HashSet<String>,
    /// Time since which a cell has had neither a task nor a record.
    absent: HashMap<String, Instant>,
}

impl<'a> Tracker<'a> {
    /// Creates a tracker for some cells of a run.
    pub fn new(slurm: &'a Slurm, selection: Selection<'a>) -> Self {
        Self { slurm, selection, finished: HashSet::new(), absent: HashMap::new() }
    }

    /// Surveys the cells now. `owns` says whether this process holds
    /// [`crate::record::RunFolder::lock_submission`].
    ///
    /// # Errors
    /// When the run folder cannot be read. The survey itself reports if Slurm does not respond or
    /// is not installed.
    pub fn look(&mut self, owns: bool) -> Result<Survey<'a>> {
        let Selection { folder, manifest, cells } = self.selection;
        let mut submissions = read_submissions(folder)?;
        if submissions.iter().any(|s| s.acceptance == Acceptance::Submitting) {
            // Submissions are not settled while another process is submitting.
            let lock = if owns { None } else { folder.lock_submission()? };
            if owns || lock.is_some() {
                settle(self.slurm, folder, &mut submissions).ok();
            }
        }
        // Slurm is queried before the folder is read, so that a cell that ends in between has its
        // record.
        let rows = self.slurm.rows(&submissions).unwrap_or_else(|e| Err(e.to_string()));
        folder.find_finished(cells, &manifest.data_sha256, &mut self.finished)?;
        let survey = Survey::new(folder, cells, &self.finished, &submissions, rows);
        if survey.silence.is_none() {
            let now = Instant::now();
            let ended = survey.cells.iter().filter(|(_, standing)| matches!(standing, Standing::Ended(_)));
            let before = std::mem::take(&mut self.absent);
            self.absent = ended.map(|(cell, _)| (cell.id(), before.get(&cell.id()).copied().unwrap_or(now))).collect();
        }
        Ok(survey)
    }

    /// Whether the run is settled: nothing is in flight, and every task without a record ended at
    /// least `grace` ago, enough for a record to appear on a network disk.
    pub fn is_settled(&self, survey: &Survey<'_>, grace: Duration) -> bool {
        survey.silence.is_none()
            && survey.in_flight() == 0
            && self.absent.values().all(|since| since.elapsed() >= grace)
    }

    /// Queries accounting, if available, about tasks that Slurm has forgotten.
    pub fn explain(&self, survey: &mut Survey<'_>) {
        let mut forgotten: Vec<_> = survey
            .cells
            .iter_mut()
            .filter_map(|(_, standing)| match standing {
                Standing::Ended(fate) if fate.how.is_none() => Some(fate),
                _ => None,
            })
            .collect();
        let mut jobs: Vec<u64> = forgotten.iter().map(|fate| fate.job).collect();
        jobs.sort_unstable();
        jobs.dedup();
        if jobs.is_empty() {
            return;
        }
        let fates = self.slurm.fates(&jobs);
        for fate in &mut forgotten {
            fate.how = fates.get(&(fate.job, fate.task)).cloned();
        }
    }
}
