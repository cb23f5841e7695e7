//! Cells and records gathered by setting: what a report makes a row of, and a comparison judges.

use std::collections::HashMap;

use super::{Record, Status};
use crate::suite::Cell;

/// The cells of one setting, over their seeds, in each of `RUNS` runs.
pub(crate) struct SettingGroup<'a, const RUNS: usize> {
    /// What the cells have in common ([`Cell::setting`]).
    pub(crate) setting: Cell,
    /// The planned cells of each run, in its plan's order.
    pub(crate) planned: [Vec<&'a Cell>; RUNS],
    /// The records of each run, in the order given.
    pub(crate) records: [Vec<&'a Record>; RUNS],
}

/// The settings of runs, each given by its plan and its records: in the order of the first plan, then those that only later plans have.
/// Records of cells outside all plans are left out.
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
    /// The records of trainings that did not diverge.
    pub(crate) fn completed(&self) -> Vec<&'a Record> {
        self.records.iter().flatten().copied().filter(|r| r.status == Status::Completed).collect()
    }
}
