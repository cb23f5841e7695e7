//! `sharpbench tune SUITE`: chooses each method's learning rate, radius, weight decay and other settings by accuracy on validation
//! samples, and writes a suite with them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use super::running::{self, Wanted};
use crate::error::{Error, Result};
use crate::record::{Record, RunFolder, RunManifest, Status};
use crate::registry::Registry;
use crate::report::{Options, Report};
use crate::suite::{Choice, DEFAULT_PROFILE, Filter, Range, Suite, Tuning, TuningSuite};
use crate::terminal;

/// Shown below the options.
pub(super) const EXAMPLES: &str = "\
Examples:
  # 12 points of each method, judged on a tenth of the training samples
  sharpbench tune mnist
  sharpbench tune label-noise --validation 800 --range rho=0.02..0.5 --trials 24 --jobs 2
  # radii alone
  sharpbench tune mnist --range lr=0.05 --range weight_decay=0.0005
  # a key of one optimizer, here GSAM's
  sharpbench tune my-suite.toml --range alpha=0..1
Next: sharpbench suite SUITE-tuned.toml, which reads the test set for the first time.";

/// Begins the files that it writes.
const HEAD: &str = "# Written by sharpbench";
/// Maximum bytes of a suite file.
const LONGEST: u64 = 1 << 20;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of a suite (see `list`) or path of a .toml file.
    suite: String,
    /// Size of the experiment.
    #[arg(long, default_value = DEFAULT_PROFILE)]
    profile: String,
    /// Points at which every method is trained: the same for all methods, spread evenly over the ranges.
    #[arg(long, value_name = "N", default_value_t = 12)]
    trials: usize,
    /// Seeds of each point; the suite uses none of them.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seeds: usize,
    /// Samples to hold out of the training set; their accuracy decides which point is chosen [default: the
    /// profile's number, or a tenth of the training samples].
    #[arg(long, value_name = "N")]
    validation: Option<usize>,
    /// Range of a key to search, on a logarithmic scale unless it begins at 0, or a value to keep it at; may be given several times
    /// [default: lr from a quarter to four times the profile's, rho=0.02..1, weight_decay=0.0001..0.005].
    #[arg(long, value_name = "KEY=LOW..HIGH|VALUE")]
    range: Vec<Range>,
    /// File to write the tuned suite to [default: SUITE-tuned.toml].
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    running: running::Args,
}

pub(super) fn run(args: &Args, registry: &Registry) -> Result<ExitCode> {
    let suite = Suite::read(&args.suite)?.with(registry);
    output(args, &suite)?;
    let (trials, seeds) = (args.trials, args.seeds);
    let tuning = Tuning { trials, seeds, validation: args.validation, ranges: args.range.clone() };
    let tuning = suite.tuning(&args.profile, &tuning)?;
    let finish = |folder: &RunFolder, manifest: &RunManifest| {
        Finished { args, suite: &suite, tuning: &tuning }.write(folder, manifest)
    };
    let wanted = Wanted {
        suite: &tuning.suite,
        profile: &args.profile,
        filter: &Filter::default(),
        until: None,
        goes_on: true,
        report: &finish,
    };
    running::run(&args.running, &wanted, registry)
}

/// The file to write, which is no file but one that `tune` wrote.
///
/// # Errors
/// When there is another file, or one that cannot be read.
fn output(args: &Args, suite: &Suite) -> Result<PathBuf> {
    let path = args.write.clone().unwrap_or_else(|| PathBuf::from(format!("{}-tuned.toml", suite.file.name)));
    let refusal = match crate::bounded::read_to_string(&path, LONGEST) {
        Ok(text) if text.starts_with(HEAD) => return Ok(path),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(path),
        Ok(_) => "is not a suite that tune wrote".to_string(),
        Err(e) => format!("cannot be read ({e}), so it may be something else than a suite that tune wrote"),
    };
    Err(Error::Usage(format!("{} {refusal}; choose another file with --write", path.display())))
}

/// A tuning whose cells have ended.
struct Finished<'a> {
    args: &'a Args,
    suite: &'a Suite,
    tuning: &'a TuningSuite,
}

impl Finished<'_> {
    /// Chooses the values, prints them and writes the suite.
    fn write(&self, folder: &RunFolder, manifest: &RunManifest) -> Result<ExitCode> {
        let records = folder.scan()?.records;
        let report = Report::new(manifest, &records, &Options::default());
        if !report.is_complete() {
            return Ok(super::report::exit_code(&report));
        }
        let records = Report::of_plan(manifest, &records);
        let accuracy =
            |r: &&Record| (r.id.clone(), r.measures.test_accuracy_last.filter(|_| r.status == Status::Completed));
        let accuracies: HashMap<String, Option<f64>> = records.iter().map(accuracy).collect();
        let choices = self.tuning.choose(&manifest.cells, &accuracies)?;
        let commented: Vec<(Choice, Vec<String>)> =
            choices.iter().map(|choice| (choice.clone(), vec![self.reason(choice)])).collect();
        let text = self.suite.tuned(
            (&self.args.profile, &manifest.data),
            &commented,
            self.tuning.arms,
            &self.provenance(manifest, &records),
        )?;
        let path = output(self.args, self.suite)?;
        super::write_file(&path, text.as_bytes())?;
        super::print(self.table(&choices))?;
        for choice in choices.iter().filter(|choice| !choice.at_edge.is_empty()) {
            super::tell(&format!("warning: {}", edge_warning(choice)));
        }
        super::tell(&format!(
            "the tuned suite is {0}; sharpbench suite {0} --profile {1} trains it and reads the test set",
            path.display(),
            self.args.profile
        ));
        Ok(ExitCode::SUCCESS)
    }

    /// Why a point was chosen.
    fn reason(&self, choice: &Choice) -> String {
        if choice.tuned.is_empty() {
            return "This method has no tuned key.".into();
        }
        let next = choice.next.map_or(String::new(), |next| format!(", next best {:.2}%", 100.0 * next));
        let [points, diverged] = choice.points;
        let diverged = if diverged > 0 { format!(", {diverged} of them diverged") } else { String::new() };
        let edge = if choice.at_edge.is_empty() {
            String::new()
        } else {
            format!(" WARNING: at the edge of what was tried: {}.", choice.at_edge.join(", "))
        };
        format!(
            "{}: {} on validation samples{next}; {points} points{diverged}.{edge}",
            choice.tuned.join(", "),
            percent(choice)
        )
    }

    fn provenance(&self, manifest: &RunManifest, records: &[&Record]) -> Vec<String> {
        let ranges: Vec<String> = self
            .tuning
            .ranges
            .iter()
            .filter(|range| self.tuning.searched.contains(&range.key))
            .map(
                |Range { key, low, high }| {
                    if low == high { format!("{key} {low}") } else { format!("{key} {low} to {high}") }
                },
            )
            .collect();
        let (flops, seconds) = records
            .iter()
            .fold([0.0, 0.0], |[f, s], r| [f + r.measures.flops_nominal, s + r.measures.train_seconds])
            .into();
        let seeds = crate::suite::seeds_of(&manifest.cells);
        let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
        vec![
            format!(
                "Written by sharpbench {} tune {} --profile {}.",
                env!("CARGO_PKG_VERSION"),
                self.args.suite,
                self.args.profile
            ),
            format!(
                "Chosen by the accuracy after the last epoch on {} samples held out of the training set of {}, mean over the seeds {}.",
                self.tuning.validation,
                manifest.data,
                seeds.join(", ")
            ),
            format!("Searched: {}; up to {} points, the same for every method.", ranges.join(", "), self.args.trials),
            format!(
                "Cost: {} trainings, {:.3} TFLOPs, {:.0} s. The test set was not read.",
                records.len(),
                flops / 1e12,
                seconds
            ),
        ]
    }

    fn table(&self, choices: &[Choice]) -> String {
        let header = ["method", "tuned", "validation %", "points"].map(String::from).to_vec();
        let rows = choices.iter().map(|choice| {
            let value = |key: &String| {
                let mark = if choice.at_edge.contains(key) { "!" } else { "" };
                choice.entry.value(key).map(|value| format!("{key} {value}{mark}"))
            };
            let values: Vec<String> = choice.tuned.iter().filter_map(value).collect();
            let [points, diverged] = choice.points;
            let diverged = if diverged > 0 { format!(" ({diverged} diverged)") } else { String::new() };
            vec![choice.entry.untuned(&choice.tuned), values.join(", "), percent(choice), format!("{points}{diverged}")]
        });
        let table = terminal::table(std::iter::once(header).chain(rows).collect(), 2, Some(terminal::width()));
        let note =
            if choices.iter().all(|choice| choice.at_edge.is_empty()) { "" } else { "\n! at the edge of its range\n" };
        table + note
    }
}

fn percent(choice: &Choice) -> String {
    let sd = choice.accuracy.sd.map_or(String::new(), |sd| format!(" ± {:.2}", 100.0 * sd));
    format!("{:.2}{sd}", 100.0 * choice.accuracy.mean)
}

fn edge_warning(choice: &Choice) -> String {
    let keys = choice.at_edge.join(", ");
    format!(
        "{}: {keys} was chosen at the edge of what was tried; a better value may lie beyond",
        choice.entry.untuned(&choice.tuned)
    )
}
