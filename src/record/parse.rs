//! Parsing of records. Damaged records, copies, and those of other schemas are reported and never
//! used.

use std::cmp::Ordering;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::files::refuse_other_than_file;
use super::integrity::check_digest;
use super::layout::CELLS;
use super::{Record, SCHEMA, TrainingProvenance};
use crate::bounded;
use crate::error::{Error, Result};

/// Maximum bytes of a record, enough for some ten thousand epochs.
pub(super) const LONGEST_RECORD: u64 = 64 << 20;

impl Record {
    /// Parses the contents of a record file.
    ///
    /// # Errors
    /// Says why the bytes are not a record of this schema.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        if let Some(other) = other_schema(bytes) {
            return Err(other);
        }
        let json: Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        check_digest(&json)?;
        // From the text, whose errors have lines.
        let record: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        record.check()?;
        // These texts are printed, so they must not contain terminal control characters.
        if record.told().any(|text| text.contains(char::is_control)) {
            return Err("its text contains a control character".into());
        }
        if record.id != record.cell.id() {
            return Err(format!("its id {} is not the id of its cell ({})", record.id, record.cell.id()));
        }
        Ok(record)
    }

    /// Texts of the record that reports print.
    fn told(&self) -> impl Iterator<Item = &String> {
        let TrainingProvenance { sharpbench, git_revision, crates, machine, gpu, .. } = &self.provenance;
        let own = [&self.suite, &self.profile, &self.suite_hash, &self.measures.fingerprint, &self.data.name];
        let program = [sharpbench, &machine.cpu, &machine.platform].into_iter().chain(git_revision).chain(gpu);
        own.into_iter().chain(program).chain(&machine.features).chain(crates.iter().flat_map(|(name, of)| [name, of]))
    }
}

/// Reads a record, or says why the file is not one; `None` if there is no file (any more).
///
/// # Errors
/// When the file cannot be read. It may be intact, so it does not count as damaged.
pub(super) fn read_record(path: &Path) -> Result<Option<std::result::Result<Record, String>>> {
    let bytes = match refuse_other_than_file(path).and_then(|()| bounded::read(path, LONGEST_RECORD)) {
        Ok(bytes) => bytes,
        // The link occupies the name, so no record could be published.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && path.is_symlink() => {
            return Ok(Some(Err("it is a broken symbolic link".into())));
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => return Ok(Some(Err(e.to_string()))),
        Err(e) => return Err(Error::io("read", path)(e)),
    };
    Ok(Some(parse_record(path, &bytes)))
}

/// Remedy for a file of another schema, depending on the version of the program that wrote it;
/// `None` if the schema is this program's or missing.
pub(super) fn other_schema(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Schema {
        schema: u32,
        provenance: Option<Program>,
    }
    #[derive(Deserialize)]
    struct Program {
        sharpbench: String,
    }
    let Schema { schema, provenance } = serde_json::from_slice(bytes).ok()?;
    let program = provenance.map_or_else(String::new, |p| format!(" (sharpbench {})", p.sharpbench));
    match schema.cmp(&SCHEMA) {
        Ordering::Equal => None,
        Ordering::Less => Some(format!(
            "it has schema {schema}, older than this program's {SCHEMA}: read it with the version that wrote it{program}, or retrain"
        )),
        Ordering::Greater => Some(format!(
            "it has schema {schema}, newer than this program's {SCHEMA}: update sharpbench to the version that wrote it{program}"
        )),
    }
}

fn parse_record(path: &Path, bytes: &[u8]) -> std::result::Result<Record, String> {
    let record = Record::parse(bytes)?;
    let name = CELLS.file_name(&record.cell);
    if path.file_name().is_none_or(|n| n != name.as_str()) {
        return Err(format!("it is a copy: the record of its cell is named {name}"));
    }
    Ok(record)
}
