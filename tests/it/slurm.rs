//! Runs on a real Slurm cluster of two nodes, which these tests start and stop (ci/slurm-lab.sh). Where Slurm cannot be had they are skipped,
//! with a word.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use predicates::prelude::*;
use serde_json::Value;
use sharpbench::suite::Cell;

use crate::support::{Place, TINY, signal, skipped};
use crate::tune::SUITE;
use crate::until::ARMS;

const RUN: &str = "suite tiny.toml --data stand-in --out run";
const SLURM: &str = "--executor slurm --mem 200M --time 10";
/// How long anything may take: a node's loss takes half a minute.
const PATIENCE: Duration = Duration::from_secs(120);

/// The cluster; stopped when dropped, a panic's way out included.
struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    /// Starts one; nothing where Slurm cannot be had.
    fn start() -> Option<Self> {
        let lab = Self { folder: tempfile::tempdir().expect("a folder") };
        let output = lab.command("start", &[&free_ports().to_string()]);
        if output.status.success() {
            return Some(lab);
        }
        skipped(&format!("no Slurm cluster: {}", String::from_utf8_lossy(&output.stderr).trim()));
        None
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("lab")
    }

    fn command(&self, what: &str, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/slurm-lab.sh");
        Command::new(script).arg(what).arg(self.path()).args(arguments).output().expect("bash")
    }

    fn manage(&self, what: &str, arguments: &[&str]) {
        let output = self.command(what, arguments);
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn conf(&self) -> PathBuf {
        self.path().join("slurm.conf")
    }

    /// What a command of Slurm's prints.
    fn ask(&self, command: &str) -> String {
        let mut words = command.split_whitespace();
        let mut asked = Command::new(words.next().expect("a command"));
        let output = asked.args(words).env("SLURM_CONF", self.conf()).output().expect("Slurm's commands");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The binary in a place, with this cluster.
    fn sharpbench(&self, place: &Place, arguments: &str) -> assert_cmd::Command {
        let mut command = place.sharpbench(arguments);
        command.env("SLURM_CONF", self.conf());
        command
    }

    /// The processes of the cells of a place.
    fn at_work(&self, place: &Place) -> Vec<Work> {
        let run = place.path("run").display().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("processes").flatten() {
            let text = |name: &str| fs::read(entry.path().join(name)).map(|t| String::from_utf8_lossy(&t).into_owned());
            let (Ok(line), Ok(environment)) = (text("cmdline"), text("environ")) else { continue };
            let node = environment.split('\0').find_map(|v| v.strip_prefix("SLURMD_NODENAME="));
            if let Some(node) = node.filter(|_| line.contains(&run) && line.contains("sharpbench\0cell")) {
                let plan = line.split('\0').find_map(|word| word.strip_prefix("--plan=")).expect("a plan");
                let index = line.split("--index\0").nth(1).and_then(|rest| rest.split('\0').next()).expect("an index");
                let plan = fs::read_to_string(plan).expect("a plan");
                let id = plan.lines().nth(index.parse().expect("a number")).expect("a line").into();
                let pid = entry.file_name().to_string_lossy().into_owned();
                found.push(Work { node: node.into(), pid, id });
            }
        }
        found
    }

    /// Waits until a node has kept a cell that it is training.
    fn await_kept(&self, place: &Place, node: &str) {
        await_that("a node has kept a cell", || {
            let there = self.at_work(place);
            let is_kept = |id: &str| checkpoints(place).iter().any(|path| path.display().to_string().contains(id));
            there.iter().any(|work| work.node == node && is_kept(&work.id))
        });
    }

    /// Waits until the run has no task in Slurm's hands.
    fn drain(&self) {
        await_that("all tasks end", || self.ask("squeue -h").trim().is_empty());
    }
}

/// A cell at work.
struct Work {
    node: String,
    pid: String,
    id: String,
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.ask("squeue -r -t all -o %i|%j|%T|%r|%N"));
        }
        self.command("stop", &[]);
    }
}

/// The first of three ports in a row that nobody uses.
fn free_ports() -> u16 {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).expect("small");
    let is_free = |port: &u16| (*port..port + 3).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    (first..u16::MAX - 3).step_by(3).find(is_free).expect("free ports")
}

fn await_that(what: &str, mut is: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is() {
        assert!(since.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Epochs of cells that take some seconds.
const LONG: usize = 200;

/// The tiny suite of small networks, its cells so long, kept after every epoch.
fn place(epochs: usize) -> Place {
    let place = Place::new();
    let mut suite = TINY
        .replace("epochs = 2", &format!("epochs = {epochs}"))
        .replace("seeds = [1, 2]", "seeds = [1, 2]\ncheckpoint = 1");
    suite = suite.replace("{ name = \"resnet8\", width = 4 }", "{ name = \"mlp\", hidden = [64] }");
    suite = suite.replace("lr = 0.05", "lr = 0.001");
    suite = suite.replace("augment = { crop = 2, flip = true }\n", "");
    fs::write(place.path("tiny.toml"), suite).expect("a suite");
    place
}

/// The fingerprints of a run on this machine.
fn local(epochs: usize) -> BTreeMap<String, String> {
    let place = place(epochs);
    place.sharpbench(RUN).assert().success();
    place.fingerprints("run")
}

/// Of the long cells.
fn local_long() -> &'static BTreeMap<String, String> {
    static LOCAL: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    LOCAL.get_or_init(|| local(LONG))
}

fn records(place: &Place) -> Vec<Value> {
    let entries = fs::read_dir(place.path("run/cells")).into_iter().flatten().flatten().map(|e| e.path());
    let entries = entries.filter(|path| path.extension().is_some_and(|x| x == "json"));
    entries.map(|path| read_json(&path)).collect()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).expect("text").lines().count()
}

/// Cells that are kept.
fn checkpoints(place: &Place) -> Vec<PathBuf> {
    fs::read_dir(place.path("run/checkpoints")).into_iter().flatten().flatten().map(|e| e.path()).collect()
}

/// Files named so of all submissions.
fn of_submissions(place: &Place, name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.path("run/slurm")).into_iter().flatten().flatten();
    entries.map(|e| e.path().join(name)).filter(|path| path.exists()).collect()
}

fn logs(place: &Place) -> String {
    let folders = of_submissions(place, "logs");
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("logs").flatten());
    files.map(|file| fs::read_to_string(file.path()).expect("text")).collect()
}

/// One cluster for all: each part leaves it idle. Several clusters at once would only wait for each other's CPUs.
#[test]
fn on_a_cluster() {
    let Some(lab) = Lab::start() else { return };
    type Part = (&'static str, fn(&Lab));
    let parts: [Part; 10] = [
        ("a grid is the local run's, whatever its path", grid),
        ("seeds until claims are decided", until_decided),
        ("a suite is tuned", tuned),
        ("many cells make several arrays", many_cells),
        ("a cell fails alone", failing_cell),
        ("bad places are tried again, and avoided", bad_places),
        ("cancelled, a run goes on", cancel_and_resume),
        ("the controller freezes while a run is submitted", frozen_controller),
        ("a node dies", node_dies),
        ("a daemon dies and its cells run twice", orphans),
    ];
    for (name, part) in parts {
        let since = Instant::now();
        part(&lab);
        lab.drain();
        eprintln!("{name}: {:.1} s", since.elapsed().as_secs_f32());
    }
}

fn grid(lab: &Lab) {
    let place = place(2);
    let run = "a run's \"folder\" $(touch pwned)\nof two lines";
    let mut command = lab.sharpbench(&place, "suite tiny.toml --data stand-in");
    fs::write(place.path("set up $HOME.sh"), "export SHARPBENCH_SETUP=1\n").expect("a file");
    command.args(SLURM.split_whitespace()).args([
        "--wait",
        "--poll",
        "1",
        "--gres",
        "gpu:1",
        "--setup",
        "set up $HOME.sh",
        "--out",
        run,
    ]);
    command
        .assert()
        .success()
        .stdout(predicate::str::contains("ssam-f").and(predicate::str::contains("in a batch job")))
        .stderr(predicate::str::contains("submitted 4 cells to Slurm as"))
        .stderr(predicate::str::contains("a folder for temporary files"))
        .stderr(predicate::str::contains("4 of 4 cells finished"));
    assert!(!place.path("pwned").exists());
    fs::rename(place.path(run), place.path("run")).expect("renamed");
    assert!(of_submissions(&place, "pwned").is_empty());
    assert_eq!(place.fingerprints("run"), local(2));
    for record in records(&place) {
        let job = &record["provenance"]["job"];
        assert!(["n1", "n2"].contains(&job["node"].as_str().expect("a node")), "{job}");
        assert!(job["id"].as_str().expect("a number").contains('_'), "{job}");
    }
    assert!(logs(&place).contains(": finished"), "{}", logs(&place));
    // Again, there is nothing to submit; and the report is made without Slurm.
    lab.sharpbench(&place, &format!("{RUN} {SLURM}")).assert().success().stdout(predicate::str::contains("ssam-f"));
    lab.sharpbench(&place, &format!("suite tiny.toml --data stand-in --out 100%j {SLURM}"))
        .assert()
        .code(2)
        .stderr(predicate::str::contains("its path contains % or \\, which Slurm expands in names of logs"));
    assert_eq!(of_submissions(&place, "plan.txt").len(), 1);
    place.sharpbench("gather run").env("SLURM_CONF", "/nowhere").assert().success();
    assert!(place.path("run/report-tiny-quick-photo-patches.html").exists());
}

/// Each look submits the next seeds of undecided rows, whether the command waits for them or is given again.
fn until_decided(lab: &Lab) {
    let place = Place::new();
    let arms = ARMS.replace("max_seeds = 5", "max_seeds = 3");
    fs::write(place.path("arms.toml"), arms).expect("a suite");
    let run = |out: &str| format!("suite arms.toml --until decided --out {out} {SLURM}");
    lab.sharpbench(&place, &format!("{} --wait --poll 1", run("waited")))
        .assert()
        .success()
        .stdout(predicate::str::contains("INTERIM: look 1 of at most 2"))
        .stderr(predicate::str::contains("not decided yet: look 2 of at most 2"));
    lab.sharpbench(&place, &run("run")).assert().success().stderr(predicate::str::contains("submitted 8 cells"));
    lab.sharpbench(&place, "status run --watch --poll 1").assert().success();
    lab.sharpbench(&place, &run("run")).assert().success().stderr(predicate::str::contains("not decided yet: look 2"));
    lab.sharpbench(&place, "status run --watch --poll 1").assert().success();
    lab.sharpbench(&place, &run("run")).assert().success().stdout(predicate::str::contains("INTERIM").not());
    assert_eq!(place.fingerprints("run"), place.fingerprints("waited"));
    let local = Place::new();
    fs::copy(place.path("arms.toml"), local.path("arms.toml")).expect("a suite");
    local.sharpbench("suite arms.toml --until decided --out run").assert().success();
    assert_eq!(place.fingerprints("run"), local.fingerprints("run"));
}

/// Submitted, left and gathered by the same command; the suite is the one that this machine finds.
fn tuned(lab: &Lab) {
    let [cluster, local] = [Place::new(), Place::new()];
    let tune = "tune small.toml --trials 2 --out run";
    for place in [&cluster, &local] {
        fs::write(place.path("small.toml"), SUITE).expect("a suite");
    }
    lab.sharpbench(&cluster, &format!("{tune} {SLURM}"))
        .assert()
        .success()
        .stderr(predicate::str::contains("submitted 6"));
    lab.sharpbench(&cluster, "status run --watch --poll 1").assert().success();
    lab.sharpbench(&cluster, &format!("{tune} {SLURM}"))
        .assert()
        .success()
        .stdout(predicate::str::contains("validation %"));
    local.sharpbench(tune).assert().success();
    // But for the seconds that it took.
    let suite = |place: &Place| {
        let text = fs::read_to_string(place.path("small-tuned.toml")).expect("a tuned suite");
        text.lines().filter(|line| !line.starts_with("# Cost")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(suite(&cluster), suite(&local));
}

fn many_cells(lab: &Lab) {
    let place = Place::new();
    let seeds: Vec<String> = (1..=750).map(|seed: usize| seed.to_string()).collect();
    fs::write(place.path("tiny.toml"), TINY.replace("[1, 2]", &format!("[{}]", seeds.join(", ")))).expect("a suite");
    lab.sharpbench(&place, &format!("{RUN} {SLURM} --dry-run")).assert().success().stdout(
        predicate::str::contains("1500 of 1500 cells, 2 arrays").and(predicate::str::contains("'--array=0-999'")),
    );
    assert!(!place.path("run").exists(), "nothing was done");
    let submit = format!("{RUN} {SLURM} --array-limit 3 --sbatch-arg=--hold");
    lab.sharpbench(&place, &submit).assert().success().stderr(predicate::str::contains("submitted 1500 cells"));
    let arrays = lab.ask("squeue -h -o %i");
    assert!(arrays.contains("_[0-999%3]") && arrays.contains("_[0-499%3]"), "{arrays}");
    lab.sharpbench(&place, "status run").assert().code(3).stdout(predicate::str::contains(
        "0 of 1500 cells finished, 1500 pending\npending 1500: JobHeldUser - held: `scontrol release JOB` releases them\n",
    ));
    // All are in flight: nothing is missing, and nothing is cleared under them.
    lab.sharpbench(&place, &submit).assert().success().stderr(predicate::str::contains("1500 more are in flight"));
    assert_eq!(lab.ask("squeue -h -o %i"), arrays);
    lab.sharpbench(&place, &format!("{RUN} --fresh"))
        .assert()
        .code(2)
        .stderr(predicate::str::contains("some of its cells are in flight; run `sharpbench cancel run` first"));
    lab.sharpbench(&place, "cancel run").assert().success().stderr(predicate::str::contains("cancelled 2 arrays"));
    assert_eq!(lab.ask("squeue -h"), "");
    lab.sharpbench(&place, "status run")
        .assert()
        .code(3)
        .stdout(predicate::str::contains("0 of 1500 cells finished, 1500 not submitted"));
}

/// The first cell of a held run is made one that no machine can train.
fn failing_cell(lab: &Lab) {
    let place = place(2);
    lab.sharpbench(&place, &format!("{RUN} {SLURM} --sbatch-arg=--hold")).assert().success();
    let mut manifest: Value = read_json(&place.path("run/run.json"));
    let id = |cell: &Value| serde_json::from_value::<Cell>(cell.clone()).expect("a cell").id();
    let before = id(&manifest["cells"][0]);
    manifest["cells"][0]["model"]["depth"] = 7.into();
    let after = id(&manifest["cells"][0]);
    fs::write(place.path("run/run.json"), manifest.to_string()).expect("written");
    let plan = &of_submissions(&place, "plan.txt")[0];
    fs::write(plan, fs::read_to_string(plan).expect("a plan").replace(&before, &after)).expect("written");
    lab.ask(&format!("scontrol release {}", lab.ask("squeue -h -o %F").trim()));
    lab.sharpbench(&place, "status run --watch --poll 1")
        .assert()
        .code(3)
        .stdout(predicate::str::contains("3 of 4 cells finished, 1 failed\nsgd lr="));
    for command in ["status run", "gather run"] {
        let output = lab.sharpbench(&place, command).assert().code(3).get_output().clone();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        assert!(text.contains("model.depth does not apply"), "{text}");
    }
    let notes: Vec<PathBuf> =
        fs::read_dir(place.path("run/failed")).expect("a folder").flatten().map(|e| e.path()).collect();
    let note = read_json(&notes[0]);
    assert_eq!(
        (notes.len(), &note["class"], &note["exit_code"], &note["attempt"]),
        (1, &"cell".into(), &1.into(), &1.into())
    );
    assert!(note["job"]["node"].is_string() && note["log"][0].as_str().is_some_and(|l| l.contains("starts")), "{note}");
    assert_eq!(lab.ask("sacct"), "", "this cluster has no accounting");
    // The suite's own cell is what is missing then.
    lab.sharpbench(&place, &format!("{RUN} {SLURM} --wait --poll 1")).assert().success();
    assert_eq!(of_submissions(&place, "plan.txt").iter().map(|plan| lines(plan)).sum::<usize>(), 4 + 1);
}

/// A node that gives no GPUs fails so quickly that it would eat an array.
fn bad_places(lab: &Lab) {
    let place = place(100);
    let suite = fs::read_to_string(place.path("tiny.toml")).expect("a suite").replace("[1, 2]", "[1, 2, 3, 4]");
    fs::write(place.path("tiny.toml"), suite).expect("a suite");
    fs::write(place.path("setup"), "[ \"$SLURMD_NODENAME\" != n1 ] || export CUDA_VISIBLE_DEVICES=\n").expect("a file");
    lab.sharpbench(&place, &format!("{RUN} {SLURM} --gres gpu:1 --setup setup --wait --poll 1"))
        .assert()
        .success()
        .stderr(predicate::str::contains("excluding n1, where cells have failed repeatedly"))
        .stderr(predicate::str::contains("8 of 8 cells finished"));
    assert!(records(&place).iter().all(|record| record["provenance"]["job"]["node"] == "n2"));
    assert_eq!(fs::read_dir(place.path("run/failed")).expect("a folder").count(), 0);
}

fn cancel_and_resume(lab: &Lab) {
    let place = place(LONG);
    lab.sharpbench(&place, &format!("{RUN} {SLURM} --cells-per-task 2")).assert().success();
    await_that("a cell is finished, and another kept", || {
        !records(&place).is_empty() && !checkpoints(&place).is_empty()
    });
    lab.sharpbench(&place, "cancel run").assert().success().stderr(predicate::str::contains("cancelled 1 arrays"));
    assert!(lab.at_work(&place).is_empty());
    let finished = records(&place).len();
    let kept = checkpoints(&place).len();
    assert!(finished < 4 && kept > 0, "{finished} finished, {kept} kept");
    lab.sharpbench(&place, "cancel run").assert().success().stderr(predicate::str::contains("nothing was in flight"));
    lab.sharpbench(&place, &format!("{RUN} {SLURM} --wait --poll 1"))
        .assert()
        .success()
        .stderr(predicate::str::contains(format!("submitted {} cells", 4 - finished)));
    assert_eq!(place.fingerprints("run"), *local_long());
    assert!(logs(&place).contains("resumes after"), "{}", logs(&place));
}

fn frozen_controller(lab: &Lab) {
    let place = place(2);
    lab.manage("freeze", &[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_sharpbench"));
    command.args(format!("{RUN} {SLURM}").split_whitespace()).current_dir(place.path(""));
    command.env("SLURM_CONF", lab.conf()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map(|line| line.expect("text"));
    let timed_out = lines.find(|line| line.contains("retrying in 5 seconds"));
    lab.manage("thaw", &[]);
    assert!(timed_out.is_some_and(|line| line.contains("Socket timed out")));
    assert!(child.wait().expect("ended").success(), "{:?}", lines.collect::<Vec<_>>());
    let submission = &of_submissions(&place, "submit.json")[0];
    let id = submission.parent().and_then(Path::file_name).expect("a name").to_string_lossy().into_owned();
    let arrays = lab.ask(&format!("squeue -h -t all --name=sharpbench-{id} -r -o %F"));
    let mut arrays: Vec<&str> = arrays.lines().collect();
    assert_eq!(arrays.len(), 4, "four tasks");
    arrays.dedup();
    assert_eq!(arrays, [read_json(submission)["job"]["id"].to_string()], "of one array, whose number is known");
    lab.sharpbench(&place, "status run --watch --poll 1").assert().success();
}

fn node_dies(lab: &Lab) {
    let place = place(LONG);
    lab.sharpbench(&place, &format!("{RUN} {SLURM}")).assert().success();
    lab.await_kept(&place, "n2");
    lab.manage("kill", &["n2"]);
    lab.drain();
    lab.manage("revive", &["n2"]);
    lab.sharpbench(&place, "status run").assert().success().stdout("4 of 4 cells finished\n");
    assert_eq!(place.fingerprints("run"), *local_long());
    let again: Vec<Value> = records(&place).into_iter().filter(|r| r["provenance"]["job"]["restarts"] != 0).collect();
    assert!(!again.is_empty() && again.iter().all(|r| r["provenance"]["job"]["node"] == "n1" && r["resumed"] != 0));
}

/// Locks are removed, as if they did not hold from node to node; the orphans are frozen until Slurm has begun their cells anew.
fn orphans(lab: &Lab) {
    let place = place(LONG);
    lab.sharpbench(&place, &format!("{RUN} {SLURM}")).assert().success();
    lab.await_kept(&place, "n2");
    lab.manage("orphan", &["n2"]);
    let orphans: Vec<Work> = lab.at_work(&place).into_iter().filter(|work| work.node == "n2").collect();
    assert!(!orphans.is_empty());
    orphans.iter().for_each(|work| signal(&work.pid, "STOP"));
    for lock in fs::read_dir(place.path("run/locks")).expect("locks").flatten() {
        fs::remove_file(lock.path()).expect("removed");
    }
    let told = |word: &str| logs(&place).matches(word).count();
    // A cell that was stopped before it was kept once starts again.
    await_that("their cells are restarted", || told(": starts") + told(": resumes after") >= 4 + orphans.len());
    orphans.iter().for_each(|work| signal(&work.pid, "CONT"));
    lab.drain();
    await_that("the orphans end", || lab.at_work(&place).is_empty());
    lab.manage("revive", &["n2"]);
    assert_eq!(place.fingerprints("run"), *local_long());
    assert_eq!(
        fs::read_dir(place.path("run/cells")).expect("records").count(),
        4,
        "one record each, nothing half-written"
    );
    assert_eq!(told(" first; its record is kept"), orphans.len(), "{}", logs(&place));
    assert!(checkpoints(&place).is_empty());
}
