//! Failure notes in the run folder: why a cell has no record.

use serde::{Deserialize, Serialize};

use super::Job;
use super::job::node_name;
use crate::suite::Cell;

/// Maximum attempts at a cell after environment errors.
const ATTEMPTS: usize = 3;
/// Number of failures after which a node is avoided.
const BAD_NODE: usize = 3;

/// Cause of a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The cell itself: it would fail anywhere.
    Cell,
    /// Environment error: no data, disk or GPU on the node. The cell may succeed on another node.
    Place,
    /// Unknown: the process ended without reporting a reason.
    #[default]
    Process,
}

/// Failure note of a cell without a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Label of the cell.
    pub cell: String,
    /// Cause of the failure.
    #[serde(default)]
    pub class: FailureClass,
    /// What happened.
    pub reason: String,
    /// Exit code of the process, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// Number of the attempt, from 1.
    #[serde(default)]
    pub attempt: usize,
    /// Nodes with environment errors, one entry per attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad_nodes: Vec<String>,
    /// Batch job, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// Last lines logged for the cell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

impl Failure {
    /// Creates the note of a cell, following an earlier one.
    pub fn new(cell: &Cell, class: FailureClass, reason: impl Into<String>, earlier: Option<Self>) -> Self {
        let (attempt, mut bad_nodes) = earlier.map_or((0, Vec::new()), |e| (e.attempt, e.bad_nodes));
        let job = Job::this();
        if class == FailureClass::Place {
            bad_nodes.push(job.as_ref().map_or_else(node_name, |job| job.node.clone()));
        }
        Self {
            cell: cell.label(),
            class,
            reason: reason.into(),
            exit_code: None,
            attempt: attempt.saturating_add(1),
            bad_nodes,
            job,
            log: Vec::new(),
        }
    }

    /// Whether the cell is retried automatically: not after an error of the cell itself, and only
    /// up to the maximum attempts after environment errors.
    pub fn is_retried(&self) -> bool {
        match self.class {
            FailureClass::Cell => false,
            FailureClass::Place => self.attempt < ATTEMPTS,
            FailureClass::Process => true,
        }
    }
}

/// Nodes with repeated environment errors, in order.
pub fn bad_nodes<'f>(failures: impl IntoIterator<Item = &'f Failure>) -> Vec<String> {
    let mut all: Vec<&String> = failures.into_iter().flat_map(|failure| &failure.bad_nodes).collect();
    all.sort();
    all.chunk_by(|a, b| a == b).filter(|same| same.len() >= BAD_NODE).map(|same| same[0].clone()).collect()
}
