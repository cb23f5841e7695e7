//! `sharpbench plan NAME|PATH`.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::HumanDuration;

use crate::error::{Error, Result};
use crate::flops::{self, Flops, THEORETICAL_FORMULA};
use crate::model::Task;
use crate::record::{Record, RunFolder, SettingGroup, by_setting};
use crate::registry::Registry;
use crate::report;
use crate::suite::{Cell, DEFAULT_PROFILE, Filter, Names, Plan, Suite, names};
use crate::terminal::{self, wrapped};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of a suite (see `list`) or path of a .toml file.
    suite: String,
    /// Size of the experiment.
    #[arg(long, default_value = DEFAULT_PROFILE)]
    profile: String,
    /// Show only some cells, such as optimizer=sgd,optimizer=sam,seed=1234: those with one of the values
    /// given for each axis.
    #[arg(long, default_value = "", value_name = "AXIS=VALUE,...")]
    filter: Filter,
    /// Run folder to take measured times from [default: that of the suite, if it exists].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Show a row per cell, with its id.
    #[arg(long)]
    wide: bool,
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
    let stand_in = suite.stand_in(&args.profile)?;
    let plan = suite.plan(&args.profile, &wanted.name)?;
    let folders = match &args.out {
        Some(folder) => {
            super::opened::manifest(&RunFolder::at(folder))?;
            vec![folder.clone()]
        }
        None => vec![super::suite::default_folder(&plan, &wanted.name), super::suite::default_folder(&plan, stand_in)],
    };
    let records = measured(&folders)?;
    // Ids depend on the data; those of the measured run are the useful ones.
    let used = records.first().map_or(wanted.name.as_str(), |r| r.cell.data.name.as_str());
    let mut plan = plan.on(used)?;
    args.filter.apply(&mut plan)?;
    let planned = plan.cells.iter().map(|cell| planned(cell, &records, registry)).collect::<Result<Vec<_>>>()?;
    if args.json {
        return super::print_json(&planned);
    }
    super::print(table(&plan, &planned, args.wide))
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
    let model = registry.model(&cell.model, task).map_err(Error::Usage)?;
    let steps = cell.epochs * cell.steps_per_epoch();
    let cost = registry.step_cost(&cell.optimizer, model.layout()).map_err(Error::Usage)?;
    let Flops { nominal, theoretical } = flops::training(model.forward_macs(), cell.samples(steps), cost);
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

/// A row per setting, or per cell, and the sum.
fn table(plan: &Plan, planned: &[Planned<'_>], wide: bool) -> String {
    let width = terminal::width();
    let total: f64 = planned.iter().map(|p| p.flops_nominal).sum();
    let (unit, flops) = if total < 1e12 { (1e9, "GFLOPs") } else { (1e12, "TFLOPs") };
    let settings = by_setting([(&plan.cells, &[])]);
    let named = Names::new(settings.iter().map(|group| &group.setting));
    let mut rows = if wide { by_cell(planned, unit) } else { by_name(planned, &settings, &named.names, unit) };
    let first = if wide { ["cell", "setting", "steps"] } else { ["setting", "seeds", "steps each"] };
    let costs = [flops, &format!("theoretical {flops}"), "time"].map(String::from);
    rows.insert(0, first.map(String::from).into_iter().chain(costs).collect());
    let sum = ["sum".into(), planned.len().to_string(), String::new()].into_iter();
    rows.push(sum.chain(sums(&planned.iter().collect::<Vec<_>>(), unit)).collect());
    let left_out: BTreeSet<[usize; 2]> = plan.cells.iter().map(|cell| [cell.left_out(), cell.data.train]).collect();
    let left_out = left_out.into_iter().filter(|[left_out, _]| *left_out > 0).map(|[left_out, train]| {
        let line = format!(
            "each epoch leaves out {left_out} of {train} training samples, drawn anew: the incomplete last batch \
             (schedule.drop_last = false keeps it)"
        );
        wrapped(&line, width, 2)
    });
    let shared = names::lines(&named.shared, &named.by_optimizer).map(|line| wrapped(&line, width, 2));
    let time = if planned.iter().all(|p| p.expected_seconds.is_some()) {
        "time: of training, from measured cells"
    } else {
        "no times have been measured yet: run the suite once"
    };
    let data = plan.cells.first().map_or("", |cell| &cell.data.name);
    let trained = report::trained(&plan.cells, None).unwrap_or_default();
    format!(
        "{} {} on {data}: {} cells\n{}{}\n{}\n{}{}{}",
        plan.suite,
        plan.profile,
        planned.len(),
        wrapped(&trained, width, 2),
        shared.collect::<String>(),
        terminal::table(rows, if wide { 2 } else { 1 }, (!wide).then_some(width)),
        wrapped(&format!("FLOPs: of all seeds, nominal and theoretical: {THEORETICAL_FORMULA}"), width, 2),
        left_out.collect::<String>(),
        wrapped(&format!("{time}; every cell: --wide"), width, 2),
    )
}

fn by_cell(planned: &[Planned<'_>], unit: f64) -> Vec<Vec<String>> {
    let row = |p: &Planned<'_>| {
        [p.id.clone(), p.cell.label(), p.steps.to_string()].into_iter().chain(sums(&[p], unit)).collect()
    };
    planned.iter().map(row).collect()
}

fn by_name(planned: &[Planned<'_>], settings: &[SettingGroup<'_, 1>], names: &[String], unit: f64) -> Vec<Vec<String>> {
    let by_id: HashMap<&str, &Planned<'_>> = planned.iter().map(|p| (p.id.as_str(), p)).collect();
    let row = |(group, name): (&SettingGroup<'_, 1>, &String)| {
        let of: Vec<&Planned<'_>> =
            group.planned[0].iter().filter_map(|cell| by_id.get(cell.id().as_str()).copied()).collect();
        let steps = of.first().map_or(0, |p| p.steps);
        [name.clone(), of.len().to_string(), steps.to_string()].into_iter().chain(sums(&of, unit)).collect()
    };
    settings.iter().zip(names).map(row).collect()
}

/// Nominal and theoretical FLOPs of some cells together, and their time.
fn sums(of: &[&Planned<'_>], unit: f64) -> [String; 3] {
    let sum = |flops: fn(&Planned<'_>) -> f64| format!("{:.2}", of.iter().map(|p| flops(p)).sum::<f64>() / unit);
    [sum(|p| p.flops_nominal), sum(|p| p.flops_theoretical), duration(of)]
}

/// The expected time of training some cells.
fn duration(of: &[&Planned<'_>]) -> String {
    let seconds: Option<f64> = of.iter().map(|p| p.expected_seconds).sum();
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.map_or_else(|| "-".into(), |duration| HumanDuration(duration).to_string())
}
