//! Cells and records grouped by setting, for the rows of reports and for comparisons.

use std::collections::HashMap;

use super::{Record, Status};
use crate::suite::Cell;

/// Cells of one setting, over all seeds, in each of `RUNS` runs.
pub(crate) struct SettingGroup<'a, const RUNS: usize> {
    /// Settings shared by the cells ([`Cell::setting`]).
    pub(crate) setting: Cell,
    /// Planned cells of each run, in its plan's order.
    pub(crate) planned: [Vec<&'a Cell>; RUNS],
    /// Records of each run, in the given order.
    pub(crate) records: [Vec<&'a Record>; RUNS],
}

/// Groups runs by setting, each run given by its plan and its records. Settings are in the order of
/// the first plan, followed by those that only later plans have. Records of cells outside all plans
/// are left out.
pub(crate) fn by_setting<'a, const RUNS: usize>(
    runs: [(&'a [Cell], &[&'a Record]); RUNS],
) -> Vec<SettingGroup<'a, RUNS>> {
    let mut groups: Vec<SettingGroup<'a, RUNS>> = Vec::new();
    let (mut of_setting, mut of_cell) = (HashMap::new(), HashMap::new());
    for (run, (plan, _)) in runs.iter().enumerate() {
        for cell in *plan {
            let setting = cell.setting();
            let place = *of_setting.entry(setting.id()).or_insert(groups.len());
            if place == groups.len() {
                let (planned, records) = ([const { Vec::new() }; RUNS], [const { Vec::new() }; RUNS]);
                groups.push(SettingGroup { setting, planned, records });
            }
            groups[place].planned[run].push(cell);
            of_cell.insert(cell.id(), place);
        }
    }
    for (run, (_, records)) in runs.iter().enumerate() {
        for record in *records {
            if let Some(place) = of_cell.get(&record.id) {
                groups[*place].records[run].push(record);
            }
        }
    }
    groups
}

impl<'a> SettingGroup<'a, 1> {
    /// Records of trainings that did not diverge.
    pub(crate) fn completed(&self) -> Vec<&'a Record> {
        self.records.iter().flatten().copied().filter(|r| r.status == Status::Completed).collect()
    }
}
