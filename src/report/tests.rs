//! Reports of made-up records, by exact text.

use super::{EXPORTERS, Layout, NamedRun, Options, Report, merge};
use crate::data;
use crate::mask::{FisherMode, Refresh, Score, When};
use crate::record::tests::manifest;
use crate::record::{
    EpochMeasures, Machine, MaskRefresh, Measures, Record, SCHEMA, Status, StepSeconds, TrainingProvenance,
};
use crate::stats::{Comparison, Finding, Interval, Ratio};
use crate::suite::{Cell, Suite};

pub(super) fn cells() -> Vec<Cell> {
    let filter: crate::suite::Filter =
        "optimizer=sgd,optimizer=sam,optimizer=ssam-f,sparsity=0.9".parse().expect("a filter");
    let mut plan = Suite::read("cifar10").and_then(|s| s.plan("smoke", "photo-patches")).expect("the embedded suite");
    plan.cells.retain(|c| c.mask().is_none() || filter.matches(c));
    plan.cells
}

pub(super) fn record(cell: &Cell, accuracy: Option<f64>, step: f64) -> Record {
    let gradients = if cell.rho().is_some() { 2.0 } else { 1.0 };
    Record {
        schema: SCHEMA,
        id: cell.id(),
        suite: "cifar10".into(),
        profile: "smoke".into(),
        suite_hash: "hash".into(),
        cell: cell.clone(),
        status: if accuracy.is_some() { Status::Completed } else { Status::Diverged { epoch: 1, step: 2 } },
        measures: Measures {
            test_accuracy_last: accuracy,
            test_accuracy_best: Some(accuracy.unwrap_or(0.1) + 0.01),
            best_epoch: Some(0),
            steps: 16,
            parameters: 19_218,
            train_seconds: 16.0 * step,
            step_seconds: Some(StepSeconds { median: step, min: step, max: step, n: 13, warmup: 3 }),
            peak_memory_bytes: Some(1 << 27),
            flops_nominal: 1e9 * gradients * cell.epochs as f64,
            flops_theoretical: 0.9e9 * gradients * cell.epochs as f64,
            flops_theoretical_formula: "the formula".into(),
            flops_executed: Some(0.95e9 * gradients * cell.epochs as f64),
            ..crate::record::tests::record(cell, &format!("fingerprint-{}", cell.seed)).measures
        },
        stand_in: true,
        data: data::Provenance {
            unreadable: Vec::new(),
            name: "photo-patches".into(),
            source: "embedded".into(),
            revision: None,
            files: Vec::new(),
            sha256: "sha".into(),
            original: None,
        },
        provenance: TrainingProvenance {
            gpu: None,
            sharpbench: "0.0.0".into(),
            git_revision: None,
            crates: Default::default(),
            machine: Machine { cpu: "a CPU".into(), features: Vec::new(), cpus: 2, platform: "linux-x86_64".into() },
            threads: 2,
            jobs: 1,
            job: None,
            finished_unix: 0,
        },
        reference_step_seconds: Some(StepSeconds { median: 0.004, min: 0.004, max: 0.004, n: 15, warmup: 3 }),
        look: None,
        resumed: 0,
        digest: Some(String::new()),
    }
}

/// An epoch of two seconds.
pub(super) fn epoch(test_accuracy: f64) -> EpochMeasures {
    EpochMeasures { lr: 0.1, train_loss: 1.0, test_loss: None, test_accuracy: Some(test_accuracy), train_seconds: 2.0 }
}

/// Accuracies that differ by seed and setting; the last SSAM-F cell diverged.
fn report() -> Report {
    let cells = cells();
    let last = cells.len() - 1;
    let records: Vec<Record> = cells
        .iter()
        .enumerate()
        .map(|(i, cell)| {
            let accuracy = 0.5 + 0.01 * i as f64 + if cell.seed == 4321 { 0.002 * i as f64 } else { 0.0 };
            record(cell, (i != last).then_some(accuracy), 0.010 + 0.005 * i as f64)
        })
        .collect();
    Report::new(&manifest(&cells), &records, &Options::default())
}

fn render(report: &Report, format: &str, layout: Layout) -> Vec<u8> {
    let exporter = EXPORTERS.iter().find(|exporter| exporter.name == format).expect("an exporter");
    report.render(exporter, layout, &[]).expect("a report")
}

fn text(report: &Report, format: &str) -> String {
    String::from_utf8(render(report, format, Layout::default())).expect("text")
}

#[test]
fn every_exporter_writes_a_report_under_a_name_of_its_own() {
    for (index, exporter) in EXPORTERS.iter().enumerate() {
        let file = render(&report(), exporter.name, Layout::default());
        assert!(!file.is_empty() && (!exporter.is_text || String::from_utf8(file).is_ok()), "{}", exporter.name);
        assert!(EXPORTERS[..index].iter().all(|other| other.name != exporter.name), "{}", exporter.name);
    }
}

/// The table for the terminal, within so many columns.
fn within(report: &Report, width: usize) -> String {
    String::from_utf8(render(report, "table", Layout { width: Some(width), ..Layout::default() })).expect("text")
}

#[test]
fn the_frontier_has_each_row_that_keeps_a_share() {
    let figures = super::figures::figures(&report(), &[]);
    let frontier = figures.iter().find(|figure| figure.name == "frontier").expect("SAM gains");
    assert_eq!(frontier.panels.len(), 2);
    for panel in &frontier.panels {
        let text = panel.body.clone().into_string();
        for part in
            ["sgd wd .001: 0% by definition", "sam: 100% by definition", "sgd 2x epochs: keeps 50% [-48, 148], n = 2"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("ssam-f"), "one seed has no interval");
    }
}

#[test]
fn charts_against_cost_name_the_rows_that_lose_more_than_sam_gains() {
    let mut report = report();
    let mut drawn = |high: f64| {
        let row = report.rows.iter_mut().find(|row| row.name == "sgd").expect("a control");
        row.claims.share = Some(Ratio { n: 8, value: -7.32, interval: Some(Interval { low: -10.54, high }) });
        let figures = super::figures::figures(&report, &[]);
        let named = "Left out of the charts against cost, as they lose more than SAM gains: sgd (gain kept -732% [-1054, -420]).";
        ["answer", "frontier"].map(|name| {
            let figure = figures.iter().find(|figure| figure.name == name).expect("SAM gains");
            let of_cost = figure.panels.iter().filter(|panel| panel.title.contains("against"));
            let drawn = of_cost.filter(|panel| panel.body.clone().into_string().contains("<title>sgd: ")).count();
            (drawn, figure.caption.ends_with(named))
        })
    };
    assert_eq!(drawn(-0.9), [(2, false); 2]);
    assert_eq!(drawn(-4.2), [(0, true); 2]);
}

#[test]
fn terminal_table() {
    insta::assert_snapshot!(text(&report(), "table"), @r#"
    cifar10 smoke on photo-patches (STAND-IN: not results on the suite's own data set)
    resnet8 width 8 (19218 parameters), 256 training and 200 test samples, 2 epochs, batch 32, 2 seeds
    measured on a CPU, 2 CPUs, 2 threads, linux-x86_64, 1970-01-01
    shared settings: lr 0.05; rho 0.05
    by optimizer, unless the row says otherwise: weight_decay 0.0005 (sgd), 0.001 (sam, ssam-f);
      sparsity 0.9 (ssam-f); mask fisher (ssam-f)

    SAM gains 2.2 points over SGD with the same settings [0.6, 3.8], 2 seeds.
    At equal FLOPs, SGD trained for longer is 1.1 points behind SAM [-1.0, +3.2].
    On the clock a step of SAM takes 1.46 times SGD's, of sparse SAM 2.00 times.

    setting                     n  accuracy %             vs SGD        gain kept  step  FLOPs
    sgd                         2  53.0 ± 4.2  -1.1 [-2.7, +0.5]  -50% [-376, 19]  0.77   1.00
    sgd wd .001                 2  54.1 ± 4.4                  -                -     -   1.00
    sgd 2x epochs               2  55.2 ± 4.5  +1.1 [-0.5, +2.7]   50% [-48, 148]  1.23   2.00
    sam                         2  56.3 ± 4.7  +2.2 [+0.6, +3.8]                -  1.46   2.00
    ssam-f         1 (1 diverged)        54.0               +3.0                -  2.00   2.00

    part of the profile: 10 of its 18 cells were selected
    SAM's rows update BatchNorm's running statistics twice a step, SGD's once: even with rho 0,
      accuracies differ; batch_norm = "freeze" updates once
    the reference step took 4.00 ms (4.00-4.00) before 10 trainings
    sharpbench 0.0.0 (no revision)
    ± standard deviation over seeds; 95% interval in brackets, * differs at .05 after Holm's correction;
      step and FLOPs are multiples of SGD's; SGD in columns and sentences is sgd wd .001, which has
      SAM's settings but for its ascent step. Every column: --wide; what each means: --explain
    "#);
    assert_eq!(text(&report(), "table"), within(&report(), 100), "without a terminal as at 100");
}

#[test]
fn terminal_table_of_80_columns() {
    insta::assert_snapshot!(within(&report(), 80), @r#"
    cifar10 smoke on photo-patches (STAND-IN: not results on the suite's own data
      set)
    resnet8 width 8 (19218 parameters), 256 training and 200 test samples, 2 epochs,
      batch 32, 2 seeds
    measured on a CPU, 2 CPUs, 2 threads, linux-x86_64, 1970-01-01
    shared settings: lr 0.05; rho 0.05
    by optimizer, unless the row says otherwise: weight_decay 0.0005 (sgd), 0.001
      (sam, ssam-f); sparsity 0.9 (ssam-f); mask fisher (ssam-f)

    SAM gains 2.2 points over SGD with the same settings [0.6, 3.8], 2 seeds.
    At equal FLOPs, SGD trained for longer is 1.1 points behind SAM [-1.0, +3.2].
    On the clock a step of SAM takes 1.46 times SGD's, of sparse SAM 2.00 times.

    setting                   n  accuracy %        vs SGD     gain kept  step  FLOPs
    sgd                       2  53.0 ± 4.2  -1.1 [-2.7,   -50% [-376,   0.77   1.00
                                             +0.5]         19]
    sgd wd .001               2  54.1 ± 4.4             -             -     -   1.00
    sgd 2x epochs             2  55.2 ± 4.5  +1.1 [-0.5,     50% [-48,   1.23   2.00
                                             +2.7]           148]
    sam                       2  56.3 ± 4.7  +2.2 [+0.6,              -  1.46   2.00
                                             +3.8]
    ssam-f            1 (1             54.0          +3.0             -  2.00   2.00
                      diverged)

    part of the profile: 10 of its 18 cells were selected
    SAM's rows update BatchNorm's running statistics twice a step, SGD's once: even
      with rho 0, accuracies differ; batch_norm = "freeze" updates once
    the reference step took 4.00 ms (4.00-4.00) before 10 trainings
    sharpbench 0.0.0 (no revision)
    ± standard deviation over seeds; 95% interval in brackets, * differs at .05
      after Holm's correction; step and FLOPs are multiples of SGD's; SGD in columns
      and sentences is sgd wd .001, which has SAM's settings but for its ascent
      step. Every column: --wide; what each means: --explain
    "#);
}

#[test]
fn terminal_table_of_120_columns() {
    insta::assert_snapshot!(within(&report(), 120), @r#"
    cifar10 smoke on photo-patches (STAND-IN: not results on the suite's own data set)
    resnet8 width 8 (19218 parameters), 256 training and 200 test samples, 2 epochs, batch 32, 2 seeds
    measured on a CPU, 2 CPUs, 2 threads, linux-x86_64, 1970-01-01
    shared settings: lr 0.05; rho 0.05
    by optimizer, unless the row says otherwise: weight_decay 0.0005 (sgd), 0.001 (sam, ssam-f); sparsity 0.9 (ssam-f); mask
      fisher (ssam-f)

    SAM gains 2.2 points over SGD with the same settings [0.6, 3.8], 2 seeds.
    At equal FLOPs, SGD trained for longer is 1.1 points behind SAM [-1.0, +3.2].
    On the clock a step of SAM takes 1.46 times SGD's, of sparse SAM 2.00 times.

    setting                     n  accuracy %             vs SGD        gain kept  step  FLOPs
    sgd                         2  53.0 ± 4.2  -1.1 [-2.7, +0.5]  -50% [-376, 19]  0.77   1.00
    sgd wd .001                 2  54.1 ± 4.4                  -                -     -   1.00
    sgd 2x epochs               2  55.2 ± 4.5  +1.1 [-0.5, +2.7]   50% [-48, 148]  1.23   2.00
    sam                         2  56.3 ± 4.7  +2.2 [+0.6, +3.8]                -  1.46   2.00
    ssam-f         1 (1 diverged)        54.0               +3.0                -  2.00   2.00

    part of the profile: 10 of its 18 cells were selected
    SAM's rows update BatchNorm's running statistics twice a step, SGD's once: even with rho 0, accuracies differ;
      batch_norm = "freeze" updates once
    the reference step took 4.00 ms (4.00-4.00) before 10 trainings
    sharpbench 0.0.0 (no revision)
    ± standard deviation over seeds; 95% interval in brackets, * differs at .05 after Holm's correction; step and FLOPs are
      multiples of SGD's; SGD in columns and sentences is sgd wd .001, which has SAM's settings but for its ascent step.
      Every column: --wide; what each means: --explain
    "#);
}

#[test]
fn terminal_table_of_200_columns() {
    insta::assert_snapshot!(within(&report(), 200), @r#"
    cifar10 smoke on photo-patches (STAND-IN: not results on the suite's own data set)
    resnet8 width 8 (19218 parameters), 256 training and 200 test samples, 2 epochs, batch 32, 2 seeds
    measured on a CPU, 2 CPUs, 2 threads, linux-x86_64, 1970-01-01
    shared settings: lr 0.05; rho 0.05
    by optimizer, unless the row says otherwise: weight_decay 0.0005 (sgd), 0.001 (sam, ssam-f); sparsity 0.9 (ssam-f); mask fisher (ssam-f)

    SAM gains 2.2 points over SGD with the same settings [0.6, 3.8], 2 seeds.
    At equal FLOPs, SGD trained for longer is 1.1 points behind SAM [-1.0, +3.2].
    On the clock a step of SAM takes 1.46 times SGD's, of sparse SAM 2.00 times.

    setting                     n  accuracy %             vs SGD        gain kept  step  FLOPs
    sgd                         2  53.0 ± 4.2  -1.1 [-2.7, +0.5]  -50% [-376, 19]  0.77   1.00
    sgd wd .001                 2  54.1 ± 4.4                  -                -     -   1.00
    sgd 2x epochs               2  55.2 ± 4.5  +1.1 [-0.5, +2.7]   50% [-48, 148]  1.23   2.00
    sam                         2  56.3 ± 4.7  +2.2 [+0.6, +3.8]                -  1.46   2.00
    ssam-f         1 (1 diverged)        54.0               +3.0                -  2.00   2.00

    part of the profile: 10 of its 18 cells were selected
    SAM's rows update BatchNorm's running statistics twice a step, SGD's once: even with rho 0, accuracies differ; batch_norm = "freeze" updates once
    the reference step took 4.00 ms (4.00-4.00) before 10 trainings
    sharpbench 0.0.0 (no revision)
    ± standard deviation over seeds; 95% interval in brackets, * differs at .05 after Holm's correction; step and FLOPs are multiples of SGD's; SGD in columns and sentences is sgd wd .001, which has SAM's
      settings but for its ascent step. Every column: --wide; what each means: --explain
    "#);
}

#[test]
fn wide_table_with_explanations() {
    let layout = Layout { wide: true, explain: true, ..Layout::default() };
    insta::assert_snapshot!(String::from_utf8(render(&report(), "table", layout)).expect("text"), @r#"
    cifar10 smoke on photo-patches (STAND-IN: not results on the suite's own data set)
    resnet8 width 8 (19218 parameters), 256 training and 200 test samples, 2 epochs, batch 32, 2 seeds
    measured on a CPU, 2 CPUs, 2 threads, linux-x86_64, 1970-01-01
    shared settings: sparsity 0.9; mask fisher; pattern unstructured; refresh interval; mask_interval 1;
      fisher_samples 128; fisher_mode clean; rho 0.05; norm full; perturbation explicit; rho_decay
      constant; batch_norm update; lr 0.05; base sgd; momentum 0.9; nesterov false

    SAM gains 2.2 points over SGD with the same settings [0.6, 3.8], 2 seeds.
    At equal FLOPs, SGD trained for longer is 1.1 points behind SAM [-1.0, +3.2].
    On the clock a step of SAM takes 1.46 times SGD's, of sparse SAM 2.00 times.

    optimizer  weight_decay  epochs               n    accuracy %        best %                vs SGD                vs SAM           ms/step          step/SGD         train/SGD       FLOPs/SGD  theory (b)/SGD   vs SGD, equal FLOPs        gain kept       gain               no loss      keeps           s to target        front
    sgd        0.0005        2                    2  53.00 ± 4.24  54.00 ± 4.24  -1.10 [-2.75, +0.55]  -3.30 [-5.38, -1.22]  22.5 (10.0-35.0)  0.77 (0.67-0.88)  0.77 (0.67-0.88)  1.00/1.00/1.00               -                     -  -50% [-376, 19]  undecided               refuted  undecided  not reached (0 of 2)         time
    sgd        0.001         2                    2  54.10 ± 4.38  55.10 ± 4.38                     -  -2.20 [-3.85, -0.55]  27.5 (15.0-40.0)                 -                 -  1.00/1.00/1.00               -                     -                -          -               refuted    refuted  not reached (0 of 2)  time, FLOPs
    sgd        0.0005        4                    2  55.20 ± 4.53  56.20 ± 4.53  +1.10 [-0.55, +2.75]  -1.10 [-3.18, +0.98]  32.5 (20.0-45.0)  1.23 (1.12-1.33)  1.23 (1.12-1.33)  2.00/2.00/2.00               -                     -   50% [-48, 148]  undecided  undecided (19 seeds)  undecided  not reached (0 of 2)         time
    sam        0.001         2                    2  56.30 ± 4.67  57.30 ± 4.67  +2.20 [+0.55, +3.85]                     -  37.5 (25.0-50.0)  1.46 (1.25-1.67)  1.46 (1.25-1.67)  2.00/2.00/2.00               -  +1.10 [-0.98, +3.18]                -  supported                     -          -  not reached (0 of 2)  time, FLOPs
    ssam-f     0.001         2       1 (1 diverged)         54.00         55.00                 +3.00                 +1.00              30.0              2.00              2.00  2.00/2.00/2.00            2.00                 +2.00                -          -                     -          -  not reached (0 of 2)            -

    part of the profile: 10 of its 18 cells were selected
    SAM's rows update BatchNorm's running statistics twice a step, SGD's once: even with rho 0,
      accuracies differ; batch_norm = "freeze" updates once
    the reference step took 4.00 ms (4.00-4.00) before 10 trainings
    sharpbench 0.0.0 (no revision)
    accuracy: test accuracy after the last epoch, mean ± sample standard deviation over n seeds; best:
      of any epoch, chosen on the same test samples
    vs SGD, vs SAM: difference in points to the reference SGD (the row with SAM's settings but for its
      ascent step, or else the first) and to the first SAM row, or to the rows that the suite's claims
      name; paired by seed, mean [95% interval by Student's t, with variances moderated over rows]; *:
      different from 0 at .05 after Holm's correction for all comparisons of the table; one seed has
      neither
    ms/step: the cells' median steps, mask refreshes excluded; step/SGD, train/SGD: ratios to the
      reference SGD, paired by seed, of the step and of the whole training (mask refreshes included,
      evaluation not); median over seeds (range)
    FLOPs/SGD: nominal/theoretical/executed of the whole training; theoretical = (5 + (1 - s)) / 3 x SGD
      per step: pass-1 dW scaled by mask density, methods without a mask have their own units; executed:
      counted by the kernels, mask refreshes included
    theory (b)/SGD: theoretical FLOPs by the other formula of the papers, (b): (4 + 2 (1 - s)) / 3 x SGD
      per step: pass-1 dW and dX scaled by mask density; FLOPs/SGD has (a)
    vs SGD, equal FLOPs: difference to SGD trained for enough epochs to match the row's nominal FLOPs:
      with the settings of the reference SGD if there is such a row
    gain kept: fraction of SAM's gain over SGD that the row keeps: the ratio of the two mean differences
      to SGD, paired by seed [95% interval by Fieller's theorem, or unbounded]; only where SAM is shown
      to gain
    gain: the claim that the row is more accurate than SGD, tested at 0.05 for all rows together
      (docs/statistics.md); in SAM's row: that SAM gains, on which the other claims depend
    no loss: the claim that the row loses less than 0.3 points against SAM, tested at 0.05 for all rows
      together (docs/statistics.md); "not shown" unless SAM's gain is shown and this claim is refuted
      for SGD; in brackets the number of seeds that would support it with a probability of .8 if there
      were no difference
    keeps: the claim that the row keeps at least 50% of SAM's gain over SGD, tested at 0.05 for all rows
      together (docs/statistics.md); "not shown" unless SAM's gain is shown
    s to target: seconds of training until an epoch ends with a test accuracy of 51.00 %; median (range)
      over the row's cells; cells that do not reach it, or diverge, count as slower than all that do
    front: no other row is at least as accurate in the mean and costs at most as much, in training time
      or in executed FLOPs
    "#);
}

/// Whatever a report holds, no line exceeds the terminal.
#[test]
fn a_narrow_terminal_gets_a_narrow_table() {
    for width in [60, 80, 100, 120] {
        let text = within(&report(), width);
        assert!(text.lines().all(|line| line.chars().count() <= width), "{width}: {text}");
    }
}

#[test]
fn markdown_table() {
    insta::assert_snapshot!(text(&report(), "markdown"), @r#"
    ## cifar10 smoke on photo-patches (STAND-IN: not results on the suite's own data set)

    resnet8 width 8 (19218 parameters), 256 training and 200 test samples, 2 epochs, batch 32, 2 seeds

    measured on a CPU, 2 CPUs, 2 threads, linux-x86_64, 1970-01-01

    shared settings: lr 0.05; rho 0.05

    by optimizer, unless the row says otherwise: weight_decay 0.0005 (sgd), 0.001 (sam, ssam-f); sparsity 0.9 (ssam-f); mask fisher (ssam-f)

    - SAM gains 2.2 points over SGD with the same settings [0.6, 3.8], 2 seeds.
    - At equal FLOPs, SGD trained for longer is 1.1 points behind SAM [-1.0, +3.2].
    - On the clock a step of SAM takes 1.46 times SGD's, of sparse SAM 2.00 times.

    | setting       |              n | accuracy % |            vs SGD |            vs SAM |       gain kept | step | FLOPs |
    |---------------|----------------|------------|-------------------|-------------------|-----------------|------|-------|
    | sgd           |              2 | 53.0 ± 4.2 | -1.1 [-2.7, +0.5] | -3.3 [-5.4, -1.2] | -50% [-376, 19] | 0.77 |  1.00 |
    | sgd wd .001   |              2 | 54.1 ± 4.4 |                 - | -2.2 [-3.8, -0.6] |               - |    - |  1.00 |
    | sgd 2x epochs |              2 | 55.2 ± 4.5 | +1.1 [-0.5, +2.7] | -1.1 [-3.2, +1.0] |  50% [-48, 148] | 1.23 |  2.00 |
    | sam           |              2 | 56.3 ± 4.7 | +2.2 [+0.6, +3.8] |                 - |               - | 1.46 |  2.00 |
    | ssam-f        | 1 (1 diverged) |       54.0 |              +3.0 |              +1.0 |               - | 2.00 |  2.00 |

    - part of the profile: 10 of its 18 cells were selected
    - SAM's rows update BatchNorm's running statistics twice a step, SGD's once: even with rho 0, accuracies differ; batch_norm = "freeze" updates once
    - the reference step took 4.00 ms (4.00-4.00) before 10 trainings
    - sharpbench 0.0.0 (no revision)
    - ± standard deviation over seeds; 95% interval in brackets, * differs at .05 after Holm's correction; step and FLOPs are multiples of SGD's; SGD in columns and sentences is sgd wd .001, which has SAM's settings but for its ascent step. Every column: --wide; what each means: --explain
    "#);
}

/// The reference of a row with kernels of another version is the SGD with its settings; what is said of it is true.
#[test]
fn the_reference_has_the_same_settings_where_there_is_one() {
    let suite = "name = \"esam\"\ndescription = \"for tests\"\n[claims]\nactive = { optimizer = \"esam\" }\n\
                 [base]\ndata = { name = \"mnist-5k\", train = 64, test = 50 }\nmodel = { name = \"mlp\" }\n\
                 schedule = { epochs = 1, batch_size = 32 }\nseeds = [1, 2]\n[profiles.quick]\n\
                 [[base.grid]]\noptimizer = \"sgd\"\nlr = [0.1, 0.05]\nweight_decay = 1e-3\n\
                 [[base.grid]]\noptimizer = \"esam\"\nweight_decay = 1e-3\nrho = 0.05\nlr = LR\n";
    let of = |lr: &str| {
        let suite = Suite::parse("esam".into(), &suite.replace("LR", lr)).expect("a suite");
        let plan = suite.plan("quick", "mnist-5k").expect("a plan");
        let accuracy = |cell: &Cell| 0.5 + 0.01 * cell.seed as f64 + if cell.rho().is_some() { 0.1 } else { 0.0 };
        let records: Vec<Record> = plan.cells.iter().map(|cell| record(cell, Some(accuracy(cell)), 0.01)).collect();
        let mut manifest = manifest(&plan.cells);
        manifest.claims = plan.claims;
        Report::new(&manifest, &records, &Options::default())
    };
    let same = of("0.05");
    assert_eq!((same.reference.as_deref(), same.is_matched), (Some("sgd lr .05"), true));
    assert!(text(&same, "table").split_whitespace().collect::<Vec<_>>().join(" ").contains("which has SAM's settings"));
    let other = of("0.2");
    assert_eq!((other.reference.as_deref(), other.is_matched), (Some("sgd"), false));
    assert!(!text(&other, "table").contains("settings but"), "{}", text(&other, "table"));
    assert!(!other.answer.join(" ").contains("with the same settings"), "{:?}", other.answer);
}

/// A difference of fewer pairs than the row has seeds says so in the brief table too.
#[test]
fn the_brief_table_tells_fewer_pairs() {
    let cells = cells();
    let mut records: Vec<Record> = cells.iter().map(|cell| record(cell, Some(0.5), 0.01)).collect();
    records.retain(|r| r.cell.rho().is_some() || r.cell.seed != 4321);
    let report = Report::new(&manifest(&cells), &records, &Options::default());
    let table = text(&report, "markdown");
    let sam = table.lines().find(|line| line.starts_with("| sam ")).expect("a row");
    assert!(sam.contains("(n = 1)"), "{sam}");
}

/// Where SAM gains, the answer says what sparse SAM keeps of it, and the table has a column for it.
#[test]
fn the_answer_says_what_sparse_sam_keeps() {
    let cells = cells();
    let records: Vec<Record> = cells
        .iter()
        .map(|cell| {
            let gain = match cell.optimizer.name.as_str() {
                "sam" => 0.2,
                "ssam-f" => 0.1,
                _ => 0.0,
            };
            let luck = if cell.seed == 4321 { 0.005 } else { 0.0 };
            record(cell, Some(0.5 + luck + gain * (1.0 + luck)), if gain > 0.0 { 0.02 } else { 0.01 })
        })
        .collect();
    let report = Report::new(&manifest(&cells), &records, &Options::default());
    insta::assert_snapshot!(report.answer.join("\n"), @"
    SAM gains 20.0 points over SGD with the same settings [18.6, 21.5], 2 seeds.
    Of that gain, sparse SAM keeps: ssam-f 50% [44, 56].
    The claim to keep at least 50% of it is undecided for ssam-f.
    At equal FLOPs, SGD trained for longer is 20.0 points behind SAM [18.4, 21.7].
    On the clock a step of SAM takes 2.00 times SGD's, of sparse SAM 2.00 times.
    ");
    let sparse = report.rows.last().and_then(|row| row.claims.share).expect("a part of the gain");
    assert!((sparse.value - 0.5).abs() < 1e-9 && sparse.interval.is_some_and(|i| i.low < 0.5 && 0.5 < i.high));
    assert!(text(&report, "table").contains("gain kept"));
}

/// What cannot be said is said: one seed, or no SAM.
#[test]
fn the_answer_says_what_cannot_be_said() {
    let (all, options) = (cells(), Options::default());
    let answer = |keep: fn(&Cell) -> bool| {
        let cells: Vec<Cell> = all.iter().filter(|cell| keep(cell)).cloned().collect();
        let records: Vec<Record> = cells.iter().map(|cell| record(cell, Some(0.5), 0.01)).collect();
        Report::new(&manifest(&cells), &records, &options).answer[0].clone()
    };
    insta::assert_snapshot!(answer(|cell| cell.seed == 4321), @"On one seed SAM differs from SGD with the same settings by +0.0 points; one seed decides nothing.");
    insta::assert_snapshot!(answer(|cell| cell.optimizer.name == "sgd"), @"There is no row of both SGD and SAM, so SAM's gain cannot be said.");
}

#[test]
fn csv_has_a_line_per_cell() {
    insta::assert_snapshot!(text(&report(), "csv"), @"
    suite,profile,data,stand_in,id,optimizer,sparsity,mask,pattern,group_axis,budget,refresh,mask_interval,fisher_samples,fisher_mode,drop_rate,grow,rho,norm,perturbation,rho_decay,variant,batch_norm,lr,base,beta2,momentum,nesterov,weight_decay,epochs,label_noise,label_smoothing,seed,status,test_accuracy_last,test_accuracy_best,test_nll,test_ece,train_seconds,mask_seconds,seconds_to_target,step_seconds_median,reference_step_seconds,flops_nominal,flops_theoretical,flops_executed,live_fraction,convergence_exponent,eigenvalue_over_edge,eigenvalue_over_gradient_descent_edge,eigenvalue,trace,max_loss_increase,peak_memory_bytes,fingerprint
    cifar10,smoke,photo-patches,true,ec77887c58602b73,sgd,,,,,,,,,,,,,,,,,,0.05,sgd,,0.9,false,0.0005,2,,,1234,completed,0.5,0.51,,,0.16,0.0,,0.01,0.004,2000000000.0,1800000000.0,1900000000.0,,,,,,,,134217728,fingerprint-1234
    cifar10,smoke,photo-patches,true,2e4a14624c030515,sgd,,,,,,,,,,,,,,,,,,0.05,sgd,,0.9,false,0.0005,2,,,4321,completed,0.56,0.5700000000000001,,,0.56,0.0,,0.035,0.004,2000000000.0,1800000000.0,1900000000.0,,,,,,,,134217728,fingerprint-4321
    cifar10,smoke,photo-patches,true,5cee5e3d7aa0ada9,sgd,,,,,,,,,,,,,,,,,,0.05,sgd,,0.9,false,0.001,2,,,1234,completed,0.51,0.52,,,0.24,0.0,,0.015,0.004,2000000000.0,1800000000.0,1900000000.0,,,,,,,,134217728,fingerprint-1234
    cifar10,smoke,photo-patches,true,9fd088587ccae7b1,sgd,,,,,,,,,,,,,,,,,,0.05,sgd,,0.9,false,0.001,2,,,4321,completed,0.5720000000000001,0.5820000000000001,,,0.64,0.0,,0.04,0.004,2000000000.0,1800000000.0,1900000000.0,,,,,,,,134217728,fingerprint-4321
    cifar10,smoke,photo-patches,true,1f12f6d77939f8d4,sgd,,,,,,,,,,,,,,,,,,0.05,sgd,,0.9,false,0.0005,4,,,1234,completed,0.52,0.53,,,0.32,0.0,,0.02,0.004,4000000000.0,3600000000.0,3800000000.0,,,,,,,,134217728,fingerprint-1234
    cifar10,smoke,photo-patches,true,6275e647af1131a9,sgd,,,,,,,,,,,,,,,,,,0.05,sgd,,0.9,false,0.0005,4,,,4321,completed,0.5840000000000001,0.5940000000000001,,,0.7200000000000001,0.0,,0.045000000000000005,0.004,4000000000.0,3600000000.0,3800000000.0,,,,,,,,134217728,fingerprint-4321
    cifar10,smoke,photo-patches,true,a12eded454a8e360,sam,,,,,,,,,,,,0.05,,,constant,,update,0.05,sgd,,0.9,false,0.001,2,,,1234,completed,0.53,0.54,,,0.4,0.0,,0.025,0.004,4000000000.0,3600000000.0,3800000000.0,,,,,,,,134217728,fingerprint-1234
    cifar10,smoke,photo-patches,true,a8d800d57b6646a6,sam,,,,,,,,,,,,0.05,,,constant,,update,0.05,sgd,,0.9,false,0.001,2,,,4321,completed,0.596,0.606,,,0.8,0.0,,0.05,0.004,4000000000.0,3600000000.0,3800000000.0,,,,,,,,134217728,fingerprint-4321
    cifar10,smoke,photo-patches,true,e3707e24ad6c4426,ssam-f,0.9,fisher,unstructured,,,interval,1,128,clean,,,0.05,full,explicit,constant,,update,0.05,sgd,,0.9,false,0.001,2,,,1234,completed,0.54,0.55,,,0.48,0.0,,0.03,0.004,4000000000.0,3600000000.0,3800000000.0,,,,,,,,134217728,fingerprint-1234
    cifar10,smoke,photo-patches,true,dc1feaafa2bac773,ssam-f,0.9,fisher,unstructured,,,interval,1,128,clean,,,0.05,full,explicit,constant,,update,0.05,sgd,,0.9,false,0.001,2,,,4321,diverged,,0.11,,,0.88,0.0,,0.055,0.004,4000000000.0,3600000000.0,3800000000.0,,,,,,,,134217728,fingerprint-4321
    ");
}

#[test]
fn json_has_the_documented_keys() {
    let json: serde_json::Value = serde_json::from_str(&text(&report(), "json")).expect("JSON");
    assert_eq!(
        (&json["suite"], &json["profile"], &json["data"]),
        (&"cifar10".into(), &"smoke".into(), &"photo-patches".into())
    );
    let row = &json["rows"][1];
    let cell = &row["cells"][0];
    for key in [
        "optimizer",
        "sparsity",
        "mask",
        "pattern",
        "seed",
        "test_accuracy_last",
        "test_accuracy_best",
        "train_seconds",
        "step_seconds_median",
        "flops_nominal",
        "flops_theoretical",
        "flops_executed",
        "fingerprint",
    ] {
        assert!(cell.get(key).is_some(), "a cell lacks {key}");
    }
    assert!(cell["flops_executed"].is_f64());
}

#[test]
fn differences_are_paired_by_seed_and_references_have_none() {
    let report = report();
    // The SGD with SAM's weight decay, not the first.
    assert_eq!((report.reference.as_deref(), report.references), (Some("sgd wd .001"), [Some(1), Some(3)]));
    let [first, sgd] = &report.rows[..2] else { panic!("{} rows", report.rows.len()) };
    assert!(sgd.to_sgd.is_none() && sgd.to_sam.is_some() && first.to_sgd.is_some());
    let sam = report.rows.iter().find(|r| r.setting.optimizer == "sam").expect("a SAM row");
    let difference = sam.to_sgd.expect("two pairs");
    assert_eq!(difference.n, 2);
    assert!(sam.to_sam.is_none());
    assert_eq!(sam.flops_nominal_ratio_to_sgd, Some(2.0));
}

/// Without an SGD that has SAM's settings, differences are to the first; without SAM too.
#[test]
fn the_reference_is_the_sgd_with_sams_settings_or_else_the_first() {
    let of = |keep: fn(&Cell) -> bool| {
        let mut cells = cells();
        cells.retain(keep);
        let records: Vec<Record> = cells.iter().map(|cell| record(cell, Some(0.5), 0.01)).collect();
        let report = Report::new(&manifest(&cells), &records, &Options::default());
        (report.references, text(&report, "table"))
    };
    let (places, text) = of(|cell| cell.rho().is_some() || cell.optimizer.weight_decay == 5e-4);
    assert_eq!(places, [Some(0), Some(2)]);
    assert!(!text.contains("with the same settings") && !text.contains("SGD in columns"), "{text}");
    let (places, text) = of(|_| true);
    assert_eq!(places, [Some(1), Some(3)]);
    assert!(
        text.contains("SGD with the same settings") && text.contains("SGD in columns and sentences is sgd wd .001")
    );
    assert_eq!(of(|cell| cell.rho().is_none()).0, [Some(0), None]);
    assert_eq!(of(|cell| cell.rho().is_some()).0[0], None);
}

/// A diverged training stopped early: it must not make a row look cheaper or its best accuracy worse.
#[test]
fn diverged_cells_count_only_as_diverged() {
    let report = report();
    let row = report.rows.last().expect("a row");
    assert_eq!((row.diverged, row.cells.len()), (1, 2));
    assert_eq!(row.test_accuracy_last.map(|s| s.n), Some(1));
    assert_eq!(row.test_accuracy_best.map(|s| s.n), Some(1));
    assert_eq!(row.train_seconds.map(|m| m.n), Some(1));
    assert_eq!(row.step_ratio_to_sgd.map(|m| m.n), Some(1));
}

/// Settings that a suite can vary must be visible, whichever they are.
#[test]
fn every_axis_that_varies_has_a_column() {
    let mut base = cells().into_iter().find(|c| c.mask().is_some()).expect("a masked cell");
    base.epochs = 7;
    let mut other = base.clone();
    other.optimizer.momentum = 0.5;
    if let Some(mask) = other.optimizer.ascent.as_mut().and_then(|a| a.mask.as_mut()) {
        let score = Score::Fisher { samples: 16, mode: FisherMode::Paper };
        mask.refresh = Refresh { score, when: When::Interval { epochs: 5 } };
    }
    let report = Report::new(&manifest(&[base, other]), &[], &Options::default());
    assert_eq!(report.rows[0].name, "ssam-f");
    assert_eq!(report.rows[1].name, "ssam-f interval 5 samples 16 paper mu .5");
    let table = String::from_utf8(render(&report, "table", Layout { wide: true, ..Layout::default() })).expect("text");
    let header = table.lines().find(|line| line.starts_with("optimizer")).expect("a header");
    for axis in ["mask_interval", "fisher_samples", "fisher_mode", "momentum"] {
        assert!(header.contains(axis), "{axis} is missing in {header}");
    }
}

#[test]
fn an_unfinished_run_says_so_and_foreign_records_are_left_out() {
    let cells = cells();
    let mut foreign = cells[0].clone();
    foreign.seed = 99;
    let records = [record(&cells[0], Some(0.5), 0.01), record(&foreign, Some(0.9), 0.01)];
    let report = Report::new(&manifest(&cells), &records, &Options::default());
    assert!(!report.is_complete());
    assert_eq!(report.cells_finished, 1);
    let table = text(&report, "table");
    let words = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("INCOMPLETE: 1 of 10 cells"), "{table}");
    assert_eq!(report.rows[0].test_accuracy_last.map(|s| (s.n, s.sd)), Some((1, None)));
}

/// What is said of differences: corrected for all, once for each pair of rows; beside SGD of equal FLOPs; with what was timed.
#[test]
fn comparisons_cost_and_fronts_are_reported() {
    let cells = cells();
    let records: Vec<Record> = cells
        .iter()
        .map(|cell| {
            // SGD .5, the longer one .6, SAM .55 and .551, and sparse SAM .549.
            let base = match (cell.rho().is_some(), cell.mask().is_some(), cell.epochs) {
                (false, _, 2) => 0.5,
                (false, ..) => 0.6,
                (true, false, _) => 0.55,
                (true, true, _) => 0.549,
            };
            let accuracy = base + if cell.seed == 4321 { 0.001 } else { 0.0 };
            let mut record = record(cell, Some(accuracy), 0.01);
            record.measures.epochs = vec![epoch(0.3), epoch(accuracy)];
            record
        })
        .collect();
    let options = Options { margin: Some(5.0), target: Some(0.55) };
    let report = Report::new(&manifest(&cells), &records, &options);
    let [sgd, decay, longer, sam, sparse] = report.rows.as_slice() else { panic!("{} rows", report.rows.len()) };
    let points = |c: Option<Comparison>| c.map(|c| (1e4 * c.mean).round() as i64);
    assert_eq!((points(sgd.to_sgd), points(decay.to_sgd), points(sgd.to_sam)), (Some(0), None, Some(-500)));
    assert_eq!((points(sam.to_sgd), points(sam.to_sam), points(sam.to_equal_flops)), (Some(500), None, Some(-500)));
    assert_eq!((points(sparse.to_sam), points(sparse.to_equal_flops)), (Some(-10), Some(-510)));
    assert_eq!((points(longer.to_equal_flops), points(decay.to_equal_flops)), (None, None));
    // Both sides of a comparison have one p, and the differences, all equal, are known to a test sample only.
    assert_eq!(decay.to_sam.and_then(|c| c.p_corrected), sam.to_sgd.and_then(|c| c.p_corrected));
    let p = |c: Option<Comparison>| c.and_then(|c| c.p_corrected).expect("p");
    assert_eq!(p(longer.to_sam), p(sam.to_equal_flops));
    assert!(p(sam.to_sgd) > 0.01, "{}", p(sam.to_sgd));
    assert_eq!(sparse.claims.no_loss.map(|t| t.finding), Some(Finding::NotShown));
    // The second epoch reaches it, of one seed of sparse SAM only.
    assert_eq!(sam.seconds_to_target.map(|m| (m.n, m.reached, m.median)), Some((2, 2, Some(4.0))));
    assert_eq!(sparse.seconds_to_target.map(|m| (m.n, m.reached, m.median)), Some((2, 1, None)));
    assert_eq!(sgd.seconds_to_target.map(|m| m.reached), Some(0));
    assert_eq!(Report::new(&manifest(&cells), &records, &Options::default()).target_accuracy, Some(0.5));
    let fronts: Vec<_> = report.rows.iter().map(|r| (r.on_front_of_seconds, r.on_front_of_flops)).collect();
    assert_eq!(fronts[2], (true, true));
    assert_eq!(fronts[4], (false, false));
    assert_eq!(sam.test_accuracy_by_epoch.len(), 2);
    let page = text(&report, "html");
    for expected in [
        "that it loses less than 5 points against SAM is not shown",
        "a gain (+5.00 points",
        "learning curves</h2>",
        "id=\"cells-5\"",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
}

/// Nothing on the page comes from elsewhere, and names cannot become elements of it.
#[test]
fn the_page_is_self_contained_and_escapes_names() {
    let mut report = report();
    report.suite = "</script><script>alert(1)</script>".into();
    let page = text(&report, "html");
    assert_eq!(page.matches("<script").count(), 2);
    // The name of SVG's elements looks like an address.
    let page = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("src="));
}

#[test]
fn an_unsteady_machine_and_disturbed_trainings_are_told() {
    let mut cells = cells();
    let third: Vec<Cell> = cells.iter().filter(|c| c.seed == 1234).map(|c| Cell { seed: 7, ..c.clone() }).collect();
    cells.extend(third);
    let mut records: Vec<Record> = cells.iter().map(|cell| record(cell, Some(0.5), 0.01)).collect();
    let notes = |records: &[Record]| Report::new(&manifest(&cells), records, &Options::default()).notes.join("\n");
    let calm = notes(&records);
    assert!(calm.contains("the reference step took 4.00 ms") && !calm.contains("before trusting"), "{calm}");
    let step = |median| Some(StepSeconds { median, min: median, max: median, n: 9, warmup: 3 });
    // A slower machine explains a slower training.
    (records[0].measures.step_seconds, records[0].reference_step_seconds) = (step(0.02), step(0.008));
    let throttled = notes(&records);
    assert!(throttled.contains("the machine's speed varied") && !throttled.contains("longer per step"), "{throttled}");
    // Another machine is no drift of this one.
    records[0].provenance.machine.cpu = "another CPU".into();
    records[1].provenance.machine.cpu = "another CPU".into();
    records[1].reference_step_seconds = step(0.008);
    let elsewhere = notes(&records);
    assert!(elsewhere.contains("before 2 trainings on another CPU") && !elsewhere.contains("varied"), "{elsewhere}");
    for record in &mut records[..2] {
        record.provenance.machine.cpu = "a CPU".into();
        record.reference_step_seconds = step(0.004);
    }
    let disturbed = notes(&records);
    assert!(disturbed.contains("seed=1234 took over 25% longer per step"), "{disturbed}");
}

/// A stranger's CPU cannot become an element of a page that shows the markdown.
#[test]
fn markdown_is_inert() {
    let mut report = report();
    report.notes.clear();
    report.notes.push("measured on <img src=x onerror=alert(1)>, a < b, </td>".into());
    let markdown = text(&report, "markdown");
    assert!(markdown.contains("measured on &lt;img src=x onerror=alert(1)>, a < b, &lt;/td>"), "{markdown}");
    report.notes.push("![a](http://x) [b][c] [c]: http://y".into());
    let markdown = text(&report, "markdown");
    assert!(markdown.contains(r"![a]\(http://x) [b]\[c] [c]\: http://y"), "{markdown}");
}

/// A field of a stranger's is no formula of a spreadsheet; a negative number stays one.
#[test]
fn csv_has_no_formula() {
    let mut report = report();
    for (start, field) in [("=", "'=1+1"), ("@", "'@1+1"), ("+", "'+1+1"), ("-", "'-1+1")] {
        report.rows[0].cells[0].fingerprint = format!("{start}1+1");
        report.rows[0].cells[0].trace = Some(-2.5);
        let csv = text(&report, "csv");
        let mut reader = ::csv::Reader::from_reader(csv.as_bytes());
        let first = reader.records().next().expect("a row").expect("a row");
        assert!(first.iter().any(|found| found == field) && first.iter().any(|found| found == "-2.5"), "{first:?}");
    }
}

#[test]
fn latex_table() {
    insta::assert_snapshot!(text(&report(), "latex"));
    let mut hostile = report();
    hostile.suite = r"\input{secrets}_%$".into();
    assert!(text(&hostile, "latex").contains(r"\caption{\textbackslash{}input\{secrets\}\_\%\$ smoke"));
}

/// Parquet has the JSON report's values, of the types that a cell has, as the parquet crate reads them back.
#[test]
fn parquet_has_every_cell_with_its_types() {
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::record::Field;
    let report = report();
    let file = render(&report, "parquet", Layout::default());
    assert_eq!(file, render(&report, "parquet", Layout::default()));
    let place = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(place.path(), file).expect("written");
    let reader = SerializedFileReader::try_from(place.path()).expect("parquet");
    let rows: Vec<_> = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row")).collect();
    let cells: Vec<_> = report.rows.iter().flat_map(|row| &row.cells).collect();
    assert_eq!(rows.len(), cells.len());
    for (row, cell) in rows.iter().zip(cells) {
        let serde_json::Value::Object(expected) = serde_json::to_value(cell).expect("JSON") else { panic!() };
        let found: Vec<(&String, &Field)> = row.get_column_iter().collect();
        assert_eq!(found.iter().map(|(name, _)| *name).collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for ((name, found), expected) in found.into_iter().zip(expected.values()) {
            let same = match found {
                Field::Null => expected.is_null(),
                Field::Str(text) => expected == text,
                Field::Bool(flag) => expected == flag,
                Field::ULong(n) => expected.as_u64() == Some(*n),
                Field::Double(x) => expected.as_f64() == Some(*x),
                other => panic!("{name} is {other:?}"),
            };
            assert!(same, "{name}: {found:?}, {expected}");
        }
    }
    let column = |name: &str| rows[0].get_column_iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone());
    assert!(matches!(column("lr"), Some(Field::Double(_))) && matches!(column("seed"), Some(Field::ULong(1234))));
    assert!(
        matches!(column("stand_in"), Some(Field::Bool(true))) && matches!(column("optimizer"), Some(Field::Str(_)))
    );
}

#[test]
fn masks_are_summed_up_over_seeds() {
    let cell = cells().into_iter().find(|c| c.mask().is_some()).expect("a masked cell");
    let refresh = |epoch, live: f64, overlap| MaskRefresh {
        epoch,
        live_fraction: live,
        live_by_tensor: [("conv.weight".to_string(), live), ("fc.weight".to_string(), 1.0)].into(),
        overlap,
        fisher_share: Some(2.0 * live),
    };
    let cells = [1, 2].map(|seed| Cell { seed, ..cell.clone() });
    let records = [0.1, 0.3].map(|live| {
        let mut record = record(&cells[usize::from(live > 0.2)], Some(0.5), 0.01);
        record.measures.mask_refreshes =
            vec![refresh(0, 0.5, None), refresh(1, 0.5, Some(0.6)), refresh(2, live, Some(live))];
        record
    });
    let report = Report::new(&manifest(&cells), &records, &Options::default());
    let masks = report.rows[0].masks.clone().expect("masks");
    assert_eq!(masks.refreshes.median, 3.0);
    // (.6 + .1) / 2 and (.6 + .3) / 2.
    assert_eq!(masks.overlap.map(|s| (s.n, (1e3 * s.mean).round())), Some((2, 400.0)));
    assert_eq!(masks.fisher_share.map(|s| (1e3 * s.mean).round()), Some(400.0));
    assert_eq!(masks.live_by_tensor["conv.weight"], 0.2);
    let page = text(&report, "html");
    assert!(page.contains("<td class=\"heat\" style=\"--live:20.0%\">20.0</td>"));
    assert!(
        Report::new(&manifest(&self::cells()), &[], &Options::default()).rows.iter().all(|row| row.masks.is_none())
    );
}

fn run(name: &str, cells: &[Cell], records: Vec<Record>) -> NamedRun {
    NamedRun { name: name.into(), manifest: manifest(cells), records }
}

/// Seeds added later, a cell that both have and one on which they disagree; times of different machines are in no ratio.
#[test]
fn runs_are_put_together_and_disagreements_told() {
    let cells = cells();
    let (early, late): (Vec<Cell>, Vec<Cell>) = cells.iter().cloned().partition(|c| c.seed == 1234);
    let records = |cells: &[Cell], accuracy| -> Vec<Record> {
        cells.iter().map(|cell| record(cell, Some(accuracy), 0.01)).collect()
    };
    let mut others = records(&late, 0.6);
    for record in &mut others {
        record.provenance.machine.cpu = "another CPU".into();
    }
    let [mut agrees, mut differs] = [record(&early[0], Some(0.5), 0.02), record(&early[1], Some(0.4), 0.02)];
    agrees.provenance.finished_unix = 99;
    differs.measures.fingerprint = "other weights".into();
    others.extend([agrees, differs]);
    let merged = merge(vec![run("A", &early, records(&early, 0.5)), run("B", &cells, others)]).expect("one report");
    assert_eq!((merged.manifest.cells.len(), merged.records.len()), (10, 10));
    insta::assert_snapshot!(merged.notes.join("\n"), @"
    2 runs together: A (5 records), B (7 records)
    cells that several runs have, with the same weights: 1 (counted once, the earlier run's)
    cells on which runs DISAGREE: 1 (the earlier run's record is reported)
    sgd lr=0.05 weight_decay=0.001 epochs=2 seed=1234: 50.00 %, weights fingerprint- in A, 40.00 %, weights other weight in B; on one type of machine, where the same program gives the same bits: do not trust either before you know why
    ");
    let report = Report::new(&merged.manifest, &merged.records, &Options::default());
    let sam = report.rows.iter().find(|r| r.setting.optimizer == "sam").expect("a SAM row");
    assert!(report.is_complete() && sam.test_accuracy_last.is_some_and(|s| s.n == 2));
    // Each seed on a machine of its own, where SGD has it too.
    assert_eq!(sam.step_ratio_to_sgd.map(|m| m.n), Some(2));
    assert!(
        report.rows.iter().all(|row| !row.on_front_of_seconds) && report.rows.iter().any(|row| row.on_front_of_flops)
    );
    assert!(report.notes.iter().any(|note| note.contains("times come from different machines,")));

    // SGD on one machine, SAM on the other.
    let (sgd, sam): (Vec<Cell>, Vec<Cell>) = cells.iter().cloned().partition(|c| c.rho().is_none());
    let mut others = records(&sam, 0.6);
    for record in &mut others {
        record.provenance.threads = 1;
    }
    let merged = merge(vec![run("A", &sgd, records(&sgd, 0.5)), run("B", &sam, others)]).expect("one report");
    let report = Report::new(&merged.manifest, &merged.records, &Options::default());
    let sam = report.rows.iter().find(|r| r.setting.optimizer == "sam").expect("a SAM row");
    assert!(
        sam.to_sgd.is_some_and(|c| c.n == 2) && sam.step_ratio_to_sgd.is_none() && sam.train_ratio_to_sgd.is_none()
    );

    let mut other = run("B", &cells, Vec::new());
    other.manifest.data_sha256 = "other images".into();
    let refused = merge(vec![run("A", &cells, Vec::new()), other]).err().expect("refused").to_string();
    insta::assert_snapshot!(refused, @"A holds cifar10 smoke on photo-patches (sha), B holds cifar10 smoke on photo-patches (other images); only runs of one suite, profile and data set can be reported together: report the others by themselves");
}

/// Of one seed, too, it is seen when the process was stopped for a while.
#[test]
fn a_step_that_took_much_of_a_training_is_told() {
    let cells = cells();
    let mut records: Vec<Record> = cells.iter().map(|cell| record(cell, Some(0.5), 0.01)).collect();
    let notes = |records: &[Record]| Report::new(&manifest(&cells), records, &Options::default()).notes.join("\n");
    records[3].measures.step_seconds = Some(StepSeconds { median: 0.01, min: 0.01, max: 3.0, n: 500, warmup: 3 });
    records[3].measures.train_seconds = 8.0;
    let told = notes(&records);
    assert!(told.contains("took 3.000 s, the median is 0.010 s"), "{told}");
    records[3].measures.train_seconds = 80.0;
    assert!(!notes(&records).contains("took 3.000 s"));
}

/// Ten thousand cells are reported in the time of a blink, not in its square.
#[test]
fn a_large_report_has_every_row() {
    let first = |name| cells().into_iter().find(|c| c.optimizer.name == name).expect("a cell");
    let (sgd, sam) = (first("sgd"), first("sam"));
    let cell = |i: u64| {
        let base = if i % 12 < 6 { &sgd } else { &sam };
        Cell { lr: 1e-4 * (1 + i / 12) as f64, seed: i % 6, ..base.clone() }
    };
    let cells: Vec<Cell> = (0..9_996).map(cell).collect();
    let accuracy = |i: usize| 0.5 + 0.01 * ((i * 7919) % 13) as f64;
    let records: Vec<Record> =
        cells.iter().enumerate().map(|(i, cell)| record(cell, Some(accuracy(i)), 0.01)).collect();
    let new = || Report::new(&manifest(&cells), &records, &Options::default());
    let report = new();
    assert_eq!((report.rows.len(), report.cells_finished), (1666, 9_996));
    assert!(report.rows[3].to_sam.is_some_and(|c| c.n == 6) && report.rows[3].claims.seeds_for_no_loss.is_some());
    assert_eq!(text(&report, "markdown"), text(&new(), "markdown"));
}
