//! Batch job in which a process runs.

use serde::{Deserialize, Serialize};

/// A batch job. It never determines which cell a process trains, since a job submitted from within
/// another sees the other's variables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Job id, such as `12`, or `12_3` for a task of an array.
    pub id: String,
    /// Node it runs on, by the batch system's name.
    pub node: String,
    /// How often it was restarted, after a node failure or on request.
    pub restarts: u32,
}

impl Job {
    /// Slurm job of this process; `None` outside of one.
    pub fn this() -> Option<Self> {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let job = variable("SLURM_JOB_ID")?;
        let task = variable("SLURM_ARRAY_JOB_ID").zip(variable("SLURM_ARRAY_TASK_ID"));
        Some(Self {
            id: task.map_or(job, |(array, task)| format!("{array}_{task}")),
            node: variable("SLURMD_NODENAME").unwrap_or_else(node_name),
            restarts: variable("SLURM_RESTART_COUNT").and_then(|n| n.parse().ok()).unwrap_or(0),
        })
    }
}

/// Name of this machine.
pub(super) fn node_name() -> String {
    #[cfg(unix)]
    return rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    "unknown".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_named_by_its_array() {
        let of = |pairs: &[(&str, &str)]| {
            Job::of(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_string()))
        };
        assert_eq!(of(&[("SLURMD_NODENAME", "n1")]), None);
        let single = of(&[("SLURM_JOB_ID", "7"), ("SLURMD_NODENAME", "n1")]).expect("a job");
        assert_eq!((single.id.as_str(), single.node.as_str(), single.restarts), ("7", "n1", 0));
        let task = of(&[
            ("SLURM_JOB_ID", "9"),
            ("SLURM_ARRAY_JOB_ID", "7"),
            ("SLURM_ARRAY_TASK_ID", "3"),
            ("SLURM_RESTART_COUNT", "2"),
        ]);
        assert_eq!(task.map(|job| (job.id, job.restarts)), Some(("7_3".into(), 2)));
    }
}
