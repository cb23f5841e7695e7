//! `sharpbench man DIR`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::error::{Error, Result};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The folder, which is made if it is missing; `man -l DIR/sharpbench.1` shows the first page.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn run<C: CommandFactory>(args: &Args) -> Result<ExitCode> {
    std::fs::create_dir_all(&args.folder).map_err(Error::io("create", &args.folder))?;
    clap_mangen::generate_to(C::command().propagate_version(true), &args.folder)
        .map_err(Error::io("write man pages into", &args.folder))?;
    Ok(ExitCode::SUCCESS)
}
