//! Rows of a report: cells of one setting gathered over their seeds.

use super::{CellResult, Row, Setting, edge, exponent, last_sharpness};
use crate::record::{Measures, Record, RunManifest, SharpnessCheck, Status};
use crate::stats::{median, paired_difference, paired_ratios, summary};
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

/// By seed, the measures of a setting that others are compared with.
struct Reference {
    setting: Cell,
    accuracies: Vec<(u64, f64)>,
    step_seconds: Vec<(u64, f64)>,
    train_seconds: Vec<(u64, f64)>,
    flops: Option<Flops>,
}

impl Reference {
    /// Of completed cells: a diverged one stopped early and would make everything look cheaper.
    fn new(setting: &Cell, records: &[&Record]) -> Self {
        let completed: Vec<&Record> = records.iter().copied().filter(|r| r.status == Status::Completed).collect();
        let by_seed = |value: fn(&Measures) -> Option<f64>| {
            completed.iter().filter_map(|r| Some((r.cell.seed, value(&r.measures)?))).collect::<Vec<_>>()
        };
        Self {
            setting: setting.clone(),
            accuracies: by_seed(|m| m.test_accuracy_last),
            step_seconds: by_seed(|m| Some(m.step_seconds?.median)),
            train_seconds: by_seed(|m| Some(m.train_seconds)),
            flops: completed.first().map(|r| Flops {
                // Equal over seeds.
                nominal: r.measures.flops_nominal,
                theoretical: r.measures.flops_theoretical,
                executed: summary(&by_seed(|m| m.flops_executed).iter().map(|(_, f)| *f).collect::<Vec<f64>>())
                    .map(|s| s.mean),
            }),
        }
    }
}

/// FLOPs of a cell's training, the three columns that must not be mixed.
#[derive(Clone, Copy)]
struct Flops {
    nominal: f64,
    theoretical: f64,
    executed: Option<f64>,
}

fn row(setting: &Cell, planned: usize, records: &[&Record], sgd: Option<&Reference>, sam: Option<&Reference>) -> Row {
    let own = Reference::new(setting, records);
    let values = |pairs: &[(u64, f64)]| pairs.iter().map(|(_, v)| *v).collect::<Vec<f64>>();
    let completed: Vec<&Record> = records.iter().copied().filter(|r| r.status == Status::Completed).collect();
    let of_completed =
        |value: fn(&Measures) -> Option<f64>| completed.iter().filter_map(|r| value(&r.measures)).collect::<Vec<f64>>();
    let sgd_other = sgd.filter(|to| to.setting != own.setting);
    let sam_other = sam.filter(|to| to.setting != own.setting);
    let ratio = |part: fn(Flops) -> Option<f64>| {
        // Kernels count what is worth counting: a toy may have none.
        Some(part(own.flops?)? / part(sgd?.flops?)?).filter(|ratio| ratio.is_finite())
    };
    let pooled = |values: fn(&Measures) -> Vec<f64>| {
        median(&completed.iter().flat_map(|r| values(&r.measures)).collect::<Vec<f64>>())
    };
    let sharpness = |value: fn(&SharpnessCheck) -> f64| {
        summary(&completed.iter().filter_map(|r| Some(value(last_sharpness(r)?))).collect::<Vec<f64>>())
    };
    let aligned = completed.iter().map(|r| edge::better_aligned(&r.measures));
    let [better, all] = aligned.fold([0, 0], |sum, cell| [sum[0] + cell[0], sum[1] + cell[1]]);
    Row {
        setting: Setting::new(setting),
        axes: setting.axes(),
        planned,
        diverged: records.len() - completed.len(),
        test_accuracy_last: summary(&values(&own.accuracies)),
        test_accuracy_best: summary(&of_completed(|m| m.test_accuracy_best)),
        difference_to_sgd: sgd_other.and_then(|to| paired_difference(&own.accuracies, &to.accuracies)),
        difference_to_sam: sam_other.and_then(|to| paired_difference(&own.accuracies, &to.accuracies)),
        step_seconds: median(&values(&own.step_seconds)),
        step_ratio_to_sgd: sgd_other.and_then(|to| median(&paired_ratios(&own.step_seconds, &to.step_seconds))),
        train_seconds: median(&values(&own.train_seconds)),
        train_ratio_to_sgd: sgd_other.and_then(|to| median(&paired_ratios(&own.train_seconds, &to.train_seconds))),
        flops_nominal: own.flops.map(|f| f.nominal),
        flops_theoretical: own.flops.map(|f| f.theoretical),
        flops_executed: own.flops.and_then(|f| f.executed),
        flops_nominal_ratio_to_sgd: ratio(|f| Some(f.nominal)),
        flops_theoretical_ratio_to_sgd: ratio(|f| Some(f.theoretical)),
        flops_executed_ratio_to_sgd: ratio(|f| f.executed),
        live_fraction: summary(&of_completed(|m| Some(m.mask_refreshes.last()?.live_fraction))),
        convergence_exponent: summary(&of_completed(exponent)),
        eigenvalue_over_edge: pooled(edge::over_edge),
        eigenvalue_over_gradient_descent_edge: pooled(edge::over_gradient_descent_edge),
        ascent_better_aligned: (all > 0).then(|| better as f64 / all as f64),
        edge_unconverged: completed.iter().flat_map(|r| edge::late(&r.measures)).filter(|c| !c.converged).count(),
        eigenvalue: sharpness(|s| s.eigenvalue),
        trace: sharpness(|s| s.trace),
        max_loss_increase: sharpness(|s| s.max_loss_increase),
        cells: records.iter().map(|r| CellResult::new(r)).collect(),
    }
}

/// What was trained and where, in words.
pub(super) fn notes(manifest: &RunManifest, records: &[&Record]) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(all) = manifest.profile_cells.filter(|all| *all > manifest.cells.len()) {
        notes.push(format!("a part of the profile: {} of its {all} cells were selected", manifest.cells.len()));
    }
    if !manifest.cells.iter().any(|c| c.optimizer.name == OptimizerName::Sgd) {
        notes.push("no SGD cell was selected, so there is nothing to compare with".into());
    }
    let left_out = records.iter().map(|r| r.data.unreadable.len()).max().unwrap_or(0);
    if left_out > 0 {
        notes.push(format!(
            "up to {left_out} files of a cell could not be read and were left out; its record names them"
        ));
    }
    if let Some(cell) = manifest.cells.first() {
        let mut model = cell.model.name.clone();
        if let Some(width) = cell.model.width {
            model.push_str(&format!(" width {width}"));
        }
        let parameters = records.first().map(|r| format!(" ({} parameters)", r.measures.parameters));
        notes.push(format!(
            "{model}{}, {} training and {} test samples, batch {}",
            parameters.unwrap_or_default(),
            cell.data.train,
            cell.data.test,
            if cell.full_batch_steps.is_some() { "of all".into() } else { cell.batch_size.to_string() },
        ));
    }
    let machine = |r: &Record| {
        let m = &r.provenance.machine;
        format!("{}, {} CPUs, {} threads, {}", m.cpu, m.cpus, r.provenance.threads, m.platform)
    };
    match distinct(records, machine).as_slice() {
        [] => {}
        [one] => notes.push(format!("measured on {one}")),
        several => notes.push(format!(
            "times are of different machines or thread counts and must not be compared: {}",
            several.join("; ")
        )),
    }
    let version = |r: &Record| {
        let p = &r.provenance;
        format!("{} ({})", p.sharpbench, p.git_revision.as_deref().map_or("no revision", |r| r))
    };
    match distinct(records, version).as_slice() {
        [] => {}
        [one] => notes.push(format!("sharpbench {one}")),
        several => notes.push(format!(
            "records are of different versions of sharpbench, whose times may differ: {}",
            several.join("; ")
        )),
    }
    notes
}

fn distinct(records: &[&Record], text: impl Fn(&Record) -> String) -> Vec<String> {
    let texts: std::collections::BTreeSet<String> = records.iter().map(|r| text(r)).collect();
    texts.into_iter().collect()
}
