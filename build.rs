//! Records the git revision of the sources in the program, for the provenance of its records.

use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

fn main() {
    // The log of HEAD changes with every commit and checkout, sources with every edit.
    for path in
        ["build.rs", "src", "kernels", "suites", "data", "Cargo.toml", "Cargo.lock", ".git/HEAD", ".git/logs/HEAD"]
    {
        if std::path::Path::new(path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    // A package inside somebody else's repository has no revision of its own.
    if !std::path::Path::new(".git").exists() {
        return;
    }
    let Some(revision) = git(&["rev-parse", "HEAD"]) else { return };
    let sources = ["build.rs", "src", "kernels", "suites", "data", "Cargo.toml", "Cargo.lock"];
    let changed = git(&[&["status", "--porcelain", "--"], sources.as_slice()].concat());
    let mark = if changed.is_some_and(|c| c.is_empty()) { "" } else { "+dirty" };
    println!("cargo::rustc-env=SHARPBENCH_GIT_REVISION={revision}{mark}");
}
