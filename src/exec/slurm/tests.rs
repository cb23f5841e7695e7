//! Tests responses that a real cluster does not give on demand, with stand-ins for Slurm's
//! commands.

use std::path::PathBuf;

use super::sbatch::{is_busy, submit};
use super::stand_ins::write_program;
use super::submission::{Acceptance, Submission, read_submissions};
use super::survey::Standing;
use super::{Resources, Slurm, SubmissionRequest, Tracker, chunk};
use crate::error::Error;
use crate::record::{Failure, FailureClass, RunFolder, RunManifest, Selection, bad_nodes};

struct Cluster {
    _temporary: tempfile::TempDir,
    /// Folder of the commands; their invocations are logged in the file `asked`.
    programs: PathBuf,
    folder: RunFolder,
    manifest: RunManifest,
}

impl Cluster {
    /// Creates a cluster with these command bodies. Other commands succeed without output.
    fn new(bodies: &[(&str, &str)]) -> Self {
        let temporary = tempfile::tempdir().expect("a folder");
        let programs = temporary.path().join("bin");
        std::fs::create_dir(&programs).expect("a folder");
        let folder = RunFolder::at(temporary.path().join("run"));
        let cells = crate::suite::Suite::read("cifar10").and_then(|s| s.plan("smoke", "photo-patches"));
        let manifest = crate::record::tests::manifest(&cells.expect("the embedded suite").cells[..4]);
        let cluster = Self { _temporary: temporary, programs, folder, manifest };
        for command in ["sbatch", "squeue", "scancel", "sacct", "scontrol"] {
            cluster.set(command, "true");
        }
        bodies.iter().for_each(|(command, body)| cluster.set(command, body));
        drop(cluster.folder.claim(false).expect("an empty folder"));
        cluster
    }

    fn set(&self, command: &str, body: &str) {
        let asked = self.programs.join("asked");
        let text = format!("#!/bin/sh\necho {command} \"$@\" >> '{}'\n{body}\n", asked.display());
        write_program(&self.programs.join(command), &text);
    }

    fn slurm(&self) -> Slurm {
        Slurm::stand_in(&self.programs)
    }

    /// Number of invocations of a command.
    fn asked(&self, command: &str) -> usize {
        let asked = std::fs::read_to_string(self.programs.join("asked")).unwrap_or_default();
        asked.lines().filter(|line| line.starts_with(command)).count()
    }

    fn submit(&self) -> Result<Vec<Submission>, Error> {
        let cells: Vec<String> = self.manifest.cells.iter().map(crate::suite::Cell::id).collect();
        let resources =
            Resources { cpus: 1, mem: "1G".into(), array_max: 3, cells_per_task: 1, ..Resources::default() };
        let request = SubmissionRequest {
            folder: &self.folder,
            cells: &cells,
            resources: &resources,
            arguments: &[],
            avoided: &[],
        };
        submit(&self.slurm(), &request, chunk(&resources, Some(1001)), &mut |_| {})
    }

    /// Status of the cells, and why Slurm does not respond.
    fn look(&self) -> (Vec<Standing>, Option<String>) {
        let slurm = self.slurm();
        let mut tracker = Tracker::new(&slurm, Selection::all(&self.folder, &self.manifest));
        let mut survey = tracker.look(false).expect("a survey");
        tracker.explain(&mut survey);
        (survey.cells.into_iter().map(|(_, standing)| standing).collect(), survey.silence)
    }

    fn acceptances(&self) -> Vec<Acceptance> {
        read_submissions(&self.folder).expect("submissions").iter().map(|s| s.acceptance).collect()
    }
}

#[test]
fn numbers_with_clusters_are_kept_and_asked_for() {
    let cluster = Cluster::new(&[
        ("sbatch", "echo 'your budget: 7 h'; echo '12;gpu'"),
        ("squeue", "echo '12|0|RUNNING|None|n1'"),
    ]);
    let submissions = cluster.submit().expect("submitted");
    let sizes: Vec<usize> = submissions.iter().map(|s| s.cells.len()).collect();
    assert_eq!(sizes, [3, 1], "arrays of three tasks at most");
    assert_eq!(submissions, read_submissions(&cluster.folder).expect("the same, read again"));
    cluster.look();
    let asked = std::fs::read_to_string(cluster.programs.join("asked")).expect("text");
    let queue = asked.lines().find(|line| line.starts_with("squeue")).expect("asked");
    let names = format!("--name={},{} --clusters=gpu", submissions[0].name(), submissions[1].name());
    assert!(queue.ends_with(&names), "{queue}");
    let batch = asked.lines().find(|line| line.starts_with("sbatch")).expect("asked");
    for option in ["--parsable", "--array=0-2 ", "--mem=1G", "--requeue", "--open-mode=append", "--cpus-per-task=1"] {
        assert!(batch.contains(option), "{option} in {batch}");
    }
}

#[test]
fn a_refusal_is_final_and_told_as_it_is() {
    for message in [
        "Batch job submission failed: Invalid partition name specified",
        "QOSMaxSubmitJobPerUserLimit",
        "a new message",
    ] {
        let cluster = Cluster::new(&[("sbatch", &format!("echo 'sbatch: error: {message}' >&2; exit 1"))]);
        let error = cluster.submit().expect_err("refused").to_string();
        assert!(error.contains(message), "{error}");
        assert_eq!(cluster.asked("sbatch"), 1);
        assert_eq!(cluster.acceptances(), [Acceptance::Refused]);
        assert!(cluster.look().0.iter().all(|standing| *standing == Standing::Open));
    }
}

const TIMED_OUT: &str =
    "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1";

#[test]
fn what_timed_out_is_sent_again_only_if_it_was_not_accepted() {
    let accepted = Cluster::new(&[("sbatch", TIMED_OUT), ("squeue", "echo '77|0|PENDING|Resources|'")]);
    let submissions = accepted.submit().expect("found");
    assert_eq!(submissions[0].job.as_ref().map(|job| job.id), Some(77));
    assert_eq!(accepted.asked("sbatch"), 2, "one for each array");

    let lost = Cluster::new(&[]);
    let once =
        format!("test -e '{0}' && {{ echo 8; exit; }}; touch '{0}'; {TIMED_OUT}", lost.programs.join("once").display());
    lost.set("sbatch", &once);
    assert_eq!(lost.submit().expect("submitted").len(), 2);
    assert_eq!(lost.asked("sbatch"), 3, "the first one twice");
}

#[test]
fn a_controller_that_is_away_is_waited_for_and_found_later() {
    let away = "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1";
    let cluster = Cluster::new(&[("sbatch", "sleep 5"), ("squeue", away)]);
    let error = cluster.submit().expect_err("unreachable").to_string();
    assert!(error.contains("Slurm cannot be reached") && error.contains("Unable to contact"), "{error}");
    assert_eq!(cluster.asked("sbatch"), 1, "never sent again unasked");
    assert_eq!(cluster.acceptances(), [Acceptance::Submitting]);
    let (standings, silence) = cluster.look();
    assert!(silence.is_none(), "of what has no number, nothing is asked but the name");
    assert_eq!(standings.iter().filter(|s| **s == Standing::Unknown).count(), 3);
    assert_eq!(standings[3], Standing::Open, "it was never submitted");
    // The submission was accepted after all.
    cluster.set("squeue", "echo '5|0|RUNNING|None|n1'; echo '5|1|PENDING|Priority|'");
    assert_eq!(is_busy(&cluster.slurm(), &read_submissions(&cluster.folder).expect("read")).expect("asked"), Ok(true));
    let (standings, _) = cluster.look();
    assert_eq!(standings[..2], [Standing::Running("n1".into()), Standing::Pending("Priority".into())]);
    assert_eq!(cluster.acceptances(), [Acceptance::Submitted]);
    // Slurm is unreachable again: no cell is lost or missing.
    cluster.set("squeue", away);
    let (standings, silence) = cluster.look();
    assert!(silence.is_some_and(|why| why.contains("Unable to contact")));
    assert!(standings[..3].iter().all(|s| *s == Standing::Unknown && !s.is_missing(true)));
}

#[test]
fn what_was_never_accepted_is_open_again() {
    let cluster = Cluster::new(&[("sbatch", "sleep 5"), ("squeue", "exit 1")]);
    cluster.submit().expect_err("unreachable");
    cluster.set("squeue", "true");
    assert!(cluster.look().0.iter().all(|standing| standing.is_missing(false)));
    assert_eq!(cluster.acceptances(), [Acceptance::Refused]);
}

#[test]
fn standings_and_what_is_missing() {
    let cluster = Cluster::new(&[
        ("sbatch", "once=$(dirname \"$0\")/once; test -e $once && echo 10 || { touch $once; echo 9; }"),
        ("squeue", "echo '9|0|RUNNING|None|n1'; echo '9|1|A_NEW_WORD|None|n1'; echo '9|2|OUT_OF_MEMORY|None|n2'"),
    ]);
    let cells = &cluster.manifest.cells;
    cluster.submit().expect("submitted");
    let note = |place: usize, class, earlier| {
        let failure = Failure::new(&cells[place], class, "no disk", earlier);
        cluster.folder.write_failure(&cells[place], &failure).expect("written");
        failure
    };
    note(0, FailureClass::Cell, None);
    let (standings, _) = cluster.look();
    assert_eq!(standings[0], Standing::Running("n1".into()), "a note of before counts no more");
    assert_eq!(standings[1], Standing::Pending("A_NEW_WORD".into()), "unknown is not failed");
    let Standing::Ended(fate) = &standings[2] else { panic!("{:?}", standings[2]) };
    assert_eq!(fate.how.as_deref(), Some("OUT_OF_MEMORY on n2"));
    assert!(fate.log.as_ref().is_some_and(|log| log.ends_with("logs/9_2.log")));

    // Slurm has forgotten everything, but accounting has not.
    cluster.set("squeue", "true");
    cluster.set("sacct", "echo '9_1|TIMEOUT|0:15'");
    let (standings, _) = cluster.look();
    let Standing::Ended(fate) = &standings[1] else { panic!("{:?}", standings[1]) };
    assert_eq!(fate.how.as_deref(), Some("TIMEOUT, exit code 0:15"));
    assert!(!standings[0].is_missing(false) && standings[0].is_missing(true), "it would fail again");
    assert!(standings[1].is_missing(false));
    // Without accounting the cells are lost all the same.
    cluster.set("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1");
    assert!(matches!(&cluster.look().0[1], Standing::Ended(fate) if fate.how.is_none()));

    // Environment errors are retried up to three attempts.
    let mut failure = None;
    for attempt in 1..=3 {
        failure = Some(note(1, FailureClass::Place, failure));
        let standing = &cluster.look().0[1];
        assert!(matches!(standing, Standing::Failed(f) if f.attempt == attempt));
        assert_eq!(standing.is_missing(false), attempt < 3);
    }
    assert_eq!(bad_nodes(&failure).len(), 1, "three times the same node");
}

#[test]
fn a_machine_without_slurm_says_what_to_do() {
    let cluster = Cluster::new(&[]);
    std::fs::remove_file(cluster.programs.join("sbatch")).expect("removed");
    let error = cluster.submit().expect_err("no sbatch").to_string();
    assert!(error.contains("there is no sbatch on this machine") && error.contains("--executor local"), "{error}");
}
