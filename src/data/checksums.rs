//! Checksums of data sets: of the samples, and of the files against the published checksums.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::Samples;
use crate::bounded;
use crate::digest::hex;
use crate::error::{Error, Result};

/// Maximum bytes of a `SHA256SUMS` file.
const LONGEST_SUMS: u64 = 16 << 20;

/// SHA-256 over the samples in order, independent of their source.
pub(super) fn of_samples(splits: &[&dyn Samples]) -> String {
    let mut digest = Sha256::new();
    splits.iter().for_each(|split| split.digest(&mut digest));
    hex(&digest.finalize())
}

/// Compares a digest with the expected one.
///
/// # Errors
/// Names the file and both digests.
pub(super) fn check(file: &str, found: &str, expected: &str, remedy: &str) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Data(format!("{file} is damaged or not the original: sha256 {found}, expected {expected}; {remedy}")))
}

/// Digest of `file` in the `SHA256SUMS` file (in `sha256sum`'s format) of `directory`, if there is
/// one.
///
/// # Errors
/// When the file exists but cannot be read.
pub(super) fn listed(directory: &Path, file: &str) -> Result<Option<String>> {
    let path = directory.join("SHA256SUMS");
    if !path.exists() {
        return Ok(None);
    }
    let text = bounded::read_to_string(&path, LONGEST_SUMS).map_err(Error::io("read", &path))?;
    let mut lines = text.lines().filter_map(|line| line.split_once(char::is_whitespace));
    Ok(lines
        .find(|(_, name)| name.trim_start_matches([' ', '*']).trim_start_matches("./") == file)
        .map(|(sum, _)| sum.to_lowercase()))
}
