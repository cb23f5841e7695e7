//! Runs several cells at once, each in its own process, so that a crash affects only one cell.
//!
//! A child (`sharpbench work`) reads cell ids from its standard input and replies on its standard
//! output: first `ready`, then for each cell its id and outcome.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::affinity::{available, shares};
use super::local::open_cells;
use super::{Ended, Stop, Watcher};
use crate::error::{Error, Result};
use crate::record::{Failure, FailureClass, Selection};
use crate::suite::Cell;
use crate::train::resident_bytes;

/// Reply of a child that has loaded its data.
pub(crate) const READY: &str = "ready";
/// Interval for checking signals and memory.
const TICK: Duration = Duration::from_millis(100);
/// Interval for checking cells held by other processes.
const POLL: Duration = Duration::from_millis(500);

/// Cells of a run that several processes train at once.
pub struct Jobs<'a> {
    /// Cells to train, in order.
    pub selection: Selection<'a>,
    /// Number of cells at once.
    pub jobs: usize,
    /// Threads per child; `None` for an equal share of the CPUs.
    pub threads: Option<usize>,
    /// Limit on the resident memory of all children together, in bytes.
    pub max_memory: Option<u64>,
    /// Arguments of a child besides the run, its threads and its CPUs.
    pub arguments: Vec<OsString>,
    /// Stop request.
    pub stop: Stop,
}

/// A child process and the cell it is training.
struct ChildWorker<'a> {
    child: Child,
    stdin: Option<ChildStdin>,
    is_ready: bool,
    cell: Option<&'a Cell>,
    /// Whether it was told to checkpoint its cell and exit, to free memory.
    yields: bool,
}

/// Message from a child: its slot, and a line of output or `None` at the end.
type Message = (usize, Option<String>);

/// Trains every cell without a record, several at once. If a process ends without a record, its
/// cell is noted in the run folder and the others continue.
///
/// # Errors
/// When a child cannot start, or cells have failed. Their failure records are in the run folder.
pub fn run_jobs(run: &Jobs<'_>, watcher: &mut dyn Watcher) -> Result<Ended> {
    let open = open_cells(run.selection)?;
    watcher.resumed(run.selection.cells.len() - open.len(), &open);
    let (sender, receiver) = channel();
    let mut crew = Crew {
        run,
        sender,
        workers: Vec::new(),
        places: run.jobs,
        open: open.into(),
        held: VecDeque::new(),
        failed: Vec::new(),
    };
    let ended = crew.work(&receiver, watcher);
    crew.dismiss();
    let ended = ended?;
    if let Ended::Stopped(_) = ended {
        return Ok(ended);
    }
    match crew.failed.as_slice() {
        [] => Ok(ended),
        [(cell, reason), others @ ..] => {
            let more = if others.is_empty() { String::new() } else { format!(", and {} more", others.len()) };
            Err(Error::Run {
                path: run.selection.folder.path().into(),
                message: format!(
                    "{} has no record: its process {reason}{more}; details are in its folder failed; rerun the same command (without --fresh) to try again",
                    cell.label()
                ),
            })
        }
    }
}

struct Crew<'a> {
    run: &'a Jobs<'a>,
    sender: Sender<Message>,
    /// Children by slot; a slot is empty after its child has ended.
    workers: Vec<Option<ChildWorker<'a>>>,
    /// Maximum number of children.
    places: usize,
    open: VecDeque<&'a Cell>,
    /// Cells held by another process, each with the time of the next attempt.
    held: VecDeque<(Instant, &'a Cell)>,
    failed: Vec<(&'a Cell, String)>,
}

impl<'a> Crew<'a> {
    fn work(&mut self, messages: &Receiver<Message>, watcher: &mut dyn Watcher) -> Result<Ended> {
        let mut told = false;
        loop {
            let now = Instant::now();
            while let Some((_, cell)) = self.held.pop_front_if(|(until, _)| *until <= now) {
                self.open.push_back(cell);
            }
            if let Some(signal) = self.run.stop.signal() {
                self.stop(messages);
                return Ok(Ended::Stopped(signal));
            }
            self.assign()?;
            let at_work = self.workers.iter().flatten().filter(|w| w.cell.is_some()).count();
            if at_work == 0 && self.open.is_empty() {
                if self.held.is_empty() {
                    return Ok(Ended::Finished);
                }
                if !told {
                    told = true;
                    watcher.wait(self.held.len());
                }
            }
            match messages.recv_timeout(TICK) {
                Ok((place, Some(line))) => self.answer(place, &line, watcher)?,
                Ok((place, None)) => self.end(place, watcher)?,
                // Timeout: the channel stays open, since the crew itself holds a sender.
                Err(_) => {}
            }
            self.limit_memory(watcher)?;
        }
    }

    /// Assigns open cells to idle children, and starts children up to the maximum.
    fn assign(&mut self) -> Result<()> {
        for place in 0..self.run.jobs {
            if self.open.is_empty() {
                return Ok(());
            }
            if self.workers.len() == place {
                self.workers.push(None);
            }
            let living = self.workers.iter().flatten().count();
            if self.workers[place].is_none() && living < self.places {
                self.workers[place] = Some(self.hire(place)?);
            }
            let Some(worker) = self.workers[place].as_mut().filter(|w| w.cell.is_none() && !w.yields) else { continue };
            let Some(cell) = self.open.pop_front() else { return Ok(()) };
            worker.cell = Some(cell);
            if let Some(stdin) = &mut worker.stdin {
                // Write errors are ignored: a child that has ended is noticed by the end of its
                // output.
                writeln!(stdin, "{}", cell.id()).and_then(|()| stdin.flush()).ok();
            }
        }
        Ok(())
    }

    fn hire(&self, place: usize) -> Result<ChildWorker<'a>> {
        let run = self.run;
        let all = available();
        let cpus = shares(&all, run.jobs).swap_remove(place);
        let threads = run.threads.unwrap_or(cpus.len().max(1));
        let program = std::env::current_exe().map_err(Error::io("find", "this program"))?;
        let mut command = Command::new(&program);
        command.arg("work").arg(run.selection.folder.path()).args(&run.arguments);
        command.args(["--threads", &threads.to_string(), "--jobs", &run.jobs.to_string()]);
        if !cpus.is_empty() {
            let list: Vec<String> = cpus.iter().map(usize::to_string).collect();
            command.args(["--cpus", &list.join(",")]);
        }
        // Ctrl-C must reach only this process, which then signals each child once. A second signal
        // would end the children at once.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(Error::io("start", &program))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            for line in stdout.into_iter().flat_map(|out| BufReader::new(out).lines()).map_while(std::io::Result::ok) {
                if sender.send((place, Some(line))).is_err() {
                    return;
                }
            }
            sender.send((place, None)).ok();
        });
        Ok(ChildWorker { child, stdin, is_ready: false, cell: None, yields: false })
    }

    /// Handles a child's reply about a cell.
    fn answer(&mut self, place: usize, line: &str, watcher: &mut dyn Watcher) -> Result<()> {
        let Some(worker) = self.workers.get_mut(place).and_then(Option::as_mut) else { return Ok(()) };
        if line == READY {
            worker.is_ready = true;
            return Ok(());
        }
        let Some(cell) = worker.cell.take() else { return Ok(()) };
        match line.split_once(' ').map(|(_, outcome)| outcome) {
            Some("trained") => match self.run.selection.folder.record(cell)? {
                Some(record) => watcher.finish(&record),
                None => watcher.finished_elsewhere(cell),
            },
            Some("finished") => watcher.finished_elsewhere(cell),
            Some("held") => self.held.push_back((Instant::now() + POLL, cell)),
            // The child was stopped to free memory.
            _ => self.open.push_front(cell),
        }
        Ok(())
    }

    /// Handles the end of a child. Its cell, if any, has failed unless the child was told to stop.
    fn end(&mut self, place: usize, watcher: &mut dyn Watcher) -> Result<()> {
        let Some(mut worker) = self.workers.get_mut(place).and_then(Option::take) else { return Ok(()) };
        let status = worker.child.wait().map_err(Error::io("wait for", "a child process"))?;
        let how = how_it_ended(status);
        let Some(cell) = worker.cell else {
            return if worker.is_ready || worker.yields {
                Ok(())
            } else {
                Err(Error::Usage(format!("a child process {how}")))
            };
        };
        if worker.yields || self.run.stop.signal().is_some() {
            self.open.push_front(cell);
        } else if worker.is_ready {
            watcher.warn(&format!("the process that trained {} {how}; the others continue", cell.label()));
            let earlier = self.run.selection.folder.failure(cell);
            let failure = Failure {
                exit_code: exit_code(status),
                ..Failure::new(cell, FailureClass::Process, how.as_str(), earlier)
            };
            self.run.selection.folder.write_failure(cell, &failure)?;
            self.failed.push((cell, how));
        } else {
            return Err(Error::Usage(format!("a child process {how} before it had loaded its data")));
        }
        Ok(())
    }

    /// If the children exceed the memory limit, stops the last one. Its cell is checkpointed and
    /// resumed later.
    fn limit_memory(&mut self, watcher: &mut dyn Watcher) -> Result<()> {
        let Some(limit) = self.run.max_memory else { return Ok(()) };
        let used: u64 = self.workers.iter().flatten().filter_map(|w| resident_bytes(w.child.id())).sum();
        if used <= limit || self.workers.iter().flatten().any(|w| w.yields) {
            return Ok(());
        }
        let living = self.workers.iter().flatten().count();
        let Some(last) = self.workers.iter_mut().flatten().next_back() else { return Ok(()) };
        let megabytes = |bytes: u64| bytes >> 20;
        if living > 1 {
            self.places = living - 1;
            watcher.warn(&format!(
                "{living} cells at once use {} MiB, more than the {} of --max-memory; {} at once from now on",
                megabytes(used),
                megabytes(limit),
                self.places
            ));
            last.yields = true;
            // A child without a cell is waiting for input and reacts only to the end of it.
            last.stdin = None;
            ask_to_stop(&last.child);
            return Ok(());
        }
        last.child.kill().ok();
        Err(Error::Usage(format!(
            "one cell uses {} MiB, more than the {} of --max-memory; raise the limit, or use smaller batches or data",
            megabytes(used),
            megabytes(limit)
        )))
    }

    /// Tells all children to checkpoint their cells, and waits for them.
    fn stop(&mut self, messages: &Receiver<Message>) {
        for worker in self.workers.iter_mut().flatten() {
            worker.stdin = None;
            ask_to_stop(&worker.child);
        }
        while self.workers.iter().any(Option::is_some) {
            if let Ok((place, None)) = messages.recv()
                && let Some(mut worker) = self.workers[place].take()
            {
                worker.child.wait().ok();
            }
        }
    }

    /// Ends the remaining children and waits for them.
    fn dismiss(&mut self) {
        for worker in self.workers.iter_mut().flatten() {
            worker.stdin = None;
            if worker.cell.is_some() {
                ask_to_stop(&worker.child);
            }
            worker.child.wait().ok();
        }
    }
}

/// Describes an exit status, such as `was killed by signal 9`.
fn how_it_ended(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("was killed by signal {signal}");
    }
    match status.code() {
        Some(code) => format!("exited with code {code}"),
        None => "ended".into(),
    }
}

/// Exit code; `None` if a signal ended the process.
fn exit_code(status: ExitStatus) -> Option<u8> {
    status.code().and_then(|code| u8::try_from(code).ok())
}

/// Tells a child to checkpoint its cell and exit.
fn ask_to_stop(child: &Child) {
    #[cfg(unix)]
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
    }
    #[cfg(not(unix))]
    let _ = child;
}
