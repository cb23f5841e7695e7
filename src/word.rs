//! Words for the variants of an enum in suites, records and reports.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::de::value::{Error, StrDeserializer};

/// Word of a value.
pub(crate) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => format!("{other:?}"),
    }
}

/// Parses the word of a value.
///
/// # Errors
/// Lists the known words.
pub(crate) fn value<T: DeserializeOwned>(word: &str) -> Result<T, String> {
    T::deserialize(StrDeserializer::<Error>::new(word)).map_err(|e| e.to_string())
}

/// Whether a name is safe as part of a file or folder name.
pub fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}
