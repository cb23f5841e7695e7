//! `sharpbench status RUN`: how the cells of a run stand.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::opened;
use crate::error::Result;
use crate::exec::Stop;
use crate::exec::slurm::{Slurm, Standing, Survey, Tracker, stuck};
use crate::record::{RunFolder, Selection};

/// Seconds between queries to Slurm.
pub(super) const POLL: u64 = 30;
/// Range of seconds between queries.
pub(super) const POLLS: std::ops::RangeInclusive<u64> = 1..=86_400;
/// How often to listen for signals.
const TICK: Duration = Duration::from_millis(200);

/// Exit codes: 0 every cell has a record, 3 some have none.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A run folder.
    run: PathBuf,
    /// Print the state again whenever it changes, until nothing is in flight.
    #[arg(long)]
    watch: bool,
    /// Seconds between queries to Slurm, with --watch.
    #[arg(long, value_name = "SECONDS", default_value_t = POLL, value_parser = clap::value_parser!(u64).range(POLLS), requires = "watch")]
    poll: u64,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let folder = RunFolder::at(&args.run);
    let manifest = opened::manifest(&folder)?;
    let client = Slurm::on_path();
    let mut tracker = Tracker::new(&client, Selection::all(&folder, &manifest));
    let poll = Duration::from_secs(args.poll);
    let stop = if args.watch { Stop::on_signals()? } else { Stop::default() };
    let mut told = String::new();
    loop {
        let mut survey = tracker.look(false)?;
        tracker.explain(&mut survey);
        let text = describe(&survey);
        if text != told {
            super::print(super::printable(&text))?;
            told = text;
        }
        if !args.watch || tracker.is_settled(&survey, 2 * poll) {
            let complete = survey.finished() == survey.cells.len();
            return Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(super::EXIT_INCOMPLETE) });
        }
        if let Some(signal) = sleep(poll, TICK, &stop) {
            return Ok(ExitCode::from(super::EXIT_SIGNAL + signal));
        }
    }
}

/// Sleeps, unless a signal comes.
pub(super) fn sleep(time: Duration, tick: Duration, stop: &Stop) -> Option<u8> {
    let since = Instant::now();
    while since.elapsed() < time && stop.signal().is_none() {
        std::thread::sleep(tick.min(time.saturating_sub(since.elapsed())));
    }
    stop.signal()
}

/// Everything, in lines.
fn describe(survey: &Survey<'_>) -> String {
    let mut lines = vec![line(survey)];
    let mut group = |name: &str, of: &dyn Fn(&Standing) -> Option<String>| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for what in survey.cells.iter().filter_map(|(_, standing)| of(standing)) {
            *counts.entry(what).or_default() += 1;
        }
        for (what, n) in counts {
            let remedy = stuck(&what).map_or_else(String::new, |remedy| format!(" - {remedy}"));
            lines.push(format!("{name} {n}: {what}{remedy}"));
        }
    };
    group("running", &|standing| match standing {
        Standing::Running(node) => Some(format!("on {node}")),
        _ => None,
    });
    group("pending", &|standing| match standing {
        Standing::Pending(reason) => Some(reason.clone()),
        _ => None,
    });
    lines.extend(missing(survey));
    lines
        .extend(survey.silence.as_ref().map(|silence| format!("it is not known which cells are in flight: {silence}")));
    lines.push(String::new());
    lines.join("\n")
}

/// The numbers, in a line.
pub(super) fn line(survey: &Survey<'_>) -> String {
    let count = |is: fn(&Standing) -> bool| survey.cells.iter().filter(|(_, standing)| is(standing)).count();
    let others = [
        ("running", count(|s| matches!(s, Standing::Running(_)))),
        ("pending", count(|s| matches!(s, Standing::Pending(_)))),
        ("failed", count(|s| matches!(s, Standing::Failed(_)))),
        ("ended without a record", count(|s| matches!(s, Standing::Ended(_)))),
        ("not submitted", count(|s| matches!(s, Standing::Open))),
        ("unknown", count(|s| matches!(s, Standing::Unknown))),
    ];
    let others = others.iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!(", {n} {what}"));
    format!("{} of {} cells finished{}", survey.finished(), survey.cells.len(), others.collect::<String>())
}

/// A line for each cell that has failed or ended without a record.
pub(super) fn missing(survey: &Survey<'_>) -> Vec<String> {
    let why = |standing: &Standing| match standing {
        Standing::Failed(failure) => {
            let job = failure.job.as_ref().map_or_else(String::new, |job| format!(", job {} on {}", job.id, job.node));
            Some(format!("failed: {} (attempt {}{job})", failure.reason, failure.attempt))
        }
        Standing::Ended(fate) => {
            let how = fate.how.as_deref().unwrap_or("Slurm no longer knows why");
            let log = fate.log.as_ref().map_or_else(String::new, |log| format!(", log {}", log.display()));
            Some(format!("ended without a record: {how} (job {}_{}{log})", fate.job, fate.task))
        }
        _ => None,
    };
    let line = |cell: &crate::suite::Cell, standing: &Standing| Some(format!("{}: {}", cell.label(), why(standing)?));
    survey.cells.iter().filter_map(|(cell, standing)| line(cell, standing)).collect()
}
