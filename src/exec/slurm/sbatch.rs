//! Submission of arrays. A submission is recorded before it is sent; after a timeout it is looked
//! up by name before it is sent again.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::client::{Slurm, absolute, option};
use super::resources::Resources;
use super::script::script;
use super::squeue::TaskRow;
use super::state::Phase;
use super::submission::{Acceptance, JobId, LOGS, PLAN, Submission, read_submissions};
use crate::error::{Error, Result};
use crate::record::RunFolder;

/// Parts of error messages that leave open whether a job was accepted. All other errors are
/// refusals.
const TRANSIENT: [&str; 12] = [
    "did not answer within",
    "socket timed out",
    "unable to contact",
    "transport endpoint",
    "connection refused",
    "connection reset",
    "connection timed out",
    "connect failure",
    "communication",
    "zero bytes were transmitted",
    "temporarily un",
    "standby mode",
];
/// Time allowed for tasks to checkpoint their cells and end.
const ENDING: Duration = Duration::from_secs(120);
/// Names of the program's copy and of the script in a submission's folder.
const PROGRAM: &str = "sharpbench";
const SCRIPT: &str = "task.sh";

/// A submission to make.
pub struct SubmissionRequest<'a> {
    /// Run folder.
    pub folder: &'a RunFolder,
    /// Ids of the cells.
    pub cells: &'a [String],
    /// Resources of a task.
    pub resources: &'a Resources,
    /// Arguments of `sharpbench cell` besides the run, the plan and the index.
    pub arguments: &'a [OsString],
    /// Nodes to exclude.
    pub avoided: &'a [String],
}

impl SubmissionRequest<'_> {
    /// Script of the submission in this folder.
    ///
    /// # Errors
    /// When a path cannot be written in a script.
    pub fn script(&self, submission: &Path) -> Result<Vec<u8>> {
        let mut arguments: Vec<OsString> = vec!["cell".into(), option("run", absolute(self.folder.path())?)];
        arguments.push(option("plan", submission.join(PLAN)));
        arguments.push(option("threads", self.resources.cpus.to_string()));
        if self.resources.cells_per_task > 1 {
            arguments.push(option("cells-per-task", self.resources.cells_per_task.to_string()));
        }
        arguments.extend(self.resources.wants_gpu().then(|| "--needs-gpu".into()));
        arguments.extend_from_slice(self.arguments);
        script(self.resources.setup.as_deref(), &submission.join(PROGRAM), &arguments)
    }

    /// Command that submits this many cells from this folder.
    pub fn command(&self, submission: &Path, name: &str, cells: usize) -> Vec<OsString> {
        let tasks = cells.div_ceil(self.resources.cells_per_task);
        let limit = self.resources.array_limit.map_or_else(String::new, |limit| format!("%{limit}"));
        let mut command: Vec<OsString> = vec!["--parsable".into(), option("job-name", name)];
        command.push(format!("--array=0-{}{limit}", tasks.saturating_sub(1)).into());
        command.push(option("output", submission.join(LOGS).join("%A_%a.log")));
        command.extend(["--open-mode=append", "--requeue", "--nodes=1", "--ntasks=1"].map(Into::into));
        command.extend(self.resources.options());
        if !self.avoided.is_empty() {
            command.push(format!("--exclude={}", self.avoided.join(",")).into());
        }
        command.extend(self.resources.more.iter().map(Into::into));
        command.push(submission.join(SCRIPT).into());
        command
    }

    /// Creates the folder of a submission of some cells, with everything its tasks need.
    fn prepare(&self, cells: &[String], program: &Program) -> Result<(Submission, Vec<OsString>)> {
        let all = absolute(&self.folder.submissions())?;
        fs::create_dir_all(&all).map_err(Error::io("create", &all))?;
        let mut builder = tempfile::Builder::new();
        builder.prefix("").rand_bytes(8);
        // Accessible to others like any folder of the run, as the umask allows.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let path = builder.tempdir_in(&all).map_err(Error::io("create", &all))?.keep();
        let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let logs = path.join(LOGS);
        fs::create_dir(&logs).map_err(Error::io("create", &logs))?;
        let copy = path.join(PROGRAM);
        program.put(&copy)?;
        let mut plan = cells.join("\n");
        plan.push('\n');
        self.folder.write_submission(&id, PLAN, plan)?;
        self.folder.write_submission(&id, SCRIPT, self.script(&path)?)?;
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let mut submission = Submission {
            id,
            cells: cells.to_vec(),
            acceptance: Acceptance::Submitting,
            job: None,
            cells_per_task: self.resources.cells_per_task,
            begun_unix_ms: since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            sbatch: Vec::new(),
        };
        let command = self.command(&path, &submission.name(), cells.len());
        let readable = |word: &OsString| word.to_string_lossy().into_owned();
        submission.sbatch = std::iter::once("sbatch".into()).chain(command.iter().map(readable)).collect();
        submission.write(self.folder)?;
        Ok((submission, command))
    }
}

/// Number of cells per array, given the cluster's maximum array size.
pub fn chunk(resources: &Resources, largest: Option<usize>) -> usize {
    let tasks = largest.map_or(resources.array_max, |largest| largest.min(resources.array_max));
    tasks.max(1).saturating_mul(resources.cells_per_task)
}

/// Submits cells in arrays of at most `chunk`. The caller must hold [`RunFolder::lock_submission`].
///
/// # Errors
/// When Slurm refuses an array (earlier ones stay submitted) or cannot be reached. An array that
/// was accepted without confirmation is found the next time.
pub fn submit(
    slurm: &Slurm,
    request: &SubmissionRequest<'_>,
    chunk: usize,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Submission>> {
    let mut program = Program::Own;
    let mut submissions = Vec::new();
    for cells in request.cells.chunks(chunk.max(1)) {
        let (mut submission, command) = request.prepare(cells, &program)?;
        program = Program::Copy(submission.path(request.folder).join(PROGRAM));
        match send(slurm, &submission.name(), &command, say)? {
            Sent::Accepted(job) => {
                submission.job = Some(job);
                submission.acceptance = Acceptance::Submitted;
                submission.write(request.folder)?;
            }
            Sent::Refused(reason) => {
                submission.acceptance = Acceptance::Refused;
                submission.write(request.folder)?;
                return Err(Error::Usage(format!("Slurm refuses to run the cells: {reason}")));
            }
        }
        submissions.push(submission);
    }
    Ok(submissions)
}

/// Source of a submission's program.
enum Program {
    /// The running program, which the next build may overwrite.
    Own,
    /// The copy made for the previous array.
    Copy(PathBuf),
}

impl Program {
    fn put(&self, path: &Path) -> Result<()> {
        let own = std::env::current_exe().map_err(Error::io("find", "this program"))?;
        if let Self::Copy(copy) = self
            && fs::hard_link(copy, path).is_ok()
        {
            return Ok(());
        }
        fs::copy(&own, path).map_err(Error::io("copy", &own))?;
        // The time is part of a checkpoint's identity where the sources are not committed: a later array's copy must resume it.
        let built = fs::metadata(&own).and_then(|file| file.modified());
        built
            .and_then(|time| fs::File::options().write(true).open(path)?.set_modified(time))
            .map_err(Error::io("copy", path))
    }
}

enum Sent {
    Accepted(JobId),
    Refused(String),
}

fn send(slurm: &Slurm, name: &str, command: &[OsString], say: &mut dyn FnMut(&str)) -> Result<Sent> {
    let mut delays = slurm.delays.iter();
    loop {
        let mut reason = match slurm.ask("sbatch", command)? {
            Ok(text) => match JobId::parse(&text) {
                Some(job) => return Ok(Sent::Accepted(job)),
                None => format!("sbatch printed no job number: {}", text.trim()),
            },
            Err(reason) if is_transient(&reason) => reason,
            Err(reason) => return Ok(Sent::Refused(reason)),
        };
        // The submission may still have been accepted. It is sent again only once Slurm reports
        // that it was not.
        loop {
            let Some(delay) = delays.next() else {
                return Err(Error::Usage(format!(
                    "Slurm cannot be reached ({reason}); rerun the same command later: it will find what Slurm did accept"
                )));
            };
            say(&format!("{reason}; retrying in {} seconds", delay.as_secs()));
            std::thread::sleep(*delay);
            match slurm.find(name)? {
                Ok(Some(job)) => return Ok(Sent::Accepted(job)),
                Ok(None) => break,
                Err(silence) => reason = silence,
            }
        }
    }
}

fn is_transient(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    TRANSIENT.iter().any(|part| message.contains(part))
}

/// Determines whether unconfirmed submissions were accepted. The caller must hold
/// [`RunFolder::lock_submission`].
///
/// # Errors
/// When Slurm's commands are not installed, or the result cannot be written.
pub(super) fn settle(slurm: &Slurm, folder: &RunFolder, submissions: &mut [Submission]) -> Result<()> {
    for submission in submissions.iter_mut().filter(|s| s.acceptance == Acceptance::Submitting) {
        let Ok(found) = slurm.find(&submission.name())? else { continue };
        submission.acceptance = if found.is_some() { Acceptance::Submitted } else { Acceptance::Refused };
        submission.job = found;
        submission.write(folder)?;
    }
    Ok(())
}

/// Whether any of these submissions may still be in flight, or why Slurm does not respond.
///
/// # Errors
/// When Slurm's commands are not installed.
pub fn is_busy(slurm: &Slurm, submissions: &[Submission]) -> Result<std::result::Result<bool, String>> {
    for submission in submissions.iter().filter(|s| s.acceptance == Acceptance::Submitting) {
        match slurm.find(&submission.name())? {
            Ok(None) => {}
            found => return Ok(found.map(|_| true)),
        }
    }
    let rows = slurm.rows(submissions)?;
    Ok(rows.map(|rows| rows.iter().flatten().any(|row| row.phase() != Phase::Ended)))
}

/// Ends all tasks in flight and waits for them to end; running ones checkpoint their cells first.
/// Returns the number of arrays ended.
///
/// # Errors
/// When Slurm does not respond, or tasks do not end.
pub fn end(slurm: &Slurm, folder: &RunFolder) -> Result<usize> {
    let silent = |reason| Error::Usage(format!("Slurm cannot be queried ({reason}); rerun the same command later"));
    let Some(_lock) = folder.lock_submission()? else { return Err(submitting(folder)) };
    let mut submissions = read_submissions(folder)?;
    settle(slurm, folder, &mut submissions)?;
    if submissions.iter().any(|s| s.acceptance == Acceptance::Submitting) {
        return Err(silent("it is not known whether it accepted the last submission".into()));
    }
    let in_flight = |rows: &[Vec<TaskRow>]| -> Vec<bool> {
        rows.iter().map(|rows| rows.iter().any(|row| row.phase() != Phase::Ended)).collect()
    };
    let busy = in_flight(&slurm.rows(&submissions)?.map_err(silent)?);
    let ended = busy.iter().filter(|busy| **busy).count();
    let mut complaint = String::new();
    for (submission, _) in submissions.iter().zip(&busy).filter(|(_, busy)| **busy) {
        // A task that has just ended by itself also gives an error, so only what is in flight
        // afterwards counts.
        if let Some(Err(reason)) = submission.job.as_ref().map(|job| slurm.cancel(job)).transpose()? {
            complaint = reason;
        }
    }
    let since = Instant::now();
    while in_flight(&slurm.rows(&submissions)?.map_err(silent)?).contains(&true) {
        if since.elapsed() > ENDING {
            return Err(Error::Usage(format!(
                "some tasks did not end within {} seconds {complaint}",
                ENDING.as_secs()
            )));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    for submission in submissions.iter_mut().filter(|s| s.acceptance == Acceptance::Submitted) {
        submission.acceptance = Acceptance::Cancelled;
        submission.write(folder)?;
    }
    Ok(ended)
}

/// Error for a run whose cells another process is submitting.
pub fn submitting(folder: &RunFolder) -> Error {
    Error::Run { path: folder.path().into(), message: "another process is submitting its cells; wait for it".into() }
}
