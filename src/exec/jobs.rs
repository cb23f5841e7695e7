//! Several cells at once, each in a process of its own: one that crashes takes no other with it.
//!
//! A child (`sharpbench work`) reads ids of cells from its standard input and answers each on its standard output: `ready` once, then the
//! id and what became of it.

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

/// What a child answers when it has its data.
pub(crate) const READY: &str = "ready";
/// How often to look at signals and memory.
const TICK: Duration = Duration::from_millis(100);
/// How long to wait for cells that other processes hold.
const POLL: Duration = Duration::from_millis(500);

/// Cells of a run that several processes train at once.
pub struct Jobs<'a> {
    /// Cells to train, in order.
    pub selection: Selection<'a>,
    /// How many at once.
    pub jobs: usize,
    /// Threads of each; an equal share of the CPUs where not given.
    pub threads: Option<usize>,
    /// Resident memory of all children together, in bytes, that is not to be exceeded.
    pub max_memory: Option<u64>,
    /// Arguments of a child beside those of the run, its threads and its CPUs.
    pub arguments: Vec<OsString>,
    /// Whether to stop.
    pub stop: Stop,
}

/// A child with the cell that it is training.
struct ChildWorker<'a> {
    child: Child,
    stdin: Option<ChildStdin>,
    is_ready: bool,
    cell: Option<&'a Cell>,
    /// Asked to keep its cell and to end, to make room.
    yields: bool,
}

/// What a child says: its place, and a line of its answers or the end of them.
type Message = (usize, Option<String>);

/// Trains every cell that has no record yet, several at once. A cell whose process ends without a record is noted in the run folder; the
/// others go on.
///
/// # Errors
/// When a child cannot start, or cells have failed: their records of failure are in the run folder.
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
                    "{} has no record: its process {reason}{more}; the notes are in its folder failed; type the same command again (without --fresh) to try again",
                    cell.label()
                ),
            })
        }
    }
}

struct Crew<'a> {
    run: &'a Jobs<'a>,
    sender: Sender<Message>,
    /// By place; a place whose child has ended is empty.
    workers: Vec<Option<ChildWorker<'a>>>,
    /// How many may work at once.
    places: usize,
    open: VecDeque<&'a Cell>,
    /// Cells that another process holds, each with the moment from which on it is tried again.
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
                // Nobody spoke: the crew itself keeps the channel open.
                Err(_) => {}
            }
            self.limit_memory(watcher)?;
        }
    }

    /// Gives open cells to idle children, and starts more where there are fewer than there may be.
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
                // Whoever has ended says so by the end of its answers.
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
        // Ctrl-C reaches this process alone, which asks the children once: asked twice they would end at once.
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

    /// Hears what became of a cell.
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
            // Stopped, to make room.
            _ => self.open.push_front(cell),
        }
        Ok(())
    }

    /// A child has ended: its cell, if it had one and was not to make room, has failed.
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
            watcher.warn(&format!("the process that trained {} {how}; the others go on", cell.label()));
            let earlier = self.run.selection.folder.failure(cell);
            let failure = Failure {
                exit_code: exit_code(status),
                ..Failure::new(cell, FailureClass::Process, how.as_str(), earlier)
            };
            self.run.selection.folder.write_failure(cell, &failure)?;
            self.failed.push((cell, how));
        } else {
            return Err(Error::Usage(format!("a child process {how} before it had its data")));
        }
        Ok(())
    }

    /// Where the children take more memory than they may, the last of them makes room: its cell is kept and goes on later.
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
                "{living} cells at once take {} MiB, more than the {} of --max-memory: {} from here on",
                megabytes(used),
                megabytes(limit),
                self.places
            ));
            last.yields = true;
            // Without a cell it waits for one, and hears of the end of its input alone.
            last.stdin = None;
            ask_to_stop(&last.child);
            return Ok(());
        }
        last.child.kill().ok();
        Err(Error::Usage(format!(
            "one cell takes {} MiB, more than the {} of --max-memory; allow more, or use smaller batches or data",
            megabytes(used),
            megabytes(limit)
        )))
    }

    /// Asks all children to keep their cells and waits for them.
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

    /// Lets children go that wait for a cell.
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

/// Such as `was ended by signal 9`.
fn how_it_ended(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("was ended by signal {signal}");
    }
    match status.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => "ended".into(),
    }
}

/// None of a process that a signal ended.
fn exit_code(status: ExitStatus) -> Option<u8> {
    status.code().and_then(|code| u8::try_from(code).ok())
}

/// Asks a child to keep its cell and to end.
fn ask_to_stop(child: &Child) {
    #[cfg(unix)]
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
    }
    #[cfg(not(unix))]
    let _ = child;
}
