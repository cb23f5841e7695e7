//! Layout of a run folder.
//!
//! ```text
//! run.json                          the plan: cells and data of the run
//! cells/<data>-<optimizer>-<id>.json   one record per finished cell
//! weights/<data>-<optimizer>-<id>.safetensors   final weights, with `--save-weights`
//! failed/<data>-<optimizer>-<id>.json   failure note of a cell without a record
//! slurm/<submission>/               plan, script, program and logs of an array of jobs
//! checkpoints/<data>-<optimizer>-<id>.safetensors   a cell that is running, or was when its process ended
//! locks/<id>                        lock of the process that trains the cell
//! run.lock                          shared lock of the processes that train the run
//! report-<suite>-<profile>-<data>.<format>   the reports of the finished run
//! ```

use crate::suite::Cell;

/// The plan.
pub(super) const MANIFEST: &str = "run.json";
/// Lock that every process of the run holds.
pub(super) const LOCK: &str = "run.lock";
/// Prefix of reports.
pub(super) const REPORT: &str = "report-";
/// Prefix of unfinished files.
pub(super) const TEMPORARY: &str = ".tmp-";
/// File that completes a submission's folder.
pub(crate) const SUBMISSION: &str = "submit.json";

/// A subfolder of a run folder.
pub(super) struct Subfolder {
    pub(super) name: &'static str,
    /// Extension of the files that belong to a cell.
    pub(super) extension: &'static str,
    /// Whether a file of this name belongs to the run and is removed with it.
    pub(super) owns: fn(&str) -> bool,
}

/// Records.
pub(super) const CELLS: Subfolder = Subfolder {
    name: "cells",
    extension: "json",
    owns: |n| n.ends_with(".json") || n.ends_with(".damaged") || n.starts_with(TEMPORARY),
};
/// Locks of cells, of the plan and of submission.
pub(super) const LOCKS: Subfolder =
    Subfolder { name: "locks", extension: "", owns: |n| n.len() == 16 && n.bytes().all(|b| b.is_ascii_hexdigit()) };
/// Final weights.
pub(super) const WEIGHTS: Subfolder = Subfolder {
    name: "weights",
    extension: "safetensors",
    owns: |n| n.ends_with(".safetensors") || n.starts_with(TEMPORARY),
};
/// Checkpoints of trainings.
pub(super) const CHECKPOINTS: Subfolder =
    Subfolder { name: "checkpoints", extension: "safetensors", owns: |n| n.ends_with(".safetensors") };
/// Failure notes.
pub(super) const FAILED: Subfolder = Subfolder { name: "failed", extension: "json", owns: |n| n.ends_with(".json") };
/// Submissions to Slurm, one folder each.
pub(super) const SUBMISSIONS: Subfolder = Subfolder { name: "slurm", extension: "", owns: |_| false };

/// All subfolders of a run folder.
pub(super) const SUBFOLDERS: [&Subfolder; 6] = [&CELLS, &LOCKS, &WEIGHTS, &CHECKPOINTS, &FAILED, &SUBMISSIONS];

impl Subfolder {
    /// Name of a cell's file.
    pub(super) fn file_name(&self, cell: &Cell) -> String {
        format!("{}-{}-{}.{}", cell.data.name, cell.optimizer.name, cell.id(), self.extension)
    }

    /// Path of a cell's file in the run folder.
    pub(super) fn file(&self, cell: &Cell) -> String {
        format!("{}/{}", self.name, self.file_name(cell))
    }
}
