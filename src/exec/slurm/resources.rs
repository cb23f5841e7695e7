//! Resources requested for a task.

use std::ffi::OsString;
use std::path::PathBuf;

use super::client::option;

/// Options of sbatch.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// Partition.
    pub partition: Option<String>,
    /// Account.
    pub account: Option<String>,
    /// Quality of service.
    pub qos: Option<String>,
    /// Time limit per task, in Slurm's notation.
    pub time: Option<String>,
    /// CPUs per task, which is also the number of threads.
    pub cpus: usize,
    /// Memory per task. Always set: on a cluster without a default, a task would take a whole
    /// node's memory.
    pub mem: String,
    /// Generic resources, such as `gpu:1`.
    pub gres: Option<String>,
    /// Required node features.
    pub constraint: Option<String>,
    /// Maximum tasks of an array that run at once.
    pub array_limit: Option<usize>,
    /// Maximum tasks per array.
    pub array_max: usize,
    /// Cells that a task trains, one after another.
    pub cells_per_task: usize,
    /// File that a task's shell sources first.
    pub setup: Option<PathBuf>,
    /// Additional options.
    pub more: Vec<String>,
}

impl Resources {
    /// Whether a task needs a GPU.
    pub fn wants_gpu(&self) -> bool {
        self.gres.as_ref().is_some_and(|gres| gres.split(',').any(|one| one.starts_with("gpu")))
    }

    /// sbatch options. All are on the command line, which overrides the user's SBATCH_ variables.
    pub(super) fn options(&self) -> Vec<OsString> {
        let given = [
            ("partition", &self.partition),
            ("account", &self.account),
            ("qos", &self.qos),
            ("time", &self.time),
            ("gres", &self.gres),
            ("constraint", &self.constraint),
        ];
        let mut options = vec![option("cpus-per-task", self.cpus.to_string()), option("mem", &self.mem)];
        options.extend(given.into_iter().filter_map(|(name, value)| Some(option(name, value.as_ref()?))));
        options
    }
}
