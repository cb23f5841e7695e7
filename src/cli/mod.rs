//! The command line: one file per subcommand, text only. Results go to stdout, everything else to stderr.

mod bench;
mod cancel;
mod cell;
mod cluster;
mod compare;
mod completions;
mod data;
mod device;
mod doctor;
mod gather;
mod installation;
mod list;
mod live;
mod man;
mod new;
mod opened;
mod parity;
mod plan;
mod printing;
mod progress;
mod push;
mod report;
mod running;
mod scaling;
mod slurm;
mod status;
mod suite;
mod task_log;
mod tune;
mod until;
mod work;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::{Error, Result};
use crate::exec::survive_file_limit;
use crate::record;
use crate::registry::Registry;

/// Exit code of wrong usage and of errors.
pub const EXIT_ERROR: u8 = 2;
/// Exit code of a comparison that fails.
pub const EXIT_REGRESSION: u8 = 1;
/// Exit code of a run that is not complete.
pub const EXIT_INCOMPLETE: u8 = 3;

/// Exit code of a run that was stopped by a signal, less the signal's number.
pub const EXIT_SIGNAL: u8 = 128;

/// Compare SGD, SAM and sparse SAM: accuracy, wall-clock and FLOPs, reproducibly.
///
/// Exit codes: 0 ok, 1 a comparison failed, 2 wrong usage or an error, 3 the run is incomplete, 128 + N stopped by signal N (130
/// Ctrl-C, 143 SIGTERM).
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train the cells of a suite that have no record yet, then print the table.
    #[command(after_help = suite::EXAMPLES)]
    Suite(Box<suite::Args>),
    /// Choose each method's settings on validation samples, and write a suite with them.
    #[command(after_help = tune::EXAMPLES)]
    Tune(Box<tune::Args>),
    /// Show the state of the cells of a run: finished, running on a cluster, failed, lost.
    Status(status::Args),
    /// Cancel the cells of a run that are queued or running on a cluster.
    Cancel(cancel::Args),
    /// Print the report of a run that a cluster or other processes have trained, and save it with
    /// the run.
    Gather(gather::Args),
    /// Train one cell of a run, given its index in a plan: a task for Slurm, Kubernetes, GNU
    /// parallel and the like.
    Cell(cell::Args),
    /// Show suites, models, data sets and optimizers.
    List,
    /// List, fetch and verify data sets.
    #[command(subcommand)]
    Data(data::Args),
    /// Show the cells of a suite, their FLOPs and, once measured, the time they take.
    Plan(plan::Args),
    /// Time training steps on synthetic images: parts, executed FLOPs, fraction of the machine's peak.
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::Args),
    /// Print the report of a run folder.
    #[command(after_help = report::EXAMPLES)]
    Report(report::Args),
    /// Compare a run with a baseline: improved, unchanged, regressed, undecided, new, missing.
    #[command(after_help = compare::EXAMPLES)]
    Compare(compare::Args),
    /// Show how this program was installed, which CPUs and GPUs trainings can use, and why not others.
    Doctor,
    /// Replay parity cases and compare the results with the expected weights.
    Parity(parity::Args),
    /// Train the cells of a run whose ids are read from stdin: a child of `suite --jobs`.
    #[command(hide = true)]
    Work(work::Args),
    /// Write a commented suite of your own, to start from.
    New(new::Args),
    /// Print the JSON Schema of suite files.
    Schema,
    /// Print a completion script for a shell.
    Completions(completions::Args),
    /// Write the man pages of the program and of its commands to a folder.
    Man(man::Args),
}

/// Parses the command line and runs the command; suites may name the optimizers of `registry`.
///
/// # Errors
/// What the command could not do, naming the thing and the remedy.
pub fn run(registry: &Registry) -> Result<ExitCode> {
    survive_file_limit();
    match Cli::parse().command {
        Command::Suite(args) => suite::run(&args, registry),
        Command::Tune(args) => tune::run(&args, registry),
        Command::Status(args) => status::run(&args),
        Command::Cancel(args) => cancel::run(&args),
        Command::Gather(args) => gather::run(&args),
        Command::Cell(args) => cell::run(&args, registry),
        Command::List => list::run(registry),
        Command::Data(args) => data::run(&args),
        Command::Plan(args) => plan::run(&args, registry),
        Command::Bench(args) => bench::run(&args, registry),
        Command::Report(args) => report::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Doctor => doctor::run(),
        Command::Parity(args) => parity::run(&args, registry),
        Command::Work(args) => work::run(&args, registry),
        Command::New(args) => new::run(&args, registry),
        Command::Schema => print(crate::suite::file::json_schema(registry)),
        Command::Completions(args) => completions::run::<Cli>(&args),
        Command::Man(args) => man::run::<Cli>(&args),
    }
}

/// A line on stderr, whose reader may be gone.
pub fn tell(line: &str) {
    use std::io::Write;
    writeln!(std::io::stderr(), "{}", printable(line)).ok();
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let bytes = shlex::bytes::try_quote(path.as_os_str().as_encoded_bytes());
    bytes.map_or_else(|_| path.display().to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// A text that does not steer a terminal: names of files and keys may be a stranger's.
fn printable(text: &str) -> String {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Writes a file that the user names, atomically.
fn write_file(path: &Path, contents: &[u8]) -> Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    record::write(parent, &path.file_name().unwrap_or_default().to_string_lossy(), contents).map(drop)
}

/// Writes a result to stdout. A reader that hangs up early (`| head`) is no error.
fn print(result: impl AsRef<[u8]>) -> Result<ExitCode> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(result.as_ref()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("write", "stdout")(e)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Writes a result to stdout as JSON.
fn print_json(result: &impl serde::Serialize) -> Result<ExitCode> {
    let json = serde_json::to_string_pretty(result).map_err(|e| Error::Usage(e.to_string()))?;
    print(json + "\n")
}

/// Sets the number of threads that compute, at most one for each CPU that this process may use; results are the same for any. Returns it
/// if it was asked for.
fn set_threads(asked: Option<usize>) -> Result<Option<usize>> {
    if asked == Some(0) {
        return Err(Error::Usage("--threads 0 cannot compute anything; use at least 1".into()));
    }
    let variable = std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok());
    let (what, wanted) = match (asked, variable) {
        (Some(n), _) => ("--threads", n),
        (None, Some(n)) if n > 0 => ("RAYON_NUM_THREADS", n),
        // One for each CPU.
        (None, _) => return Ok(None),
    };
    let threads = at_most_cpus(what, wanted);
    start_threads(threads)?;
    Ok(asked.map(|_| threads))
}

/// A number of threads or processes that is asked for, or that of the CPUs of this process if it is smaller: more would only wait
/// for each other.
fn at_most_cpus(what: &str, wanted: usize) -> usize {
    let cpus = std::thread::available_parallelism().map_or(usize::MAX, usize::from);
    if wanted > cpus {
        tell(&format!("warning: {what} {wanted} is more than the {cpus} CPUs of this process; {cpus} is used"));
    }
    wanted.min(cpus)
}

/// Starts so many threads.
fn start_threads(n: usize) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build_global();
    pool.map_err(|e| Error::Usage(format!("{n} threads cannot be started: {e}")))
}
