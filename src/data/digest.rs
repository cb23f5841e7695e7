//! SHA-256 of files and of samples.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Samples;
use crate::bounded;
use crate::error::{Error, Result};

/// Bytes of the longest `SHA256SUMS` that is read.
const LONGEST_SUMS: u64 = 16 << 20;

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 of bytes in memory.
pub(super) fn sha256_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file, read in pieces.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if n == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(&buffer[..n]);
    }
}

/// SHA-256 over the samples, in order: the same whichever way they came.
pub(super) fn of_samples(splits: &[&dyn Samples]) -> String {
    let mut digest = Sha256::new();
    splits.iter().for_each(|split| split.digest(&mut digest));
    hex(&digest.finalize())
}

/// Compares a digest with the expected one.
///
/// # Errors
/// Names the file, the expected and the found digest.
pub(super) fn check(file: &str, found: &str, expected: &str, remedy: &str) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Data(format!("{file} is damaged or not the original: sha256 {found}, expected {expected}; {remedy}")))
}

/// The digest that a `SHA256SUMS` file (in `sha256sum`'s format) in `directory` names for `file`, if there is one.
///
/// # Errors
/// When the sums exist but cannot be read.
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
