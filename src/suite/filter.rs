//! `--filter optimizer=ssam-f,sparsity=0.9`: selects cells of a plan.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::axes::axis_names;
use super::{Cell, Plan};
use crate::error::{Error, Result};
use crate::optim::Value;

/// Conditions on the axes of a cell. All keys must match, each with any of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<(String, String)>);

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let mut conditions = Vec::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("{part} is not of the form key=value"))?;
            conditions.push((key.trim().to_string(), value.trim().to_string()));
        }
        Ok(Self(conditions))
    }
}

/// In files a table of axes, each with one value.
impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let axes = BTreeMap::<String, Value>::deserialize(deserializer)?;
        Ok(Self(axes.into_iter().map(|(axis, value)| (axis, value.to_string())).collect()))
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(axis, value)| (axis, value)))
    }
}

impl JsonSchema for Filter {
    fn schema_name() -> Cow<'static, str> {
        "Axes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Axes of a row, each with its value.",
            "type": "object",
            "additionalProperties": { "type": ["string", "number", "boolean", "array"] },
        })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes: Vec<String> = self.0.iter().map(|(axis, value)| format!("{axis} = {value}")).collect();
        write!(f, "{{ {} }}", axes.join(", "))
    }
}

impl Filter {
    /// Whether a cell matches. Numbers are compared by value, so .9 equals 0.90.
    pub fn matches(&self, cell: &Cell) -> bool {
        let axes = cell.axes();
        let holds = |key: &str| {
            let found = axes.iter().find(|(name, _)| name == key).map(|(_, value)| value);
            let mut wanted = self.0.iter().filter(|(name, _)| name == key);
            found.is_some_and(|found| wanted.any(|(_, wanted)| is(found, wanted)))
        };
        self.0.iter().all(|(key, _)| holds(key))
    }

    /// Checks that a plan of these cells has the axes.
    pub(super) fn check(&self, cells: &[Cell]) -> std::result::Result<(), String> {
        let names = axis_names(cells);
        match self.0.iter().find(|(key, _)| !names.contains(key)) {
            Some((key, _)) => Err(format!("there is no axis {key} in this plan; use {}", names.join(", "))),
            None => Ok(()),
        }
    }

    /// Keeps only the matching cells.
    ///
    /// # Errors
    /// When no cell matches or an axis is unknown; lists the choices.
    pub fn apply(&self, plan: &mut Plan) -> Result<()> {
        self.check(&plan.cells).map_err(Error::Usage)?;
        let all = plan.cells.clone();
        plan.cells.retain(|cell| self.matches(cell));
        if !plan.cells.is_empty() {
            return Ok(());
        }
        let mut known: Vec<String> = Vec::new();
        for key in axis_names(&all) {
            let values = all.iter().flat_map(Cell::axes).filter(|(name, _)| *name == key);
            let mut values: Vec<String> = values.map(|(_, value)| value.to_string()).collect();
            values.sort();
            values.dedup();
            if values.len() > 1 {
                known.push(format!("{key}: {}", values.join(" ")));
            }
        }
        Err(Error::Usage(format!("no cell passes the filter; these axes vary: {}", known.join("; "))))
    }
}

/// Whether a value equals the one in a condition: whole numbers exactly, others as f64.
fn is(found: &Value, wanted: &str) -> bool {
    match found {
        Value::Count(found) => match wanted.parse::<u64>() {
            Ok(wanted) => *found == wanted,
            Err(_) => wanted.parse::<f64>().is_ok_and(|wanted| is_exactly(*found, wanted)),
        },
        Value::Number(found) => wanted.parse::<f64>().is_ok_and(|wanted| *found == wanted),
        Value::Flag(_) | Value::Word(_) | Value::Numbers(_) | Value::Words(_) => found.to_string() == wanted,
    }
}

/// Whether a whole number equals one such as 1e4 or 10000.0. Above 2^53, f64 cannot distinguish
/// neighbouring integers.
fn is_exactly(found: u64, wanted: f64) -> bool {
    found <= 1 << 53 && found as f64 == wanted
}
