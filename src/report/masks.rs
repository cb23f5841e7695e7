//! What the masks of a setting have in common.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::record::{MaskRefresh, Record};
use crate::stats::{Median, Summary, median, summary};

/// Statistics of a setting's masks over its completed cells. Fractions are of weights, overall or of a tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MaskStatistics {
    /// Refreshes of a cell.
    pub refreshes: Median,
    /// Part of a cell's live weights that were live before, mean over its refreshes but the first.
    pub overlap: Option<Summary>,
    /// Part of the Fisher score that the live weights hold after the last refresh, where they were chosen by it.
    pub fisher_share: Option<Summary>,
    /// Live fraction of each tensor after the last refresh, mean over cells, by name.
    pub live_by_tensor: BTreeMap<String, f64>,
}

impl MaskStatistics {
    /// Of cells with masks; none without.
    pub(super) fn new(completed: &[&Record]) -> Option<Self> {
        let all: Vec<&[MaskRefresh]> = completed
            .iter()
            .map(|r| r.measures.mask_refreshes.as_slice())
            .filter(|refreshes| !refreshes.is_empty())
            .collect();
        let last = || all.iter().filter_map(|refreshes| refreshes.last());
        let overlap = |refreshes: &&[MaskRefresh]| {
            summary(&refreshes.iter().skip(1).filter_map(|r| r.overlap).collect::<Vec<_>>()).map(|s| s.mean)
        };
        let mut by_tensor: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (name, live) in last().flat_map(|refresh| &refresh.live_by_tensor) {
            by_tensor.entry(name).or_default().push(*live);
        }
        Some(Self {
            refreshes: median(&all.iter().map(|refreshes| refreshes.len() as f64).collect::<Vec<_>>())?,
            overlap: summary(&all.iter().filter_map(overlap).collect::<Vec<_>>()),
            fisher_share: summary(&last().filter_map(|r| r.fisher_share).collect::<Vec<_>>()),
            live_by_tensor: by_tensor
                .into_iter()
                .filter_map(|(name, live)| Some((name.to_string(), summary(&live)?.mean)))
                .collect(),
        })
    }
}
