//! `--filter optimizer=ssam-f,sparsity=0.9`: which cells of a plan to keep.

use std::str::FromStr;

use super::Plan;
use super::cell::{AXES, Cell};
use crate::error::{Error, Result};

/// Conditions on the axes of a cell: different keys must all hold, of one key's values any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<(String, String)>);

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let mut conditions = Vec::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("{part} is not of the form key=value"))?;
            let key = key.trim();
            if !AXES.contains(&key) {
                return Err(format!("there is no axis {key}; use {}", AXES.join(", ")));
            }
            conditions.push((key.to_string(), value.trim().to_string()));
        }
        Ok(Self(conditions))
    }
}

impl Filter {
    /// Whether a cell passes. Numbers are compared by value, so .9 and 0.90 are the same.
    pub fn matches(&self, cell: &Cell) -> bool {
        let axes = cell.axes();
        let holds = |key: &str| {
            let wanted = self.0.iter().filter(|(k, _)| k == key);
            let found = axes.iter().find(|(k, _)| *k == key).map(|(_, v)| v.as_str());
            let mut wanted = wanted.map(|(_, v)| v.as_str());
            found.is_some_and(|found| wanted.any(|w| same(w, found)))
        };
        self.0.iter().all(|(key, _)| holds(key))
    }

    /// Keeps the cells that pass.
    ///
    /// # Errors
    /// When none does: names the values there are.
    pub fn apply(&self, plan: &mut Plan) -> Result<()> {
        let all = plan.cells.clone();
        plan.cells.retain(|cell| self.matches(cell));
        if !plan.cells.is_empty() {
            return Ok(());
        }
        let mut known: Vec<String> = Vec::new();
        for key in AXES {
            let mut values: Vec<String> =
                all.iter().flat_map(Cell::axes).filter(|(k, _)| *k == key).map(|(_, v)| v).collect();
            values.sort();
            values.dedup();
            if values.len() > 1 {
                known.push(format!("{key}: {}", values.join(" ")));
            }
        }
        Err(Error::Usage(format!("no cell passes the filter; these axes vary: {}", known.join("; "))))
    }
}

fn same(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}
