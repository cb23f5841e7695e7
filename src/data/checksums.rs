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

/// Digest of `file` in the `SHA256SUMS` file of `directory`, if there is one, as `sha256sum` writes it, also with
/// `--tag`, and as Windows tools save it.
///
/// # Errors
/// When the file exists but cannot be read.
pub(super) fn listed(directory: &Path, file: &str) -> Result<Option<String>> {
    let path = directory.join("SHA256SUMS");
    if !path.exists() {
        return Ok(None);
    }
    let text = bounded::read_to_string(&path, LONGEST_SUMS).map_err(Error::io("read", &path))?;
    let mut lines = text.trim_start_matches('\u{feff}').lines().filter_map(line);
    Ok(lines.find(|(_, name)| name.trim_start_matches("./") == file).map(|(sum, _)| sum.to_lowercase()))
}

/// Digest and file name of a line: `DIGEST  NAME`, `DIGEST *NAME` or `SHA256 (NAME) = DIGEST`.
fn line(line: &str) -> Option<(&str, &str)> {
    let tagged = line.trim().strip_prefix("SHA256 (").and_then(|rest| rest.rsplit_once(") = "));
    let (digest, name) = match tagged {
        Some((name, digest)) => (digest, name),
        None => line.split_once(char::is_whitespace).map(|(sum, name)| (sum, name.trim_start_matches([' ', '*'])))?,
    };
    Some((digest, name.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_line_is_understood() {
        let folder = tempfile::tempdir().expect("a folder");
        let digests = ["a", "B", "c", "d"].map(|digit| digit.repeat(64));
        let [a, b, c, d] = &digests;
        let text = format!("\u{feff}{a}  one\r\n{b} *two\nSHA256 (three) = {c}\nno digest\n{d}  ./four of them\n");
        std::fs::write(folder.path().join("SHA256SUMS"), text).expect("written");
        for (file, digest) in ["one", "two", "three", "four of them"].iter().zip(&digests) {
            let found = listed(folder.path(), file).expect("readable");
            assert_eq!(found, Some(digest.to_lowercase()), "{file}");
        }
        assert_eq!(listed(folder.path(), "five").expect("readable"), None);
    }
}
