//! Records of submissions, stored in the run folder.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::error::{Error, Result};
use crate::record::{RunFolder, SUBMISSION};
use crate::suite::is_plain;

/// Maximum bytes of a plan, enough for several million cells.
const LONGEST_PLAN: u64 = 64 << 20;
/// Maximum bytes of a submission's record.
const LONGEST: u64 = 1 << 20;
/// File with the cells' ids in a submission's folder.
pub(super) const PLAN: &str = "plan.txt";
/// Folder of its tasks' logs.
pub(super) const LOGS: &str = "logs";

/// Job id of an array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobId {
    /// Number.
    pub id: u64,
    /// Cluster, if Slurm named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

impl JobId {
    /// Parses the output of sbatch's `--parsable`: `id` or `id;cluster`. Plug-ins may print lines
    /// before it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        text.lines().rev().find_map(|line| {
            let (id, cluster) = line.trim().split_once(';').map_or((line.trim(), None), |(id, c)| (id, Some(c)));
            Some(Self { id: id.parse().ok()?, cluster: cluster.map(String::from) })
        })
    }

    pub(super) fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }
}

/// Whether Slurm accepted a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acceptance {
    /// Unknown: the submitting process got no confirmation, or ended before recording it.
    Submitting,
    /// Accepted.
    Submitted,
    /// Refused.
    Refused,
    /// Accepted, and later cancelled.
    Cancelled,
}

/// An array of jobs for some of a run's cells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// Unique name of its folder.
    #[serde(skip)]
    pub id: String,
    /// Ids of the cells, in the order of the plan.
    #[serde(skip)]
    pub cells: Vec<String>,
    /// Whether Slurm accepted it.
    pub acceptance: Acceptance,
    /// Job id, once known.
    pub job: Option<JobId>,
    /// Cells per task.
    pub cells_per_task: usize,
    /// Time of submission in milliseconds since 1970; the latest submission takes precedence.
    pub begun_unix_ms: u64,
    /// Command line of the submission.
    pub sbatch: Vec<String>,
}

impl Submission {
    /// Name of its job, used to look it up.
    pub fn name(&self) -> String {
        format!("sharpbench-{}", self.id)
    }

    /// Folder of the submission.
    pub fn path(&self, run: &RunFolder) -> PathBuf {
        run.submissions().join(&self.id)
    }

    /// Log of a task.
    pub fn log(&self, run: &RunFolder, task: usize) -> Option<PathBuf> {
        let job = self.job.as_ref()?;
        Some(self.path(run).join(LOGS).join(format!("{}_{task}.log", job.id)))
    }

    /// Ids of a task's cells.
    pub fn task(&self, index: usize) -> &[String] {
        let first = index.saturating_mul(self.cells_per_task).min(self.cells.len());
        &self.cells[first..first.saturating_add(self.cells_per_task).min(self.cells.len())]
    }

    /// Writes the submission's record.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn write(&self, run: &RunFolder) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        run.write_submission(&self.id, SUBMISSION, text)
    }
}

/// All submissions of a run, in order.
///
/// # Errors
/// When one cannot be read.
pub fn read_submissions(run: &RunFolder) -> Result<Vec<Submission>> {
    let folder = run.submissions();
    let entries = match std::fs::read_dir(&folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("list", &folder))?,
    };
    let mut all = Vec::new();
    for entry in entries.flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path().join(SUBMISSION);
        // A process killed before submitting may have left a folder without a record.
        if !is_plain(&id) || !path.exists() {
            continue;
        }
        let read = |path: &PathBuf, limit| bounded::read_to_string(path, limit).map_err(Error::io("read", path));
        let submission: Submission = serde_json::from_str(&read(&path, LONGEST)?).map_err(|e| Error::Run {
            path: path.clone(),
            message: format!("damaged ({e}); cancel its job by hand, if there is one, and remove its folder"),
        })?;
        let cells = read(&entry.path().join(PLAN), LONGEST_PLAN)?.lines().map(String::from).collect();
        all.push(Submission { id, cells, ..submission });
    }
    all.sort_by(|a, b| (a.begun_unix_ms, &a.id).cmp(&(b.begun_unix_ms, &b.id)));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_and_without_a_cluster() {
        let job = |id, cluster: Option<&str>| Some(JobId { id, cluster: cluster.map(String::from) });
        assert_eq!(JobId::parse("123\n"), job(123, None));
        assert_eq!(JobId::parse("123;gpu\n"), job(123, Some("gpu")));
        assert_eq!(JobId::parse("your budget: 7 h left\n123;gpu\n"), job(123, Some("gpu")));
        assert_eq!(JobId::parse("Submitted batch job\n"), None);
    }

    #[test]
    fn tasks_share_the_plan() {
        let submission = Submission {
            id: "x".into(),
            cells: ["a", "b", "c"].map(String::from).into(),
            acceptance: Acceptance::Submitted,
            job: None,
            cells_per_task: 2,
            begun_unix_ms: 0,
            sbatch: Vec::new(),
        };
        assert_eq!(submission.task(0), ["a", "b"]);
        assert_eq!(submission.task(1), ["c"]);
        assert!(submission.task(2).is_empty() && submission.task(usize::MAX).is_empty());
    }
}
