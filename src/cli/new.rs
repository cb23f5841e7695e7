//! `sharpbench new NAME`.

use std::path::{Component, PathBuf};
use std::process::ExitCode;

use crate::error::{Error, Result};
use crate::record;
use crate::registry::Registry;
use crate::suite::{file, template};

/// The schema's file, which the template names.
const SCHEMA: &str = "suite.schema.json";

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
    let path = args.folder.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>().join(&name);
    if path.symlink_metadata().is_ok() {
        return Err(Error::Usage(format!("{} exists; choose another name, or remove it", path.display())));
    }
    record::write(&args.folder, &name, text.as_bytes())?;
    record::write(&args.folder, SCHEMA, file::json_schema(registry).as_bytes())?;
    super::print(told(&path.display().to_string()))
}

/// What was written, and what to do with it.
fn told(path: &str) -> String {
    let mut text = format!("wrote {path}, and {SCHEMA} beside it\n");
    for (command, about) in [
        (format!("plan {path}"), "what it trains, and at what cost"),
        (format!("suite {path} --profile smoke"), "every row, in seconds"),
        (format!("suite {path}"), "the comparison, in about a minute"),
    ] {
        text.push_str(&format!("  sharpbench {command:<width$}  {about}\n", width = path.len() + 22));
    }
    text
}
