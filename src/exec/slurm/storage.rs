//! Checks whether a folder can hold a Slurm run: on storage shared by all nodes, under a name that
//! Slurm does not expand.

use std::path::Path;

use crate::error::{Error, Result};

/// Rejects a folder whose path Slurm would expand as a pattern in the name of a log.
///
/// # Errors
/// When the path contains a `%` or a `\`.
pub fn check_path(path: &Path) -> Result<()> {
    if path.to_string_lossy().contains(['%', '\\']) {
        let message = "its path contains % or \\, which Slurm expands in names of logs; use another --out".into();
        return Err(Error::Run { path: path.into(), message });
    }
    Ok(())
}

/// Reason why other nodes probably cannot see a folder. Slurm itself would fail silently.
pub fn unshared(path: &Path) -> Option<&'static str> {
    if ["/tmp", "/var/tmp", "/dev/shm"].iter().any(|local| path.starts_with(local)) {
        return Some("a folder for temporary files");
    }
    system(path)
}

#[cfg(target_os = "linux")]
fn system(path: &Path) -> Option<&'static str> {
    // Magic numbers from statfs(2).
    match rustix::fs::statfs(path).ok()?.f_type {
        0x0102_1994 | 0x8584_58f6 => Some("in this machine's memory"),
        0x794c_7630 => Some("the disk of a container"),
        _ => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn system(_: &Path) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_folders_are_known() {
        assert!(unshared(Path::new("/tmp/run")).is_some());
        #[cfg(target_os = "linux")]
        if Path::new("/dev/shm").is_dir() {
            assert_eq!(system(Path::new("/dev/shm")), Some("in this machine's memory"));
        }
        assert_eq!(unshared(Path::new("/proc")), None);
    }

    #[test]
    fn patterns_are_refused() {
        assert!(check_path(Path::new("/a/100%j")).is_err() && check_path(Path::new("/a\\b")).is_err());
        assert!(check_path(Path::new("/a b/$(c)'\"\n")).is_ok());
    }
}
