//! Records read by a program of your own: what each training measured, and the report that follows from them.
//!
//!     cargo run --example read_records -- reports/reference/frontier-quick-mnist-5k

use sharpbench::record::{Record, RunFolder};
use sharpbench::report::{Options, Report};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("give a run folder, such as reports/reference/frontier-quick-mnist-5k")?;
    let folder = RunFolder::at(&path);
    let plan = folder.manifest()?.ok_or_else(|| format!("{path} holds no run"))?;
    let scan = folder.scan()?;
    for (path, reason) in &scan.damaged {
        eprintln!("left out: {} ({reason})", path.display());
    }

    println!("optimizer,seed,accuracy,step_seconds,executed_flops");
    for Record { cell, measures, .. } in &scan.records {
        // A number is absent if it was not measured: the accuracy of a training that diverged, for example.
        let text = |number: Option<f64>| number.map_or_else(String::new, |number| number.to_string());
        let step = measures.step_seconds.as_ref().map(|step| step.median);
        let numbers = [measures.test_accuracy_last, step, measures.flops_executed].map(text);
        println!("{},{},{}", cell.optimizer.name, cell.seed, numbers.join(","));
    }

    // The same statistics as in the program's reports.
    let report = Report::new(&plan, &scan.records, &Options::default());
    for row in &report.rows {
        let share =
            row.claims.share.as_ref().map_or_else(|| "-".into(), |share| format!("{:.0}%", 100.0 * share.value));
        eprintln!("{}: keeps {share} of SAM's gain", row.name);
    }
    Ok(())
}
