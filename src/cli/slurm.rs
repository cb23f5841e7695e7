//! `sharpbench suite NAME --executor slurm`: submits the cells that are missing, and leaves or waits.

use std::process::ExitCode;
use std::time::Duration;

use super::cluster;
use super::live::Live;
use super::opened::Opening;
use super::status::{self, missing};
use crate::data::DataSource;
use crate::error::{Error, Result};
use crate::exec::Stop;
use crate::exec::slurm::{self, Acceptance, Resources, Slurm, Standing, SubmissionRequest, Survey, Tracker};
use crate::record::{FailureClass, RunFolder, RunManifest, Selection, bad_nodes};

/// How often cells with environment errors are submitted again while this process waits.
const ROUNDS: usize = 3;
/// How often to listen for signals while waiting.
const TICK: Duration = Duration::from_millis(200);
/// Cells of a run that are to be submitted.
pub(super) struct ClusterRun<'a> {
    pub(super) args: &'a cluster::Args,
    pub(super) selection: Selection<'a>,
    pub(super) opening: Opening,
    /// What is done with the run once its cells have ended.
    pub(super) report: &'a dyn Fn(&RunFolder, &RunManifest) -> Result<ExitCode>,
    pub(super) quiet: bool,
    /// Whether something follows once the cells have ended: another look, or a choice.
    pub(super) goes_on: bool,
}

impl ClusterRun<'_> {
    /// Submits what is missing, or only prints what would be submitted.
    pub(super) fn execute(self) -> Result<ExitCode> {
        if self.args.is_dry() { self.show() } else { self.submit() }
    }

    /// Submits what is missing; then leaves, or waits and prints the report.
    fn submit(self) -> Result<ExitCode> {
        let path = slurm::absolute(self.selection.folder.path())?;
        slurm::check_path(&path)?;
        if let Some(why) = slurm::unshared(&path) {
            super::tell(&format!(
                "warning: {} is {why}, which other nodes probably cannot see; choose a shared folder with --out",
                path.display()
            ));
        }
        let client = Slurm::on_path();
        let mut tracker = Tracker::new(&client, self.selection);
        let (submitted, in_flight) =
            self.submit_missing(&client, &mut tracker, |standing| standing.is_missing(self.args.retry_failed))?;
        if self.args.wait {
            return self.wait(&client, &mut tracker);
        }
        if submitted + in_flight > 0 {
            let path = self.selection.folder.path().display();
            if in_flight > 0 {
                self.say(&format!("{in_flight} more are in flight"));
            }
            let next = if self.goes_on {
                "give the same command again once they have ended".to_string()
            } else {
                format!("`sharpbench gather {path}` prints the report")
            };
            self.say(&format!("`sharpbench status {path}` shows their state; {next}"));
            return Ok(ExitCode::SUCCESS);
        }
        let survey = tracker.look(false)?;
        self.finish(&survey)
    }

    /// Prints what would be submitted.
    fn show(self) -> Result<ExitCode> {
        let place = slurm::absolute(&self.selection.folder.submissions())?.join("NEW");
        slurm::check_path(&place)?;
        let client = Slurm::on_path();
        let survey = Tracker::new(&client, self.selection).look(false)?;
        if let Some(silence) = &survey.silence {
            super::tell(&format!("warning: it is not known which cells are in flight ({silence})"));
        }
        let open = ids(&survey, |standing| standing.is_missing(self.args.retry_failed));
        let (resources, arguments) = (self.args.resources()?, self.arguments()?);
        let chunk = slurm::chunk(&resources, client.largest_array().unwrap_or_default());
        let avoided = bad_nodes(survey.failures());
        let request = self.request(&open, &resources, &arguments, &avoided);
        let mut text =
            format!("{} of {} cells, {} arrays\n", open.len(), self.selection.cells.len(), open.len().div_ceil(chunk));
        for part in open.chunks(chunk) {
            let words = request.command(&place, "sharpbench-NEW", part.len());
            let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
            let line = shlex::try_join(words.iter().map(AsRef::as_ref)).map_err(|e| Error::Usage(e.to_string()))?;
            text.push_str(&format!("\nsbatch {line}\n"));
        }
        text.push_str(&format!(
            "\n{}:\n{}",
            place.join("task.sh").display(),
            String::from_utf8_lossy(&request.script(&place)?)
        ));
        super::print(super::printable(&text))
    }

    fn request<'r>(
        &'r self,
        cells: &'r [String],
        resources: &'r Resources,
        arguments: &'r [std::ffi::OsString],
        avoided: &'r [String],
    ) -> SubmissionRequest<'r> {
        SubmissionRequest { folder: self.selection.folder, cells, resources, arguments, avoided }
    }

    fn arguments(&self) -> Result<Vec<std::ffi::OsString>> {
        let data = match &self.opening.data {
            DataSource::Directory(path) => DataSource::Directory(slurm::absolute(path)?),
            data => data.clone(),
        };
        let Opening { offline, save_weights, device, checkpoint, .. } = self.opening;
        Ok(Opening { data, offline, save_weights, device, checkpoint }.arguments())
    }

    /// Submits the cells whose standing is such; how many, and how many were in flight before.
    fn submit_missing(
        &self,
        client: &Slurm,
        tracker: &mut Tracker<'_>,
        is_missing: impl Fn(&Standing) -> bool,
    ) -> Result<(usize, usize)> {
        let Some(_lock) = self.selection.folder.lock_submission()? else {
            return Err(slurm::submitting(self.selection.folder));
        };
        let survey = tracker.look(true)?;
        if let Some(silence) = &survey.silence {
            return Err(Error::Usage(format!(
                "it is not known which cells are in flight ({silence}); rerun the same command later"
            )));
        }
        let (open, in_flight) = (ids(&survey, is_missing), survey.in_flight());
        if open.is_empty() {
            return Ok((0, in_flight));
        }
        let (resources, arguments) = (self.args.resources()?, self.arguments()?);
        if resources.wants_gpu() && !cfg!(feature = "cuda") {
            super::tell(
                "warning: GPUs are requested, but this program was built without CUDA (docs/gpu.md); the cells will train on CPUs",
            );
        }
        let avoided = bad_nodes(survey.failures());
        if !avoided.is_empty() {
            super::tell(&format!("warning: excluding {}, where cells have failed repeatedly", avoided.join(", ")));
        }
        let request = self.request(&open, &resources, &arguments, &avoided);
        let chunk = slurm::chunk(&resources, client.largest_array()?);
        let warn = &mut |line: &str| super::tell(&format!("warning: {line}"));
        let submissions = slurm::submit(client, &request, chunk, warn)?;
        let jobs: Vec<String> = submissions.iter().filter_map(|s| Some(s.job.as_ref()?.id.to_string())).collect();
        self.say(&format!("submitted {} cells to Slurm as {}", open.len(), jobs.join(", ")));
        Ok((open.len(), in_flight))
    }

    fn wait(&self, client: &Slurm, tracker: &mut Tracker<'_>) -> Result<ExitCode> {
        let poll = Duration::from_secs(self.args.poll.unwrap_or(status::POLL));
        let stop = Stop::patiently()?;
        let mut told = String::new();
        let mut rounds = 1;
        loop {
            let mut survey = tracker.look(false)?;
            let line = status::line(&survey);
            if line != told {
                self.say(&line);
                told = line;
                if let Err(e) = Live::new(self.selection.folder, self.selection.manifest).write() {
                    super::tell(&format!("warning: the page is not up to date: {e}"));
                }
            }
            // A cell is lost when it was absent twice.
            if tracker.is_settled(&survey, 2 * poll) {
                let retried = |standing: &Standing| matches!(standing, Standing::Failed(f) if f.class == FailureClass::Place && f.is_retried());
                if rounds < ROUNDS && !ids(&survey, retried).is_empty() {
                    rounds += 1;
                    self.submit_missing(client, tracker, retried)?;
                    continue;
                }
                tracker.explain(&mut survey);
                return self.finish(&survey);
            }
            if let Some(signal) = status::sleep(poll, TICK, &stop) {
                super::tell(
                    "stopped waiting; the cells keep running: `sharpbench status` shows their state, `sharpbench cancel` ends them",
                );
                return Ok(ExitCode::from(super::EXIT_SIGNAL + signal));
            }
        }
    }

    /// Prints the report, and what is missing.
    fn finish(&self, survey: &Survey<'_>) -> Result<ExitCode> {
        let code = (self.report)(self.selection.folder, self.selection.manifest)?;
        for line in missing(survey) {
            super::tell(&line);
        }
        Ok(code)
    }

    fn say(&self, line: &str) {
        if !self.quiet {
            super::tell(line);
        }
    }
}

fn ids(survey: &Survey<'_>, is: impl Fn(&Standing) -> bool) -> Vec<String> {
    survey.cells.iter().filter(|(_, standing)| is(standing)).map(|(cell, _)| cell.id()).collect()
}

/// Refuses to clear a run of which something may be in Slurm's hands.
pub(super) fn refuse_busy(folder: &RunFolder) -> Result<()> {
    let mut submissions = slurm::read_submissions(folder)?;
    submissions.retain(|s| matches!(s.acceptance, Acceptance::Submitting | Acceptance::Submitted));
    if submissions.is_empty() {
        return Ok(());
    }
    let why = match slurm::is_busy(&Slurm::on_path(), &submissions).unwrap_or_else(|e| Err(e.to_string())) {
        Ok(false) => return Ok(()),
        Ok(true) => "some of its cells are in flight".to_string(),
        Err(silence) => format!("it is not known whether some of its cells are in flight ({silence})"),
    };
    let path = folder.path().display();
    let message =
        format!("--fresh would empty it, but {why}; run `sharpbench cancel {path}` first, or use another --out");
    Err(Error::Run { path: folder.path().into(), message })
}
