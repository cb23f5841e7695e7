//! What distinguishes rows: every axis of the grid, null where it does not apply.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::Map;

use crate::optim::{Kind, Value};
use crate::suite::{Cell, columns};

/// The values of a setting by column.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Name of the optimizer.
    pub optimizer: String,
    values: Vec<(&'static str, Option<Value>)>,
}

impl Setting {
    /// The setting of a cell.
    pub(super) fn new(cell: &Cell) -> Self {
        let values = columns().iter().map(|column| (column.name, column.value(cell))).collect();
        Self { optimizer: cell.optimizer.name.clone(), values }
    }
}

impl Serialize for Setting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.values.iter().map(|(name, value)| (name, value)))
    }
}

impl JsonSchema for Setting {
    fn schema_name() -> Cow<'static, str> {
        "Setting".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let kind = |kind: Option<Kind>| match kind {
            Some(Kind::Number(_)) => "number",
            Some(Kind::Count(..)) => "integer",
            Some(Kind::Flag) => "boolean",
            Some(Kind::Pair | Kind::Word(_) | Kind::ParameterNames) | None => "string",
        };
        let columns = columns();
        let property = |name: &str, of| (name.to_string(), serde_json::json!({ "type": [kind(of), "null"] }));
        let properties: Map<_, _> = columns.iter().map(|column| property(column.name, column.kind)).collect();
        json_schema!({ "type": "object", "properties": properties })
    }
}
