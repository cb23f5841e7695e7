//! `sharpbench cancel RUN`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::opened;
use crate::error::Result;
use crate::exec::slurm::{self, Slurm};
use crate::record::RunFolder;

#[derive(clap::Args)]
pub(super) struct Args {
    /// A run folder.
    run: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let folder = RunFolder::at(&args.run);
    opened::manifest(&folder)?;
    let ended = match slurm::read_submissions(&folder)?.as_slice() {
        [] => 0,
        _ => slurm::end(&Slurm::on_path(), &folder)?,
    };
    super::tell(&match ended {
        0 => "nothing was in flight".into(),
        n => {
            format!("cancelled {n} arrays; running cells were checkpointed: rerun the suite command to resume them")
        }
    });
    Ok(ExitCode::SUCCESS)
}
