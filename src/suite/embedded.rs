//! Suites embedded in the program.

use include_dir::{Dir, include_dir};

static SUITES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/suites");

/// Names of the embedded suites, sorted.
pub fn embedded_names() -> Vec<String> {
    let stem = |f: &include_dir::File<'_>| Some(f.path().file_stem()?.to_string_lossy().into_owned());
    let suites = SUITES.files().filter(|f| f.path().extension().is_some_and(|e| e == "toml"));
    let mut names: Vec<String> = suites.filter_map(stem).collect();
    names.sort();
    names
}

/// Text of an embedded suite.
pub fn embedded_text(name: &str) -> Option<&'static str> {
    SUITES.get_file(format!("{name}.toml"))?.contents_utf8()
}
