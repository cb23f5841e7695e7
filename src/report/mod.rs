//! From records to something a person or a program reads. Every exporter ([`EXPORTERS`]) is a pure function of a [`Report`].

mod answer;
mod brief;
mod claims;
mod comparisons;
mod csv;
mod draw;
mod edge;
mod exporter;
mod figures;
mod html;
mod json;
mod latex;
mod masks;
mod merge;
mod notes;
mod parquet;
mod registry;
mod rows;
mod setting;
mod table;
mod tensorboard;
#[cfg(test)]
mod tests;
mod verdicts;

use std::collections::{BTreeMap, HashMap};

use claims::Concluded;
pub use claims::{Conclusion, RowClaims};
pub use draw::Figure;
use exporter::Canvas;
pub use exporter::{Exporter, Layout};
pub use figures::{File, figures, scaling, series};
pub use html::HTML;
pub use masks::MaskStatistics;
pub use merge::{Merged, NamedRun, merge};
pub(crate) use notes::trained;
pub use registry::EXPORTERS;
use rows::Rows;
use schemars::JsonSchema;
use serde::Serialize;
pub use setting::Setting;
pub use tensorboard::event_files;

use crate::data::LabelNoise;
use crate::error::Result;
use crate::record::{Measures, Record, RowFindings, RunLooks, RunManifest, SharpnessCheck, Status};
use crate::stats::{Censored, Comparison, Finding, Median, Summary, convergence_exponent, median};
use crate::suite::{Cell, Claims, Names, axis_names};

/// What a report is to say beyond its records.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// The loss of accuracy that "no loss" allows, in points, in place of the suite's.
    pub margin: Option<f64>,
    /// The test accuracy that trainings are timed to, as a fraction; if none, the last one of the reference SGD's worst seed.
    pub target: Option<f64>,
}

impl Options {
    /// The claims of a run, with the margin of these options.
    fn claims(&self, manifest: &RunManifest) -> Claims {
        let claims = manifest.claims.clone().unwrap_or_default();
        Claims { margin: self.margin.unwrap_or(claims.margin), ..claims }
    }
}

/// One run as a table: a row per setting, over its seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Suite name.
    pub suite: String,
    /// Profile name.
    pub profile: String,
    /// The data set really used.
    pub data: String,
    /// Whether it stands in for the suite's own, so that results must not be taken for that set's.
    pub stand_in: bool,
    /// The samples that accuracies are of: `test`, or `validation` samples held out of the training set.
    pub measured_on: &'static str,
    /// How training labels were replaced.
    pub label_noise: Option<LabelNoise>,
    /// Cells of the plan.
    pub cells_planned: usize,
    /// Cells with a record.
    pub cells_finished: usize,
    /// What the run shows, in sentences that can be quoted.
    pub answer: Vec<String>,
    /// The formula of the theoretical FLOPs.
    pub flops_theoretical_formula: String,
    /// The claims that are tested.
    pub claims: Claims,
    /// Whether the active row (SAM) is shown to gain over the placebo (SGD), without which nothing can be said about losing or
    /// keeping its gain; null without both rows or two seeds.
    pub assay: Option<Finding>,
    /// The look that the conclusions are of, if seeds are trained until claims are decided.
    pub look: Option<Look>,
    /// The test accuracy that trainings are timed to, as a fraction.
    pub target_accuracy: Option<f64>,
    /// Name of the row that `SGD` means in differences and ratios: the SGD with SAM's settings but for its ascent step, or else the
    /// first.
    pub reference: Option<String>,
    /// Places of the reference SGD and the reference SAM.
    #[serde(skip)]
    pub references: [Option<usize>; 2],
    /// Whether the reference SGD has the settings of the reference SAM but for its ascent step.
    #[serde(skip)]
    pub is_matched: bool,
    /// Places of the rows that more seeds could decide.
    #[serde(skip)]
    pub open: Vec<usize>,
    /// What is found about the rows' claims so far, by the id of their settings, for the next look.
    #[serde(skip)]
    pub findings: BTreeMap<String, RowFindings>,
    /// What was trained.
    pub trained: Option<String>,
    /// The machine and the days (UTC).
    pub measured: Option<String>,
    /// What to bear in mind: what is missing or in doubt, the versions.
    pub notes: Vec<String>,
    /// Settings that all rows share, without defaults, for tables.
    #[serde(skip)]
    pub shared: Vec<String>,
    /// Settings in which optimizers differ and of which the rows' names say nothing, for tables.
    #[serde(skip)]
    pub by_optimizer: Vec<String>,
    /// Names of the axes of the plan's cells, for tables.
    #[serde(skip)]
    pub axes: Vec<String>,
    /// One row per setting, in the plan's order.
    pub rows: Vec<Row>,
}

/// A look at the claims of a run whose seeds are trained until they are decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Look {
    /// The look, from 1.
    pub number: usize,
    /// Looks at most.
    pub of: usize,
    /// Whether more seeds are to be trained.
    pub interim: bool,
}

/// One setting over its seeds. Accuracies are fractions; measures are of completed cells; differences and ratios of
/// times are paired by seed, and null for the reference itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The setting.
    #[serde(flatten)]
    pub setting: Setting,
    /// The setting in words: the optimizer and what is not a default.
    pub label: String,
    /// A short name: the optimizer and what differs between rows.
    pub name: String,
    /// Its axes as a suite writes them, for tables.
    #[serde(skip)]
    pub axes: Vec<(String, String)>,
    /// Seeds planned.
    pub planned: usize,
    /// Trainings that diverged.
    pub diverged: usize,
    /// Test accuracy after the last epoch.
    pub test_accuracy_last: Option<Summary>,
    /// Best test accuracy of any epoch.
    pub test_accuracy_best: Option<Summary>,
    /// Mean negative log likelihood of the test labels after the last epoch, in nats.
    pub test_nll: Option<Summary>,
    /// Expected calibration error on the test samples after the last epoch, in 15 bins.
    pub test_ece: Option<Summary>,
    /// Test accuracy after each epoch that was evaluated, of the cells that reached it.
    pub test_accuracy_by_epoch: Vec<EpochAccuracy>,
    /// Last accuracy minus that of the reference SGD with the same seed.
    pub to_sgd: Option<Comparison>,
    /// Last accuracy minus that of the reference SAM with the same seed.
    pub to_sam: Option<Comparison>,
    /// Last accuracy minus that of the reference SGD trained for as many epochs as make its nominal FLOPs the same.
    pub to_equal_flops: Option<Comparison>,
    /// What is concluded about it.
    pub claims: RowClaims,
    /// Training time until the report's target accuracy; of cells that do not reach it, or diverged, it is longer than any.
    pub seconds_to_target: Option<Censored>,
    /// Whether no other row is at least as accurate in the mean and takes at most its median training time.
    pub on_front_of_seconds: bool,
    /// Whether no other row is at least as accurate in the mean and executes at most its FLOPs.
    pub on_front_of_flops: bool,
    /// The cells' median step times, in seconds; mask refreshes excluded.
    pub step_seconds: Option<Median>,
    /// Step times over the reference SGD's with the same seed.
    pub step_ratio_to_sgd: Option<Median>,
    /// Training time of a cell, in seconds; mask refreshes included.
    pub train_seconds: Option<Median>,
    /// Training times over the reference SGD's with the same seed.
    pub train_ratio_to_sgd: Option<Median>,
    /// Training FLOPs of a cell, everything dense.
    pub flops_nominal: Option<f64>,
    /// Training FLOPs of a cell by the formula named in the report.
    pub flops_theoretical: Option<f64>,
    /// Training FLOPs of a cell that the kernels ran, mask refreshes included; mean over seeds.
    pub flops_executed: Option<f64>,
    /// Nominal FLOPs over the reference SGD's.
    pub flops_nominal_ratio_to_sgd: Option<f64>,
    /// Theoretical FLOPs over the reference SGD's.
    pub flops_theoretical_ratio_to_sgd: Option<f64>,
    /// Executed FLOPs over the reference SGD's.
    pub flops_executed_ratio_to_sgd: Option<f64>,
    /// Fraction of weights live after the last mask refresh.
    pub live_fraction: Option<Summary>,
    /// What its masks have in common.
    pub masks: Option<MaskStatistics>,
    /// Exponent of T in the averaged squared gradient norm, where it was measured.
    pub convergence_exponent: Option<Summary>,
    /// The Hessian's norm (the magnitude of its top eigenvalue) over the optimizer's edge of stability, at the checks of the
    /// second half of the steps.
    pub eigenvalue_over_edge: Option<Median>,
    /// The Hessian's norm over 2 / eta, at those checks.
    pub eigenvalue_over_gradient_descent_edge: Option<Median>,
    /// Part of all checks at which the gradient after the ascent step is nearer to the top eigenvector than the gradient.
    pub ascent_better_aligned: Option<f64>,
    /// Of those checks, the ones whose eigenpairs did not converge.
    pub edge_unconverged: usize,
    /// The Hessian's top eigenvalue after the last epoch, where it was measured.
    pub eigenvalue: Option<Summary>,
    /// The Hessian's trace after the last epoch.
    pub trace: Option<Summary>,
    /// How much the loss rises within .05 of the weights after the last epoch.
    pub max_loss_increase: Option<Summary>,
    /// The cells behind the row.
    pub cells: Vec<CellResult>,
}

/// Test accuracy of a setting after an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EpochAccuracy {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Over the cells that reached it.
    #[serde(flatten)]
    pub accuracy: Summary,
}

/// One finished cell.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct CellResult {
    /// Suite name.
    pub suite: String,
    /// Profile name.
    pub profile: String,
    /// The data set really used.
    pub data: String,
    /// Whether it stands in for the suite's own.
    pub stand_in: bool,
    /// The cell's id.
    pub id: String,
    /// The setting.
    #[serde(flatten)]
    pub setting: Setting,
    /// Seed.
    pub seed: u64,
    /// `completed` or `diverged`.
    pub status: String,
    /// Test accuracy after the last epoch.
    pub test_accuracy_last: Option<f64>,
    /// Best test accuracy of any epoch.
    pub test_accuracy_best: Option<f64>,
    /// Mean negative log likelihood of the test labels after the last epoch, in nats.
    pub test_nll: Option<f64>,
    /// Expected calibration error on the test samples after the last epoch, in 15 bins.
    pub test_ece: Option<f64>,
    /// Training time, in seconds; mask refreshes included.
    pub train_seconds: f64,
    /// Part of it spent refreshing masks.
    pub mask_seconds: f64,
    /// Part of it until the report's target accuracy; none if that was not reached.
    pub seconds_to_target: Option<f64>,
    /// Median step time, in seconds.
    pub step_seconds_median: Option<f64>,
    /// Median of the reference step before the training, in seconds.
    pub reference_step_seconds: Option<f64>,
    /// FLOPs, everything dense.
    pub flops_nominal: f64,
    /// FLOPs by the report's formula.
    pub flops_theoretical: f64,
    /// FLOPs the kernels ran, mask refreshes included.
    pub flops_executed: Option<f64>,
    /// Fraction of weights live after the last mask refresh.
    pub live_fraction: Option<f64>,
    /// Exponent of T in the averaged squared gradient norm, where it was measured.
    pub convergence_exponent: Option<f64>,
    /// Median of the Hessian's norm over the optimizer's edge, at the checks of the second half of the steps.
    pub eigenvalue_over_edge: Option<f64>,
    /// Median of the Hessian's norm over 2 / eta, at those checks.
    pub eigenvalue_over_gradient_descent_edge: Option<f64>,
    /// The Hessian's top eigenvalue after the last epoch, where it was measured.
    pub eigenvalue: Option<f64>,
    /// The Hessian's trace after the last epoch.
    pub trace: Option<f64>,
    /// How much the loss rises within .05 of the weights after the last epoch.
    pub max_loss_increase: Option<f64>,
    /// Peak resident memory, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// SHA-256 of the final weights.
    pub fingerprint: String,
}

/// Exponent of T in a cell's averaged squared gradient norm.
fn exponent(measures: &Measures) -> Option<f64> {
    let norms: Vec<(u64, f64)> = measures.gradient_norms.iter().map(|g| (g.step, g.squared)).collect();
    convergence_exponent(&norms)
}

fn nll(measures: &Measures) -> Option<f64> {
    measures.test_samples.as_ref()?.nll
}

fn ece(measures: &Measures) -> Option<f64> {
    measures.test_samples.as_ref()?.ece
}

/// Sharpness after the last epoch; none of a training that did not reach it.
fn last_sharpness(record: &Record) -> Option<&SharpnessCheck> {
    record.measures.sharpness.last().filter(|check| check.epoch + 1 == record.cell.epochs)
}

impl CellResult {
    fn new(record: &Record, target: Option<f64>) -> Self {
        let (cell, m) = (&record.cell, &record.measures);
        Self {
            suite: record.suite.clone(),
            profile: record.profile.clone(),
            data: cell.data.name.clone(),
            stand_in: record.stand_in,
            id: record.id.clone(),
            setting: Setting::new(cell),
            seed: cell.seed,
            status: if record.status == Status::Completed { "completed" } else { "diverged" }.into(),
            test_accuracy_last: m.test_accuracy_last,
            test_accuracy_best: m.test_accuracy_best,
            test_nll: nll(m),
            test_ece: ece(m),
            train_seconds: m.train_seconds,
            mask_seconds: m.mask_seconds,
            seconds_to_target: target.and_then(|target| rows::seconds_to_target(target, record)),
            step_seconds_median: m.step_seconds.map(|s| s.median),
            reference_step_seconds: record.reference_step_seconds.map(|s| s.median),
            flops_nominal: m.flops_nominal,
            flops_theoretical: m.flops_theoretical,
            flops_executed: m.flops_executed,
            live_fraction: m.mask_refreshes.last().map(|r| r.live_fraction),
            convergence_exponent: exponent(m),
            eigenvalue_over_edge: median(&edge::over_edge(m)).map(|m| m.median),
            eigenvalue_over_gradient_descent_edge: median(&edge::over_gradient_descent_edge(m)).map(|m| m.median),
            eigenvalue: last_sharpness(record).map(|s| s.eigenvalue),
            trace: last_sharpness(record).map(|s| s.trace),
            max_loss_increase: last_sharpness(record).map(|s| s.max_loss_increase),
            peak_memory_bytes: m.peak_memory_bytes,
            fingerprint: m.fingerprint.clone(),
        }
    }
}

impl Look {
    fn new(looks: &RunLooks, concluded: Option<&Concluded>) -> Self {
        let is_last = looks.planned >= looks.seeds.len();
        let goes_on = |concluded: &Concluded| !concluded.open.is_empty() && (concluded.lacking || !is_last);
        let interim = concluded.is_none_or(|concluded| !concluded.complete || goes_on(concluded));
        Self { number: looks.planned, of: looks.seeds.len(), interim }
    }
}

impl Row {
    /// The value of an axis, as a suite writes it.
    fn axis(&self, name: &str) -> Option<&str> {
        self.axes.iter().find(|(axis, _)| axis == name).map(|(_, value)| value.as_str())
    }
}

impl Report {
    /// The report of a run's records. Records of cells outside the plan or of other images are left out.
    pub fn new(manifest: &RunManifest, records: &[Record], options: &Options) -> Self {
        let records = Self::of_plan(manifest, records);
        let groups = rows::groups(&manifest.cells, &records);
        let Rows { mut rows, references, target, claims, concluded } = rows::rows(&groups, manifest, options);
        let [sgd, sam] = references.map(|place| place.map(|place| &groups[place].setting));
        let Names { names, shared, by_optimizer } = Names::new(groups.iter().map(|group| &group.setting));
        rows.iter_mut().zip(names).for_each(|(row, name)| row.name = name);
        let mut report = Self {
            suite: manifest.suite.clone(),
            profile: manifest.profile.clone(),
            data: manifest.data.clone(),
            stand_in: manifest.stand_in,
            measured_on: manifest.cells.first().map_or("test", |cell| cell.data.measured_on()),
            label_noise: manifest.cells.first().and_then(|cell| cell.data.label_noise),
            cells_planned: manifest.cells.len(),
            cells_finished: records.len(),
            flops_theoretical_formula: crate::flops::THEORETICAL_FORMULA.into(),
            open: concluded.as_ref().map(|concluded| concluded.open.clone()).unwrap_or_default(),
            findings: concluded.as_ref().map(|concluded| concluded.findings.clone()).unwrap_or_default(),
            assay: concluded.as_ref().and_then(|concluded| concluded.assay),
            look: manifest.looks.as_ref().map(|looks| Look::new(looks, concluded.as_ref())),
            claims,
            target_accuracy: target,
            reference: references[0].map(|place| rows[place].name.clone()),
            references,
            is_matched: sgd.zip(sam).is_some_and(|(sgd, sam)| *sgd == sam.without_ascent()),
            shared,
            by_optimizer,
            axes: axis_names(&manifest.cells),
            answer: Vec::new(),
            trained: notes::trained(&manifest.cells, records.first().map(|r| r.measures.parameters)),
            measured: notes::measured(&records),
            notes: notes::notes(manifest, &records, &groups, &rows, options),
            rows,
        };
        report.answer = answer::answer(&report);
        report
    }

    /// The records of cells of the plan, in its order, on the run's data.
    pub fn of_plan<'r>(manifest: &RunManifest, records: &'r [Record]) -> Vec<&'r Record> {
        let places: HashMap<String, usize> = manifest.cells.iter().map(Cell::id).zip(0..).collect();
        let place = |r: &Record| places.get(&r.id).copied().filter(|_| r.data.sha256 == manifest.data_sha256);
        let mut found: Vec<(usize, &Record)> = records.iter().filter_map(|r| Some((place(r)?, r))).collect();
        found.sort_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, record)| record).collect()
    }

    /// The settings of the rows that more seeds could decide, of this report's run.
    pub fn open_settings(&self, manifest: &RunManifest) -> Vec<Cell> {
        let groups = rows::groups(&manifest.cells, &[]);
        self.open.iter().filter_map(|place| groups.get(*place)).map(|group| group.setting.clone()).collect()
    }

    /// Decimals that accuracies in percent deserve: two where some setting's seeds agree within a tenth of a point.
    fn decimals(&self) -> usize {
        let deviations = self.rows.iter().filter_map(|row| row.test_accuracy_last?.sd);
        if deviations.reduce(f64::min).is_some_and(|sd| sd < 0.001) { 2 } else { 1 }
    }

    /// Whether every planned cell has a record.
    pub fn is_complete(&self) -> bool {
        self.cells_finished == self.cells_planned
    }

    /// The report in a format. `layout` is for tables; `records` are those behind it ([`Report::of_plan`]), for figures.
    ///
    /// # Errors
    /// When a number cannot be written.
    pub fn render(&self, format: &Exporter, layout: Layout, records: &[&Record]) -> Result<Vec<u8>> {
        (format.export)(self, &Canvas { layout, records })
    }
}
