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

/// Maximum characters of a name: the names of suite, profile and data set stand together in one file name, which may have 255.
pub(crate) const LONGEST_NAME: usize = 64;

/// Whether a name is safe as part of a file or folder name.
pub fn is_plain(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}
