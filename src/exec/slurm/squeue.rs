//! Tasks in flight, from squeue.

use std::fmt;

use super::client::Slurm;
use super::state::{Phase, phase};
use super::submission::{JobId, Submission};
use crate::error::Result;

/// Array, index, state, reason, node. This format is old and stable, unlike squeue's JSON.
const FORMAT: &str = "%F|%K|%T|%r|%N";

/// A task that Slurm lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRow {
    /// Job id of the array.
    pub job: u64,
    /// Index of the task.
    pub index: usize,
    /// State in Slurm's terms.
    pub state: String,
    /// Reason for waiting.
    pub reason: String,
    /// Node where it runs or ran; may be empty.
    pub node: String,
}

impl TaskRow {
    /// Phase of the task.
    pub fn phase(&self) -> Phase {
        phase(&self.state)
    }
}

impl fmt::Display for TaskRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}|{}|{}", self.job, self.index, self.state, self.reason, self.node)
    }
}

/// Parses squeue's output. Lines of another form (cluster headings, messages of plug-ins) are
/// skipped.
pub fn parse_squeue(text: &str) -> Vec<TaskRow> {
    text.lines().filter_map(parse_row).collect()
}

fn parse_row(line: &str) -> Option<TaskRow> {
    let mut parts = line.splitn(4, '|');
    let job = parts.next()?.trim().parse().ok()?;
    let index = parts.next()?.trim().parse().ok()?;
    let state = parts.next()?.trim();
    // A reason may contain any character; node names contain no `|`.
    let (reason, node) = parts.next()?.rsplit_once('|')?;
    Some(TaskRow { job, index, state: state.into(), reason: reason.trim().into(), node: node.trim().into() })
}

impl Slurm {
    /// Tasks of each submission that Slurm lists, or why it does not respond. Submissions are
    /// looked up by their unique names, since job ids may be reused and Slurm forgets jobs.
    ///
    /// # Errors
    /// When Slurm's commands are not installed.
    pub fn rows(&self, submissions: &[Submission]) -> Result<std::result::Result<Vec<Vec<TaskRow>>, String>> {
        let mut rows = vec![Vec::new(); submissions.len()];
        let mut clusters: Vec<Option<&str>> =
            submissions.iter().filter_map(|s| Some(s.job.as_ref()?.cluster())).collect();
        clusters.sort_unstable();
        clusters.dedup();
        for cluster in clusters {
            let here = |s: &&Submission| s.job.as_ref().is_some_and(|job| job.cluster() == cluster);
            let names: Vec<String> = submissions.iter().filter(here).map(Submission::name).collect();
            let found = match self.queue(cluster, &names.join(","))? {
                Ok(found) => found,
                Err(reason) => return Ok(Err(reason)),
            };
            for row in found {
                let owner = |s: &Submission| s.job.as_ref().is_some_and(|j| j.cluster() == cluster && j.id == row.job);
                if let Some(place) = submissions.iter().position(owner) {
                    rows[place].push(row);
                }
            }
        }
        Ok(Ok(rows))
    }

    /// Job id of the array with this name, or why Slurm does not respond.
    ///
    /// # Errors
    /// When Slurm's commands are not installed.
    pub(super) fn find(&self, name: &str) -> Result<std::result::Result<Option<JobId>, String>> {
        let job = |rows: Vec<TaskRow>| rows.first().map(|row| JobId { id: row.job, cluster: None });
        Ok(self.queue(None, name)?.map(job))
    }

    fn queue(&self, cluster: Option<&str>, names: &str) -> Result<std::result::Result<Vec<TaskRow>, String>> {
        let mut arguments: Vec<String> = ["-h", "-r", "-t", "all", "-o", FORMAT].map(String::from).into();
        arguments.push(format!("--name={names}"));
        arguments.extend(cluster.map(|cluster| format!("--clusters={cluster}")));
        Ok(self.ask("squeue", &arguments)?.map(|text| parse_squeue(&text)))
    }

    /// Cancels an array's tasks, or returns why Slurm did not. Running tasks checkpoint their cells
    /// first.
    ///
    /// # Errors
    /// When Slurm's commands are not installed.
    pub fn cancel(&self, job: &JobId) -> Result<std::result::Result<(), String>> {
        let mut arguments = vec![job.id.to_string()];
        arguments.extend(job.cluster().map(|cluster| format!("--clusters={cluster}")));
        Ok(self.ask("scancel", &arguments)?.map(|_| ()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read(text in any::<String>()) {
            parse_squeue(&text);
        }

        #[test]
        fn any_lines_of_its_form_are_read(text in "([0-9]{0,21}\\|[0-9N/A-]{0,5}\\|[A-Z_]*\\|[^\n]*\n){0,5}") {
            parse_squeue(&text);
        }

        #[test]
        fn a_row_comes_back(
            job in any::<u64>(),
            index in any::<usize>(),
            state in "[A-Z_]{1,12}",
            reason in "([A-Za-z(),|][A-Za-z(),| ]*[A-Za-z(),|])?",
            node in "[a-z0-9\\[\\],-]{0,12}",
        ) {
            let row = TaskRow { job, index, state, reason, node };
            prop_assert_eq!(parse_squeue(&format!("CLUSTER: x\n{row}\n")), [row]);
        }
    }

    #[test]
    fn what_is_no_row_is_left_out() {
        let text = "7|0|RUNNING|None|n1\n7|N/A|RUNNING|None|n1\n7|1-5%2|PENDING|Resources|\n\nslurm: a message|\n7|6|PENDING|(launch failed requeued held)|\n";
        let rows = parse_squeue(text);
        assert_eq!(rows.iter().map(|row| row.index).collect::<Vec<_>>(), [0, 6]);
        assert_eq!((rows[0].phase(), rows[1].phase()), (Phase::Running, Phase::Pending));
    }
}
