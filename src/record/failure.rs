//! Why a cell has no record, noted in the run folder by whoever saw it fail.

use serde::{Deserialize, Serialize};

use super::Job;
use super::job::node_name;
use crate::suite::Cell;

/// How often a cell is tried where the places are bad.
const ATTEMPTS: usize = 3;
/// From how many failures on a node is avoided.
const BAD_NODE: usize = 3;

/// What was at fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The cell itself: it would fail anywhere.
    Cell,
    /// The place: no data, no disk, no GPU. It may succeed elsewhere.
    Place,
    /// Unknown: its process ended without a word.
    #[default]
    Process,
}

/// The note of a cell that has no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The cell, in words.
    pub cell: String,
    /// What was at fault.
    #[serde(default)]
    pub class: FailureClass,
    /// What happened.
    pub reason: String,
    /// Exit code of the process, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// Which attempt this was, from 1.
    #[serde(default)]
    pub attempt: usize,
    /// Nodes that were bad places, once for each attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad_nodes: Vec<String>,
    /// The job, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// The last lines that were told of the cell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

impl Failure {
    /// Of a cell, after an earlier one.
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
            attempt: attempt + 1,
            bad_nodes,
            job,
            log: Vec::new(),
        }
    }

    /// Whether the cell is to be tried again without being asked: not where it would fail anywhere, nor without end.
    pub fn is_retried(&self) -> bool {
        match self.class {
            FailureClass::Cell => false,
            FailureClass::Place => self.attempt < ATTEMPTS,
            FailureClass::Process => true,
        }
    }
}

/// The nodes that were bad places several times, in order.
pub fn bad_nodes<'f>(failures: impl IntoIterator<Item = &'f Failure>) -> Vec<String> {
    let mut all: Vec<&String> = failures.into_iter().flat_map(|failure| &failure.bad_nodes).collect();
    all.sort();
    all.chunk_by(|a, b| a == b).filter(|same| same.len() >= BAD_NODE).map(|same| same[0].clone()).collect()
}
