//! Rows of a report: cells of one setting gathered over their seeds.

use super::{CellResult, Row};
use crate::record::{Record, RunManifest};
use crate::stats::{median, paired_difference, summary};
use crate::suite::{Cell, OptimizerName};

/// One row per setting, in the plan's order. The references are the plan's first SGD and first SAM setting.
pub(super) fn rows(plan: &[Cell], records: &[&Record]) -> Vec<Row> {
    let mut settings: Vec<Cell> = Vec::new();
    for cell in plan {
        let setting = cell.setting();
        if !settings.contains(&setting) {
            settings.push(setting);
        }
    }
    let reference = |name: OptimizerName| {
        let setting = settings.iter().find(|s| s.optimizer.name == name)?;
        Some(Reference::new(setting, &of_setting(records, setting)))
    };
    let (sgd, sam) = (reference(OptimizerName::Sgd), reference(OptimizerName::Sam));
    settings
        .iter()
        .map(|setting| {
            let planned = plan.iter().filter(|c| c.setting() == *setting).count();
            row(setting, planned, &of_setting(records, setting), sgd.as_ref(), sam.as_ref())
        })
        .collect()
}

fn of_setting<'r>(records: &[&'r Record], setting: &Cell) -> Vec<&'r Record> {
    let mut found: Vec<&Record> = records.iter().copied().filter(|r| r.cell.setting() == *setting).collect();
    found.sort_by_key(|r| r.cell.seed);
    found
}

/// What other rows are compared with.
struct Reference {
    setting: Cell,
    accuracies: Vec<(u64, f64)>,
    step_seconds: Option<f64>,
    flops: Option<(f64, f64)>,
}

impl Reference {
    fn new(setting: &Cell, records: &[&Record]) -> Self {
        Self {
            setting: setting.clone(),
            accuracies: accuracies(records),
            step_seconds: median(&step_medians(records)).map(|m| m.median),
            flops: flops(records),
        }
    }
}

fn accuracies(records: &[&Record]) -> Vec<(u64, f64)> {
    records.iter().filter_map(|r| Some((r.cell.seed, r.measures.test_accuracy_last?))).collect()
}

fn step_medians(records: &[&Record]) -> Vec<f64> {
    records.iter().filter_map(|r| Some(r.measures.step_seconds?.median)).collect()
}

/// Nominal and theoretical FLOPs of a completed cell; equal over seeds.
fn flops(records: &[&Record]) -> Option<(f64, f64)> {
    let completed = records.iter().find(|r| r.measures.test_accuracy_last.is_some())?;
    Some((completed.measures.flops_nominal, completed.measures.flops_theoretical))
}

fn row(setting: &Cell, planned: usize, records: &[&Record], sgd: Option<&Reference>, sam: Option<&Reference>) -> Row {
    let own = Reference::new(setting, records);
    let values = |pairs: &[(u64, f64)]| pairs.iter().map(|(_, v)| *v).collect::<Vec<f64>>();
    let best: Vec<f64> = records.iter().filter_map(|r| r.measures.test_accuracy_best).collect();
    let difference = |to: Option<&Reference>| {
        let to = to.filter(|to| to.setting != own.setting)?;
        paired_difference(&own.accuracies, &to.accuracies)
    };
    let ratio = |part: fn(&(f64, f64)) -> f64| Some(part(&own.flops?) / part(&sgd?.flops?));
    let mask = setting.mask();
    Row {
        optimizer: setting.optimizer.name.to_string(),
        sparsity: setting.sparsity(),
        mask: mask.map(|m| m.score.to_string()),
        pattern: mask.map(|m| m.pattern.to_string()),
        rho: setting.rho(),
        weight_decay: setting.optimizer.weight_decay,
        epochs: setting.epochs,
        planned,
        diverged: records.len() - own.accuracies.len(),
        test_accuracy_last: summary(&values(&own.accuracies)),
        test_accuracy_best: summary(&best),
        difference_to_sgd: difference(sgd),
        difference_to_sam: difference(sam),
        step_seconds: median(&step_medians(records)),
        step_ratio_to_sgd: sgd.and_then(|s| Some(own.step_seconds? / s.step_seconds?)),
        train_seconds: median(&records.iter().map(|r| r.measures.train_seconds).collect::<Vec<_>>()),
        flops_nominal: own.flops.map(|f| f.0),
        flops_theoretical: own.flops.map(|f| f.1),
        flops_executed: None,
        flops_nominal_ratio_to_sgd: ratio(|f| f.0),
        flops_theoretical_ratio_to_sgd: ratio(|f| f.1),
        cells: records.iter().map(|r| CellResult::new(r)).collect(),
    }
}

/// What was trained and where, in words.
pub(super) fn notes(manifest: &RunManifest, records: &[&Record]) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(cell) = manifest.cells.first() {
        let mut model = cell.model.name.clone();
        if let Some(width) = cell.model.width {
            model.push_str(&format!(" width {width}"));
        }
        let parameters = records.first().map(|r| format!(" ({} parameters)", r.measures.parameters));
        notes.push(format!(
            "{model}{}, {} training and {} test images, batch {}, lr {}",
            parameters.unwrap_or_default(),
            cell.data.train,
            cell.data.test,
            cell.batch_size,
            cell.lr
        ));
    }
    let mut machines: Vec<String> = records
        .iter()
        .map(|r| {
            let m = &r.provenance.machine;
            format!("{}, {} CPUs, {} threads, {}", m.cpu, m.cpus, r.provenance.threads, m.platform)
        })
        .collect();
    machines.sort();
    machines.dedup();
    match machines.as_slice() {
        [] => {}
        [one] => notes.push(format!("measured on {one}")),
        several => notes.push(format!(
            "times are of different machines or thread counts and must not be compared: {}",
            several.join("; ")
        )),
    }
    notes
}
