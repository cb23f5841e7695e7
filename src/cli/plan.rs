//! `sharpbench plan NAME|PATH`.

use std::path::PathBuf;
use std::process::ExitCode;

use tabled::builder::Builder;
use tabled::settings::Style;

use crate::data;
use crate::error::{Error, Result};
use crate::flops::{self, Flops, THEORETICAL_FORMULA};
use crate::model::{self, Task};
use crate::optim::Registry;
use crate::record::{Record, RunFolder};
use crate::suite::{Cell, DEFAULT_PROFILE, Filter, Plan, Suite};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of a suite (see `list`) or path of a .toml file.
    suite: String,
    /// Size of the experiment.
    #[arg(long, default_value = DEFAULT_PROFILE)]
    profile: String,
    /// Show only some cells, such as optimizer=ssam-f,sparsity=0.9.
    #[arg(long, default_value = "", value_name = "AXIS=VALUE,...")]
    filter: Filter,
    /// Run folder to take measured times from [default: that of the suite, if it exists].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON: the cells as they are recorded, each with its id and FLOPs.
    #[arg(long)]
    json: bool,
}

/// A cell with what it will cost.
#[derive(serde::Serialize)]
struct Planned<'p> {
    id: String,
    cell: &'p Cell,
    steps: usize,
    flops_nominal: f64,
    flops_theoretical: f64,
    expected_seconds: Option<f64>,
}

pub(super) fn run(args: &Args, registry: &Registry) -> Result<ExitCode> {
    let suite = Suite::read(&args.suite)?.with(registry);
    let wanted = suite.data(&args.profile)?;
    let stand_in = data::find(&wanted.name).map_err(Error::Data)?.stand_in;
    let plan = suite.plan(&args.profile, &wanted.name)?;
    let folders = match &args.out {
        Some(folder) => vec![folder.clone()],
        None => vec![super::suite::default_folder(&plan, &wanted.name), super::suite::default_folder(&plan, stand_in)],
    };
    let records = measured(&folders)?;
    // Ids depend on the data; those of the measured run are the useful ones.
    let used = records.first().map_or(wanted.name.as_str(), |r| r.cell.data.name.as_str());
    let mut plan = plan.on(used)?;
    args.filter.apply(&mut plan)?;
    let planned = plan.cells.iter().map(|cell| planned(cell, &records, registry)).collect::<Result<Vec<_>>>()?;
    if args.json {
        let mut text = serde_json::to_string_pretty(&planned).unwrap_or_default();
        text.push('\n');
        return super::print(&text);
    }
    super::print(table(&plan, &planned))
}

/// Records of the first folder that has any.
fn measured(folders: &[PathBuf]) -> Result<Vec<Record>> {
    for folder in folders {
        let records = RunFolder::at(folder).scan()?.records;
        if !records.is_empty() {
            return Ok(records);
        }
    }
    Ok(Vec::new())
}

fn planned<'p>(cell: &'p Cell, records: &[Record], registry: &Registry) -> Result<Planned<'p>> {
    let task = Task::try_from(&cell.data).map_err(Error::Data)?;
    let model = model::build(&cell.model, task).map_err(Error::Usage)?;
    let steps = cell.epochs * cell.steps_per_epoch();
    let cost = registry.step_cost(&cell.optimizer).map_err(Error::Usage)?;
    let Flops { nominal, theoretical } = flops::training(model.forward_macs(), cell.batch_size, steps as u64, cost);
    Ok(Planned {
        id: cell.id(),
        steps,
        flops_nominal: nominal,
        flops_theoretical: theoretical,
        expected_seconds: expected_seconds(cell, nominal, records),
        cell,
    })
}

/// The measured time of the same setting, else that of the measured cells by nominal FLOPs.
fn expected_seconds(cell: &Cell, nominal: f64, records: &[Record]) -> Option<f64> {
    let same: Vec<&Record> = records.iter().filter(|r| r.cell.setting() == cell.setting()).collect();
    let basis = if same.is_empty() { records.iter().collect() } else { same };
    let seconds: f64 = basis.iter().map(|r| r.measures.train_seconds).sum();
    let flops: f64 = basis.iter().map(|r| r.measures.flops_nominal).sum();
    (flops > 0.0).then(|| nominal * seconds / flops)
}

fn table(plan: &Plan, planned: &[Planned<'_>]) -> String {
    let seconds = |s: Option<f64>| s.map_or_else(|| "-".to_string(), |s| format!("{s:.1}"));
    let mut builder = Builder::default();
    builder.push_record(["cell", "setting", "steps", "GFLOPs nominal", "GFLOPs theoretical", "expected s"]);
    for p in planned {
        builder.push_record([
            p.id.clone(),
            p.cell.label(),
            p.steps.to_string(),
            format!("{:.1}", p.flops_nominal / 1e9),
            format!("{:.1}", p.flops_theoretical / 1e9),
            seconds(p.expected_seconds),
        ]);
    }
    let total: Option<f64> = planned.iter().map(|p| p.expected_seconds).sum();
    let time = match total {
        Some(total) => {
            format!("about {} of training", indicatif::HumanDuration(std::time::Duration::from_secs_f64(total)))
        }
        None => "no time measured yet (run the suite once)".into(),
    };
    let mut table = builder.build();
    table.with(Style::sharp());
    format!(
        "{} {}: {} cells, {:.1} nominal TFLOPs, {time}\n{table}\ntheoretical: {THEORETICAL_FORMULA}\n",
        plan.suite,
        plan.profile,
        planned.len(),
        planned.iter().map(|p| p.flops_nominal).sum::<f64>() / 1e12
    )
}
