//! What a task asks of the cluster.

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
    /// Time limit of a task, in Slurm's notation.
    pub time: Option<String>,
    /// CPUs of a task: as many threads compute.
    pub cpus: usize,
    /// Memory of a task. Always given: where a cluster has no default, a task would take a whole node's.
    pub mem: String,
    /// Generic resources, such as `gpu:1`.
    pub gres: Option<String>,
    /// Features of nodes.
    pub constraint: Option<String>,
    /// Tasks of an array that run at once.
    pub array_limit: Option<usize>,
    /// Tasks of an array at most.
    pub array_max: usize,
    /// Cells that a task trains, one after another.
    pub cells_per_task: usize,
    /// A file that a task's shell reads before.
    pub setup: Option<PathBuf>,
    /// More options.
    pub more: Vec<String>,
}

impl Resources {
    /// Whether a task is to have a GPU.
    pub fn wants_gpu(&self) -> bool {
        self.gres.as_ref().is_some_and(|gres| gres.split(',').any(|one| one.starts_with("gpu")))
    }

    /// sbatch's options for them. All are on its command line, which beats the user's SBATCH_ variables.
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
