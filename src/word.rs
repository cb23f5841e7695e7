//! The words that stand for the variants of an enum in suites, records and reports.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::de::value::{Error, StrDeserializer};

/// The word that stands for a value.
pub(crate) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => format!("{other:?}"),
    }
}

/// The value that a word stands for.
///
/// # Errors
/// Names the words there are.
pub(crate) fn value<T: DeserializeOwned>(word: &str) -> Result<T, String> {
    T::deserialize(StrDeserializer::<Error>::new(word)).map_err(|e| e.to_string())
}

/// Whether a name can be a part of a file's or a folder's, and leads nowhere else.
pub fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}
