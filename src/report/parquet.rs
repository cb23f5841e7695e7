//! One row per finished cell, with its types, for pandas, Polars or DuckDB.

use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;
use serde_json::{Map, Value};

use super::exporter::Exporter;
use super::{CellResult, Report};
use crate::error::{Error, Result};

pub(super) const PARQUET: Exporter = Exporter {
    name: "parquet",
    about: "One row per cell with its types, for data frames; binary",
    extension: "parquet",
    is_text: false,
    is_kept: false,
    export: |report, _| cells(report),
};

/// The columns are the keys of the JSON report's cells, of the types that they have there; null where there is no value.
///
/// # Errors
/// When a value cannot be written.
fn cells(report: &Report) -> Result<Vec<u8>> {
    let wrong = |e: &dyn std::fmt::Display| Error::Report(format!("no parquet file can be made: {e}"));
    let cells: Vec<Value> = report
        .rows
        .iter()
        .flat_map(|row| &row.cells)
        .map(serde_json::to_value)
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| wrong(&e))?;
    write(&columns(), &cells).map_err(|e| wrong(&e))
}

#[derive(Clone, Copy)]
pub(super) enum ColumnKind {
    Text,
    Integer,
    Number,
    Flag,
}

/// Names and types, from the type of a cell itself.
pub(super) fn columns() -> Vec<(String, ColumnKind)> {
    let schema = schemars::schema_for!(CellResult);
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_else(Map::new);
    let kind = |schema: &Value| {
        // `"integer"`, or `["integer", "null"]`.
        let named = &schema["type"];
        match named.as_str().or_else(|| named[0].as_str()) {
            Some("integer") => ColumnKind::Integer,
            Some("number") => ColumnKind::Number,
            Some("boolean") => ColumnKind::Flag,
            _ => ColumnKind::Text,
        }
    };
    properties.iter().map(|(name, schema)| (name.clone(), kind(schema))).collect()
}

fn write(columns: &[(String, ColumnKind)], cells: &[Value]) -> std::result::Result<Vec<u8>, ParquetError> {
    let field = |(name, kind): &(String, ColumnKind)| {
        let (physical, logical) = match kind {
            ColumnKind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            // Seeds use all 64 bits; no integer of a cell is negative.
            ColumnKind::Integer => (Physical::INT64, Some(LogicalType::integer(64, false))),
            ColumnKind::Number => (Physical::DOUBLE, None),
            ColumnKind::Flag => (Physical::BOOLEAN, None),
        };
        let field = Type::primitive_type_builder(name, physical).with_logical_type(logical);
        field.with_repetition(Repetition::OPTIONAL).build().map(Arc::new)
    };
    let fields = columns.iter().map(field).collect::<std::result::Result<_, _>>()?;
    let schema = Type::group_type_builder("cells").with_fields(fields).build()?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
    let mut rows = writer.next_row_group()?;
    for (name, kind) in columns {
        let Some(column) = rows.next_column()? else { break };
        let values = || cells.iter().map(|cell| &cell[name.as_str()]);
        match kind {
            ColumnKind::Text => put::<ByteArrayType>(column, values().map(|v| v.as_str().map(ByteArray::from))),
            // The physical type is signed, with the same bits.
            ColumnKind::Integer => put::<Int64Type>(column, values().map(|v| v.as_u64().map(|n| n as i64))),
            ColumnKind::Number => put::<DoubleType>(column, values().map(Value::as_f64)),
            ColumnKind::Flag => put::<BoolType>(column, values().map(Value::as_bool)),
        }?;
    }
    rows.close()?;
    writer.into_inner()
}

fn put<T: DataType>(
    mut column: SerializedColumnWriter<'_>,
    values: impl Iterator<Item = Option<T::T>>,
) -> std::result::Result<(), ParquetError> {
    let values: Vec<Option<T::T>> = values.collect();
    let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let values: Vec<T::T> = values.into_iter().flatten().collect();
    column.typed::<T>().write_batch(&values, Some(&levels), None)?;
    column.close()
}
