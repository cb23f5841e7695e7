//! How this program was installed, told by what lies around it.

use std::path::Path;

/// In words, with the place.
pub(super) fn describe() -> String {
    match std::env::current_exe().and_then(|path| path.canonicalize()) {
        Ok(program) => format!("{} ({})", how(&program), program.display()),
        Err(reason) => format!("unknown: this program does not find itself ({reason})"),
    }
}

fn how(program: &Path) -> &'static str {
    let Some(folder) = program.parent() else { return "as a file of its own" };
    // Cargo locks the folder that it builds in.
    if folder.join(".cargo-lock").is_file() {
        return "built by cargo in a clone";
    }
    let prefix = folder.parent().unwrap_or(folder);
    if std::fs::read_to_string(prefix.join(".crates.toml")).is_ok_and(|text| text.contains("\"sharpbench ")) {
        return "by cargo install or cargo binstall";
    }
    if holds_wheel(prefix) {
        return "as a Python wheel, by pip or uv";
    }
    "as a file of its own: from an archive, in a container, or copied"
}

/// Whether a Python environment has the wheel: `lib/python3.12/site-packages/sharpbench-0.1.0.dist-info`, on Debian `dist-packages`.
fn holds_wheel(prefix: &Path) -> bool {
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let lib = prefix.join("lib");
    let pythons = names(&lib).into_iter().filter(|name| name.starts_with("python"));
    let packages =
        pythons.flat_map(|python| ["site-packages", "dist-packages"].map(|name| lib.join(&python).join(name)));
    let is_wheel = |name: &String| name.starts_with("sharpbench-") && name.ends_with(".dist-info");
    packages.into_iter().any(|folder| names(&folder).iter().any(is_wheel))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_tells_how() {
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
        assert_eq!(with("cargo", "bin/sharpbench", ".crates.toml", crates), "by cargo install or cargo binstall");
        assert_eq!(with("venv", "bin/sharpbench", metadata, ""), "as a Python wheel, by pip or uv");
        let alone = "as a file of its own: from an archive, in a container, or copied";
        assert_eq!(with("other", "bin/sharpbench", ".crates.toml", "\"ripgrep 1.0.0 ()\" = []"), alone);
        assert_eq!(with("python", "bin/sharpbench", "lib/python3.12/site-packages/numpy.py", ""), alone);
    }
}
