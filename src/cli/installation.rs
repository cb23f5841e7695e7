//! Detects how this program was installed, from the files beside it.

use std::path::Path;

/// Describes the kind of installation, and its path.
pub(super) fn describe() -> String {
    match std::env::current_exe().and_then(|path| path.canonicalize()) {
        Ok(program) => format!("{} ({})", how(&program), program.display()),
        Err(reason) => format!("unknown: this program does not find itself ({reason})"),
    }
}

fn how(program: &Path) -> &'static str {
    let Some(folder) = program.parent() else { return "as a file of its own" };
    let prefix = folder.parent().unwrap_or(folder);
    // Cargo locks the folder that it builds in; examples are in a subfolder.
    if [folder, prefix].iter().any(|folder| folder.join(".cargo-lock").is_file()) {
        return "built by cargo in a clone";
    }
    if std::fs::read_to_string(prefix.join(".crates.toml")).is_ok_and(|text| text.contains("\"sharpbench ")) {
        return "by cargo install or cargo binstall";
    }
    if holds_wheel(prefix) {
        return "as a Python wheel, by pip or uv";
    }
    "as a file of its own: from an archive, in a container, or copied"
}

/// Whether a Python environment has the wheel: `lib/python3.12/site-packages/sharpbench-0.1.0.dist-info`; Debian has
/// `dist-packages`, Fedora `lib64`.
fn holds_wheel(prefix: &Path) -> bool {
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let is_wheel = |name: &String| name.starts_with("sharpbench-") && name.ends_with(".dist-info");
    ["lib", "lib64"].map(|lib| prefix.join(lib)).iter().any(|lib| {
        let mut pythons = names(lib).into_iter().filter(|name| name.starts_with("python"));
        pythons.any(|python| {
            let packages = ["site-packages", "dist-packages"].map(|name| lib.join(&python).join(name));
            packages.iter().any(|packages| names(packages).iter().any(is_wheel))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_beside_the_program_show_how() {
        let place = tempfile::tempdir().expect("a folder");
        let with = |prefix: &str, program: &str, beside: &str, content: &str| {
            let prefix = place.path().join(prefix);
            let (program, beside) = (prefix.join(program), prefix.join(beside));
            for path in [&program, &beside] {
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            }
            std::fs::write(beside, content).expect("written");
            how(&program)
        };
        let crates = "[v1]\n\"sharpbench 0.1.0 (path+file:///clone)\" = [\"sharpbench\"]\n";
        let metadata = "lib/python3.12/site-packages/sharpbench-0.1.0.dist-info/METADATA";
        assert_eq!(with("clone/target", "debug/sharpbench", "debug/.cargo-lock", ""), "built by cargo in a clone");
        assert_eq!(with("other-clone", "debug/examples/own", "debug/.cargo-lock", ""), "built by cargo in a clone");
        assert_eq!(with("cargo", "bin/sharpbench", ".crates.toml", crates), "by cargo install or cargo binstall");
        assert_eq!(with("venv", "bin/sharpbench", metadata, ""), "as a Python wheel, by pip or uv");
        let fedora = metadata.replace("lib/", "lib64/");
        assert_eq!(with("usr", "bin/sharpbench", &fedora, ""), "as a Python wheel, by pip or uv");
        let alone = "as a file of its own: from an archive, in a container, or copied";
        assert_eq!(with("other", "bin/sharpbench", ".crates.toml", "\"ripgrep 1.0.0 ()\" = []"), alone);
        assert_eq!(with("python", "bin/sharpbench", "lib/python3.12/site-packages/numpy.py", ""), alone);
    }
}
