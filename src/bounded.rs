//! Reading of untrusted files, with a limit on their size.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Reads a text file of at most `limit` bytes.
///
/// # Errors
/// An error of the system, or an error that the file is too long or not text.
pub(crate) fn read_to_string(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Reads a binary file of at most `limit` bytes.
///
/// # Errors
/// An error of the system, or an error that the file is too long.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // The size reported by the system is not used, since devices report none.
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("it is longer than {limit} bytes, the limit for such files"),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "twelve bytes").expect("written");
        assert_eq!(read_to_string(&path, 12).expect("text"), "twelve bytes");
        let error = read(&path, 11).expect_err("longer").to_string();
        assert_eq!(error, "it is longer than 11 bytes, the limit for such files");
        std::fs::write(&path, [0xff]).expect("written");
        assert!(read_to_string(&path, 11).expect_err("no text").to_string().contains("not UTF-8 text"));
    }

    #[cfg(unix)]
    #[test]
    fn an_endless_file_ends() {
        assert!(read(Path::new("/dev/zero"), 1 << 16).is_err());
    }
}
