//! `sharpbench new NAME`.

use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use crate::bounded;
use crate::error::{Error, Result};
use crate::record;
use crate::registry::Registry;
use crate::suite::{file, template};

/// The schema's file, which the template names.
const SCHEMA: &str = "suite.schema.json";
/// Maximum bytes of a file that may be a schema.
const LONGEST_SCHEMA: u64 = 16 << 20;

/// Writes NAME.toml, a commented suite that trains on embedded digits within a minute, and the JSON
/// Schema by which editors complete and check it.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of the suite: letters, digits, - and _.
    name: String,
    /// Folder for the two files.
    #[arg(long, value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

pub(super) fn run(args: &Args, registry: &Registry) -> Result<ExitCode> {
    let text = template(&args.name).map_err(Error::Usage)?;
    let name = format!("{}.toml", args.name);
    let folder: PathBuf = args.folder.components().filter(|part| *part != Component::CurDir).collect();
    let (path, schema) = (folder.join(&name), folder.join(SCHEMA));
    if path.symlink_metadata().is_ok() {
        return Err(Error::Usage(format!("{} exists; choose another name, or remove it", path.display())));
    }
    if schema.symlink_metadata().is_ok() && !is_schema(&schema) {
        let schema = schema.display();
        return Err(Error::Usage(format!("{schema} exists and is no schema of suites; rename it, or use --folder")));
    }
    record::write(&args.folder, &name, text.as_bytes())?;
    record::write(&args.folder, SCHEMA, file::json_schema(registry).as_bytes())?;
    super::print(next_steps(&path))
}

/// Whether a file is the schema of suites, of this version or another.
fn is_schema(path: &Path) -> bool {
    let text = bounded::read_to_string(path, LONGEST_SCHEMA).unwrap_or_default();
    serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|schema| schema["title"] == file::SCHEMA_TITLE)
}

/// What was written, and what to do with it.
fn next_steps(path: &Path) -> String {
    let mut text = format!("wrote {}, and {SCHEMA} beside it\n", path.display());
    let path = super::quoted(path);
    for (command, about) in [
        (format!("plan {path}"), "what it trains, and at what cost"),
        (format!("suite {path} --profile smoke"), "every row, in seconds"),
        (format!("suite {path}"), "the comparison, in about a minute"),
    ] {
        text.push_str(&format!("  sharpbench {command:<width$}  {about}\n", width = path.len() + 22));
    }
    text
}
