//! Runs Slurm's commands without a shell, with a time limit, and without environment variables that
//! would change their output.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use wait_timeout::ChildExt;

use crate::error::{Error, Result};

/// Time limit of a command.
const LIMIT: Duration = Duration::from_secs(60);
/// Delays before a failed request is repeated.
const DELAYS: [u64; 4] = [5, 10, 20, 40];
/// Slurm variables that a command needs to find the cluster. All others belong to the surrounding
/// job and are removed.
const KEPT: [&str; 3] = ["SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"];
/// Variables of user settings that would change requests or output.
const REMOVED: [&str; 2] = ["SBATCH_WAIT", "SBATCH_ARRAY_INX"];

/// Output of a command, or why it failed.
pub(super) type Answer = std::result::Result<String, String>;

/// Slurm's commands.
#[derive(Clone, Debug)]
pub struct Slurm {
    /// Folder of the commands; `None` for the path.
    programs: Option<PathBuf>,
    limit: Duration,
    pub(super) delays: Vec<Duration>,
}

impl Slurm {
    /// Uses the commands on the path.
    pub fn on_path() -> Self {
        Self { programs: None, limit: LIMIT, delays: DELAYS.map(Duration::from_secs).to_vec() }
    }

    /// Uses stand-ins in a folder, without delays between attempts.
    #[cfg(all(test, unix))]
    pub(super) fn stand_in(folder: &Path) -> Self {
        let limit = Duration::from_millis(500);
        Self { programs: Some(folder.into()), limit, delays: vec![Duration::ZERO; DELAYS.len()] }
    }

    /// Runs a command.
    ///
    /// # Errors
    /// When the command does not exist. A command that fails is not an error here.
    pub(super) fn ask<A: AsRef<OsStr>>(&self, program: &str, arguments: &[A]) -> Result<Answer> {
        let path = self.programs.as_ref().map_or_else(|| PathBuf::from(program), |folder| folder.join(program));
        // Files instead of pipes: a command with long output never waits for a reader.
        let [mut out, mut err] = [scratch()?, scratch()?];
        let mut command = Command::new(&path);
        command.args(arguments).stdin(Stdio::null());
        for name in std::env::vars_os().map(|(name, _)| name).filter(|name| changes_answers(name)) {
            command.env_remove(name);
        }
        command.stdout(duplicate(&out)?).stderr(duplicate(&err)?);
        let mut child = match command.spawn() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::Usage(format!(
                    "there is no {program} on this machine: use one that can submit jobs to Slurm, or --executor local"
                )));
            }
            child => child.map_err(Error::io("start", &path))?,
        };
        let status = child.wait_timeout(self.limit).map_err(Error::io("wait for", &path))?;
        let Some(status) = status else {
            child.kill().and_then(|()| child.wait()).map_err(Error::io("end", &path))?;
            return Ok(Err(format!("{program} did not answer within {} seconds", self.limit.as_secs_f32())));
        };
        let said = contents(&mut out)?;
        Ok(if status.success() { Ok(said) } else { Err(contents(&mut err)?.trim().to_string()) })
    }

    /// The cluster's maximum array size, if reported.
    ///
    /// # Errors
    /// When Slurm's commands are not installed.
    pub fn largest_array(&self) -> Result<Option<usize>> {
        let answer = self.ask("scontrol", &["show", "config"])?.unwrap_or_default();
        let value = answer.lines().find_map(|line| line.strip_prefix("MaxArraySize")?.split_once('='));
        Ok(value.and_then(|(_, size)| size.trim().parse().ok()))
    }
}

fn changes_answers(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let foreign = ["SLURM_", "SQUEUE_", "SCANCEL_", "SACCT_"].iter().any(|prefix| name.starts_with(prefix));
    (foreign && !KEPT.contains(&&*name)) || REMOVED.contains(&&*name)
}

fn scratch() -> Result<File> {
    tempfile::tempfile().map_err(Error::io("create", "a temporary file"))
}

fn duplicate(file: &File) -> Result<File> {
    file.try_clone().map_err(Error::io("open", "a temporary file"))
}

fn contents(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(Error::io("read", "a temporary file"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Formats `--name=value` for any bytes in the value.
pub(super) fn option(name: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut option = OsString::from(format!("--{name}="));
    option.push(value);
    option
}

/// Makes a path absolute, so that it is valid in other folders and on other machines.
///
/// # Errors
/// When the current folder is unknown.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(Error::io("find", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_job_or_a_user_has_set_is_kept_out() {
        let out = |name: &str| changes_answers(OsStr::new(name));
        for name in ["SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID", "SBATCH_WAIT", "SQUEUE_PARTITION", "SCANCEL_INTERACTIVE"] {
            assert!(out(name), "{name}");
        }
        for name in ["SLURM_CONF", "SLURM_CLUSTERS", "SBATCH_ACCOUNT", "PATH", "HF_HOME"] {
            assert!(!out(name), "{name}");
        }
    }
}
