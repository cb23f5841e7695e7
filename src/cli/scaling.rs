//! `sharpbench bench --scaling`: how the time of a step grows.

use std::path::Path;
use std::process::ExitCode;

use crate::bench::{Bench, BenchReport, Sweep, SweepPoint};
use crate::error::Result;
use crate::registry::Registry;
use crate::report::scaling;
use crate::terminal::{self, table, wrapped};

/// Measures, prints a table or JSON, and draws the picture in a folder if one is given.
pub(super) fn run(bench: &Bench, registry: &Registry, json: bool, figures: Option<&Path>) -> Result<ExitCode> {
    let sweeps = bench.scaling(registry, |varied, value| super::tell(&format!("{} {value}", varied.name())))?;
    let subject = subject(bench, &sweeps);
    if let Some(folder) = figures {
        super::report::write_figures(folder, &[scaling(subject.clone(), &sweeps)], &[])?;
    }
    if json {
        return super::print_json(&sweeps);
    }
    super::print(text(&subject, &sweeps))
}

/// What is measured, with the settings that are not varied.
fn subject(bench: &Bench, sweeps: &[Sweep]) -> String {
    // With all threads or, on a GPU, the largest batch.
    let report = sweeps.first().and_then(|sweep| sweep.points.last()).map(|point| &point.report);
    let own = report.map(|report| BenchReport { batch_size: bench.batch_size, ..report.clone() });
    format!("{}, {}", own.as_ref().map(super::bench::title).unwrap_or_default(), bench.optimizer.name)
}

fn text(subject: &str, sweeps: &[Sweep]) -> String {
    let mut text = format!("{subject}; one setting varies at a time\n\n");
    for sweep in sweeps {
        let header = [sweep.varied.name(), "ms a step", "range", "n", "µs a sample", "GFLOP/s", "of peak", "of best"];
        let rows = sweep.points.iter().zip(sweep.at_best_rate()).map(|(point, best)| row(point, best));
        let records = std::iter::once(header.map(str::to_string).to_vec()).chain(rows).collect();
        text += &table(records, 0, None);
        text.push('\n');
    }
    let notes = "of peak: executed FLOP/s over those of a large matrix product on as many threads; of best: FLOP/s per thread over \
                 the best of the table";
    text + &wrapped(notes, terminal::width(), 0)
}

fn row(point: &SweepPoint, at_best_rate: f64) -> Vec<String> {
    let (report, seconds) = (&point.report, point.seconds());
    let (low, high, n) = report.own.step_seconds.map_or((f64::NAN, f64::NAN, 0), |s| (s.min, s.max, s.n));
    let percent = |part: Option<f64>| part.map_or_else(|| "-".into(), |part| format!("{:.0}%", 100.0 * part));
    vec![
        point.value.to_string(),
        format!("{:.2}", 1e3 * seconds),
        format!("{:.2}-{:.2}", 1e3 * low, 1e3 * high),
        n.to_string(),
        format!("{:.0}", 1e6 * seconds / report.batch_size as f64),
        report.own.gflops_per_second.map_or_else(|| "-".into(), |rate| format!("{rate:.0}")),
        percent(report.fraction_of_peak),
        percent(Some(at_best_rate / seconds)),
    ]
}
