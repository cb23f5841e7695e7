//! Stand-in programs for tests.

use std::path::Path;

/// Writes a program through another process: a file this process has open for writing cannot be
/// executed.
pub(super) fn write_program(path: &Path, text: &str) {
    let source = path.with_extension("source");
    std::fs::write(&source, text).expect("written");
    let mut install = std::process::Command::new("install");
    assert!(install.args(["-m", "755"]).arg(&source).arg(path).status().expect("install").success());
}
