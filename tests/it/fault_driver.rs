//! The real binary through random faults, one after another on one run folder, until the run is complete; then on the next folder.
//! After each: no finished record is lost or changed, nothing damaged is taken for good, the exit code says what happened.
//!
//! `SHARPBENCH_FAULT_ROUNDS` faults (default 13), in an order and at instants drawn from `SHARPBENCH_FAULT_SEED` (default 1), of the kinds
//! that `SHARPBENCH_FAULT_KINDS` names (default all), such as `kill,twice`.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::{Place, Random, signal, timeless};

const RUN: &str = "suite tiny.toml --data stand-in --out run --threads 1";
const EPOCHS: usize = 5;
/// A file as a killed process leaves it.
const LEFT: &str = ".tmp-left";

/// What a fault is called, and how it is done.
type Fault = (&'static str, fn(&mut Driver));

const FAULTS: [Fault; 13] = [
    ("kill", Driver::kill),
    ("kill-child", Driver::kill_child),
    ("stop", Driver::stop),
    ("term", Driver::term),
    ("int-twice", Driver::int_twice),
    ("full-disk", Driver::full_disk),
    ("read-only", Driver::read_only),
    ("cut-record", Driver::cut_record),
    ("cut-checkpoint", Driver::cut_checkpoint),
    ("cut-plan", Driver::cut_plan),
    ("clock", Driver::clock),
    ("twice", Driver::twice),
    ("link", Driver::link),
];

/// A run folder with what is known of it.
struct Driver {
    place: Place,
    random: Random,
    /// The records of a run that nothing disturbed.
    expected: BTreeMap<String, Value>,
    /// Those that were there after the last fault, to the byte.
    finished: BTreeMap<String, Vec<u8>>,
    /// Those that were damaged since, as they are now.
    damaged: Vec<(String, Vec<u8>)>,
    /// Runs that were brought to their end.
    complete: usize,
    /// Processes that SIGKILL ended, before they had ended themselves.
    killed: usize,
}

fn new_place() -> Place {
    let place = Place::new();
    place.keep_every_epoch(EPOCHS);
    place
}

impl Driver {
    fn new(seed: u64) -> Self {
        let place = new_place();
        place.sharpbench(RUN).assert().success();
        let expected = place.record_files("run").into_iter().map(|(name, bytes)| (name, timeless(&bytes))).collect();
        Self {
            place: new_place(),
            random: Random::new(seed),
            expected,
            finished: BTreeMap::new(),
            damaged: Vec::new(),
            complete: 0,
            killed: 0,
        }
    }

    /// The run, in one process or in two children, behind what a shell does first.
    fn start(&mut self, first: &str) -> Child {
        let jobs = ["", " --jobs 2"][self.random.below(2) as usize];
        self.start_with(first, jobs)
    }

    fn start_with(&self, first: &str, jobs: &str) -> Child {
        let script = format!("{first} exec {} {RUN}{jobs}", env!("CARGO_BIN_EXE_sharpbench"));
        self.place.spawn_program("sh", &["-c", &script])
    }

    /// Waits until something was written, or, one time in four, not; and a little longer.
    fn wait(&mut self, child: &mut Child) {
        let before = self.place.progress("run");
        let patient = self.random.below(4) > 0;
        while patient && self.place.progress("run") == before && child.try_wait().expect("a status").is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(self.random.below(60_000)));
    }

    /// The end of a process: by one of these exit codes, or by SIGKILL where that was sent. The run is complete by code 0.
    fn end(&mut self, child: Child, codes: &[i32]) -> String {
        let output = child.wait_with_output().expect("ended");
        self.judge(&output, codes)
    }

    fn judge(&mut self, output: &Output, codes: &[i32]) -> String {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code().or(output.status.signal().map(|signal| -signal));
        assert!(code.is_some_and(|code| codes.contains(&code)), "ended with {code:?}, not one of {codes:?}: {text}");
        assert!(!text.contains("panicked"), "{text}");
        self.killed += usize::from(code == Some(-9));
        assert_eq!(code == Some(2), text.contains("error: "), "an error is told, and has code 2: {text}");
        assert!(!text.contains("stopped and checkpointed") || code.is_some_and(|code| code > 128), "{text}");
        if code == Some(0) {
            self.check();
            self.end_of_run();
        }
        text
    }

    /// Nothing finished was lost or changed, nothing damaged is taken for good.
    fn check(&mut self) {
        let found = self.place.record_files("run");
        let damaged = |name: &str, bytes: &Vec<u8>| self.damaged.iter().any(|(n, b)| n == name && b == bytes);
        for (name, bytes) in &self.finished {
            assert!(found.get(name) == Some(bytes), "{name} was finished and is lost or changed");
        }
        for (name, bytes) in &found {
            if damaged(name, bytes) {
                continue;
            }
            let record = timeless(bytes);
            assert_eq!(Some(&record), self.expected.get(name), "{name} is not the record of an undisturbed run");
            let whole: Value = serde_json::from_slice(bytes).expect("JSON");
            let seconds =
                ["train_seconds", "mask_seconds"].map(|key| whole["measures"][key].as_f64().expect("seconds"));
            assert!(seconds.iter().all(|s| (0.0..600.0).contains(s)), "times that no clock can change: {seconds:?}");
        }
        for (name, bytes) in &self.damaged {
            let kept = found.get(name) == Some(bytes) || self.aside(name).contains(bytes);
            assert!(kept, "the damaged {name} is neither in its place nor set aside");
        }
        self.finished = found.into_iter().filter(|(name, bytes)| !damaged(name, bytes)).collect();
    }

    /// What was set aside of a record.
    fn aside(&self, name: &str) -> Vec<Vec<u8>> {
        let entries = std::fs::read_dir(self.place.path("run/cells")).into_iter().flatten().flatten();
        let aside = entries.filter(|e| {
            let found = e.file_name().to_string_lossy().into_owned();
            found.starts_with(name) && found.ends_with(".damaged")
        });
        aside.map(|e| std::fs::read(e.path()).expect("a file")).collect()
    }

    /// Of a complete run all is there and nothing is left over.
    fn end_of_run(&mut self) {
        let found: Vec<&String> = self.finished.keys().collect();
        assert_eq!(found, self.expected.keys().collect::<Vec<_>>());
        assert!(!self.place.path("run/cells").join(LEFT).exists(), "what a killed process left is still there");
        for folder in ["checkpoints", "failed"] {
            let left = std::fs::read_dir(self.place.path("run").join(folder)).map_or(0, Iterator::count);
            assert_eq!(left, 0, "{folder} still holds files");
        }
        for (name, bytes) in &self.damaged {
            assert!(self.aside(name).contains(bytes), "the damaged {name} was not set aside");
        }
        self.place = new_place();
        self.finished.clear();
        self.damaged.clear();
        self.complete += 1;
    }

    /// Where there is no file of this kind yet, runs until there is one. Whether there is one now: the run may be complete.
    fn has(&mut self, extension: &str) -> bool {
        let found = |driver: &Self| {
            let files = driver.place.progress("run");
            files.iter().any(|(path, _)| path.extension().is_some_and(|found| found == extension))
        };
        if !found(self) {
            let mut child = self.start_with("", "");
            while !found(self) && child.try_wait().expect("a status").is_none() {
                std::thread::sleep(Duration::from_micros(200));
            }
            child.kill().ok();
            self.end(child, &[-9, 0]);
            self.check();
        }
        found(self)
    }

    fn kill(&mut self) {
        let mut child = self.start("");
        self.wait(&mut child);
        child.kill().ok();
        self.end(child, &[-9, 0]);
    }

    /// One of two children: the other goes on, the end is told and has a note.
    fn kill_child(&mut self) {
        let mut child = self.start_with("", " --jobs 2");
        self.wait(&mut child);
        let id = child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        if let Some(first) = children.split_whitespace().next() {
            std::process::Command::new("kill").args(["-KILL", first]).output().expect("kill runs");
        }
        let text = self.end(child, &[0, 2]);
        assert!(!text.contains("error: ") || text.contains("was killed by signal 9"), "{text}");
    }

    /// One process is stopped and goes on while, or after, another works on the run.
    fn stop(&mut self) {
        let mut first = self.start("");
        self.wait(&mut first);
        send(&mut first, "STOP");
        let second = self.start("");
        // Not for progress: the one that is stopped may hold the only cell that is left.
        std::thread::sleep(Duration::from_millis(self.random.below(1000)));
        send(&mut first, "CONT");
        self.end_both(first, second);
    }

    /// Two processes at once on one run.
    fn twice(&mut self) {
        let (mut first, second) = (self.start(""), self.start(""));
        self.wait(&mut first);
        self.end_both(first, second);
    }

    /// Both are killed, or one, or none.
    fn end_both(&mut self, mut first: Child, mut second: Child) {
        let which = self.random.below(4);
        if which & 1 == 0 {
            first.kill().ok();
        }
        if which & 2 == 0 {
            second.kill().ok();
        }
        let outputs = [first, second].map(|child| child.wait_with_output().expect("ended"));
        let codes = outputs.each_ref().map(|o| o.status.code());
        // A process that ends the run makes way for the next one when both have ended.
        for (output, code) in outputs.iter().zip(codes) {
            if code != Some(0) {
                self.judge(output, &[-9]);
            }
        }
        if let Some(complete) = outputs.iter().find(|o| o.status.success()) {
            self.judge(complete, &[0]);
        }
    }

    fn term(&mut self) {
        let (name, number) = [("TERM", 15), ("INT", 2)][self.random.below(2) as usize];
        let mut child = self.start("");
        self.wait(&mut child);
        send(&mut child, name);
        // Before it listens, the signal itself ends it.
        self.end(child, &[128 + number, -number, 0]);
    }

    fn int_twice(&mut self) {
        let mut child = self.start("");
        self.wait(&mut child);
        for name in ["INT", "TERM"] {
            send(&mut child, name);
        }
        self.end(child, &[130, 143, -2, -15, 0]);
    }

    /// Writes fail beyond a file size: of the plan, of checkpoints, of records, or of none.
    fn full_disk(&mut self) {
        let blocks = self.random.below(100);
        let child = self.start(&format!("trap '' XFSZ; ulimit -f {blocks};"));
        let text = self.end(child, &[0, 2]);
        let told = text.contains("raise the limit on the size of files") || text.contains("exited with code 2");
        assert!(!text.contains("error: ") || told, "{text}");
    }

    fn read_only(&mut self) {
        if !self.has("json") {
            return;
        }
        let run = self.place.path("run");
        let is_root = std::fs::metadata("/proc/self").expect("this process").uid() == 0;
        // Permissions do not bind root; a mount of its own that is seen by no other process does.
        let mounted = "mount --bind run run && mount -o remount,ro,bind run";
        if !is_root {
            each_folder(&run, &|folder| set_mode(folder, 0o555));
        }
        let script = format!("exec {} {RUN}", env!("CARGO_BIN_EXE_sharpbench"));
        let script = if is_root { format!("{{ {mounted}; }} 2>&1 || exit 99; {script}") } else { script };
        let output = if is_root {
            self.place.spawn_program("unshare", &["--mount", "sh", "-c", &script])
        } else {
            self.place.spawn_program("sh", &["-c", &script])
        };
        let output = output.wait_with_output().expect("ended");
        if !is_root {
            each_folder(&run, &|folder| set_mode(folder, 0o755));
        }
        if is_root && matches!(output.status.code(), Some(1 | 99)) {
            println!("  skipped: this root may not mount");
            return;
        }
        let text = self.judge(&output, &[2]);
        assert!(text.contains("choose another folder, or change its permissions"), "{text}");
    }

    /// A finished record is cut: it is named by the report, and set aside by the run.
    fn cut_record(&mut self) {
        self.has("json");
        let names: Vec<String> = self.finished.keys().cloned().collect();
        let Some(name) = (!names.is_empty()).then(|| &names[self.random.below(names.len() as u64) as usize]) else {
            return;
        };
        let mut bytes = self.finished.remove(name).expect("a finished record");
        // Less than the last brace and the line's end.
        bytes.truncate(self.random.below(bytes.len() as u64 - 1) as usize);
        std::fs::write(self.place.path("run/cells").join(name), &bytes).expect("written");
        self.damaged.push((name.clone(), bytes));
        let report = self.place.sharpbench("report run --format json").output().expect("a report");
        let stderr = String::from_utf8_lossy(&report.stderr).into_owned();
        assert_eq!(report.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains(&format!("{name} is damaged and left out")), "{stderr}");
        self.kill();
    }

    fn cut_checkpoint(&mut self) {
        self.has("safetensors");
        let mut kept = self.place.progress("run").into_iter().map(|(path, _)| path);
        if let Some(path) = kept.rfind(|path| path.extension().is_some_and(|x| x == "safetensors"))
            && let Ok(bytes) = std::fs::read(&path)
        {
            let n = self.random.below(bytes.len() as u64) as usize;
            // In place, as a disk would; unless the run has replaced or removed it meanwhile.
            std::fs::write(&path, &bytes[..n]).expect("written");
        }
        self.kill();
    }

    /// The plan is cut: that is refused, with a remedy that keeps what is finished.
    fn cut_plan(&mut self) {
        self.has("json");
        let path = self.place.path("run/run.json");
        let Ok(bytes) = std::fs::read(&path) else { return };
        std::fs::write(&path, &bytes[..self.random.below(bytes.len() as u64 - 1) as usize]).expect("written");
        let child = self.start("");
        let text = self.end(child, &[2]);
        assert!(text.contains("run.json: damaged") && text.contains("finished cells are kept"), "{text}");
        self.check();
        std::fs::remove_file(&path).expect("removed");
        // The remedy: the plan is made anew.
        let mut child = self.start("");
        while !path.exists() && child.try_wait().expect("a status").is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().ok();
        self.end(child, &[-9, 0]);
    }

    /// Files from the past and from the future, as after the clock was set; what a process left half-written is old, or is never.
    fn clock(&mut self) {
        let day = Duration::from_secs(86_400);
        let now = SystemTime::now();
        let time = [now - 400 * day, now - day, now + day, now + 400 * day][self.random.below(4) as usize];
        if time < now && self.place.path("run/cells").is_dir() {
            std::fs::write(self.place.path("run/cells").join(LEFT), "half").expect("written");
        }
        each_folder(&self.place.path("run"), &|folder| {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if let Ok(file) = std::fs::File::options().append(true).open(entry.path()) {
                    file.set_modified(time).expect("a time");
                }
            }
        });
        let Some(library) = faketime() else { return self.kill() };
        // The clock of the process itself jumps while it is at work.
        let place = self.place.path("");
        let set = |offset: &str| std::fs::write(place.join("clock"), offset).expect("written");
        set("+0d");
        let first = format!(
            "export LD_PRELOAD={} FAKETIME_TIMESTAMP_FILE=$PWD/clock FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1;",
            library.display()
        );
        let mut child = self.start(&first);
        self.wait(&mut child);
        set(["-400d", "+400d"][self.random.below(2) as usize]);
        self.wait(&mut child);
        child.kill().ok();
        self.end(child, &[-9, 0]);
    }

    /// A folder of the run that leads elsewhere: refused, and nothing is written there.
    fn link(&mut self) {
        let part = ["cells", "locks", "checkpoints", "weights", "failed"][self.random.below(5) as usize];
        if !self.has("json") {
            return;
        }
        let (path, aside) = (self.place.path("run").join(part), self.place.path("aside"));
        let moved = std::fs::rename(&path, &aside).is_ok();
        let elsewhere = self.place.path("elsewhere");
        std::fs::create_dir_all(&elsewhere).expect("a folder");
        std::os::unix::fs::symlink(&elsewhere, &path).expect("linked");
        let child = self.start("");
        let text = self.end(child, &[2]);
        assert!(text.contains(&format!("its folder {part} is a symbolic link")), "{text}");
        assert_eq!(std::fs::read_dir(&elsewhere).expect("a folder").count(), 0);
        std::fs::remove_file(&path).expect("removed");
        if moved {
            std::fs::rename(&aside, &path).expect("moved back");
        }
    }
}

/// Sends a signal to a process that has not ended yet, or has but was not waited for.
fn send(child: &mut Child, name: &str) {
    if child.try_wait().expect("a status").is_none() {
        signal(child.id(), name);
    }
}

fn each_folder(path: &Path, act: &dyn Fn(&Path)) {
    act(path);
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|e| e.path()).filter(|p| p.is_dir()).for_each(|p| each_folder(&p, act));
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
}

/// libfaketime, where it is installed.
fn faketime() -> Option<PathBuf> {
    let arch = std::env::consts::ARCH;
    let places =
        [format!("/usr/lib/{arch}-linux-gnu/faketime"), "/usr/lib64/faketime".into(), "/usr/lib/faketime".into()];
    places.into_iter().map(|place| Path::new(&place).join("libfaketime.so.1")).find(|path| path.exists())
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}

#[test]
fn random_faults_lose_nothing_and_change_nothing() {
    let rounds = variable("SHARPBENCH_FAULT_ROUNDS", 13);
    let kinds = std::env::var("SHARPBENCH_FAULT_KINDS").unwrap_or_default();
    let kinds: Vec<&str> = kinds.split(',').filter(|kind| !kind.is_empty()).collect();
    let faults: Vec<Fault> = FAULTS.into_iter().filter(|(name, _)| kinds.is_empty() || kinds.contains(name)).collect();
    assert!(!faults.is_empty(), "no fault is of the kinds {kinds:?}");
    let mut driver = Driver::new(variable("SHARPBENCH_FAULT_SEED", 1));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut order: Vec<Fault> = Vec::new();
    for round in 0..rounds {
        // Each as often as the others, in an order of their own.
        if order.is_empty() {
            order.clone_from(&faults);
        }
        let (name, act) = order.swap_remove(driver.random.below(order.len() as u64) as usize);
        println!("fault {round}: {name}, {} finished", driver.finished.len());
        act(&mut driver);
        driver.check();
        *counts.entry(name).or_default() += 1;
    }
    let child = driver.start("");
    driver.end(child, &[0]);
    println!(
        "{rounds} faults {counts:?}, {} processes killed, {} runs complete: none lost, none different",
        driver.killed, driver.complete
    );
}
