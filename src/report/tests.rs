//! Reports of made-up records, by exact text.

use super::{Format, Report};
use crate::data;
use crate::record::tests::manifest;
use crate::record::{Machine, Measures, Provenance, Record, SCHEMA, Status, StepSeconds};
use crate::suite::{Cell, Suite};

fn cells() -> Vec<Cell> {
    let filter: crate::suite::Filter =
        "optimizer=sgd,optimizer=sam,optimizer=ssam-f,sparsity=0.9".parse().expect("a filter");
    let mut plan = Suite::read("cifar10").and_then(|s| s.plan("smoke", "photo-patches")).expect("the embedded suite");
    plan.cells.retain(|c| c.mask().is_none() || filter.matches(c));
    plan.cells
}

fn record(cell: &Cell, accuracy: Option<f64>, step: f64) -> Record {
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
            epochs: Vec::new(),
            steps: 16,
            parameters: 19_218,
            train_seconds: 16.0 * step,
            mask_seconds: 0.0,
            step_seconds: Some(StepSeconds { median: step, min: step, max: step, n: 13, warmup: 3 }),
            peak_memory_bytes: Some(1 << 27),
            flops_nominal: 1e9 * gradients * cell.epochs as f64,
            flops_theoretical: 0.9e9 * gradients * cell.epochs as f64,
            flops_theoretical_formula: "the formula".into(),
            flops_executed: Some(0.95e9 * gradients * cell.epochs as f64),
            mask_refreshes: Vec::new(),
            gradient_norms: Vec::new(),
            edge: Vec::new(),
            sharpness: Vec::new(),
            fingerprint: format!("fingerprint-{}", cell.seed),
        },
        stand_in: true,
        data: data::Provenance {
            unreadable: Vec::new(),
            name: "photo-patches".into(),
            source: "embedded".into(),
            revision: None,
            files: Vec::new(),
            sha256: "sha".into(),
        },
        provenance: Provenance {
            sharpbench: "0.0.0".into(),
            git_revision: None,
            crates: Default::default(),
            machine: Machine { cpu: "a CPU".into(), features: Vec::new(), cpus: 2, platform: "linux-x86_64".into() },
            threads: 2,
            finished_unix: 0,
        },
    }
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
    Report::new(&manifest(&cells), &records)
}

#[test]
fn terminal_table() {
    insta::assert_snapshot!(report().render(Format::Table), @"
    cifar10 smoke on photo-patches (STAND-IN: not results on the suite's own data set)
    ┌───────────┬──────────────┬────────┬────────────────┬──────────────┬──────────────┬──────────────┬──────────────┬──────────────────┬──────────────────┬──────────────────┬────────────────┐
    │ optimizer │ weight_decay │ epochs │              n │   accuracy % │       best % │       vs SGD │       vs SAM │          ms/step │         step/SGD │        train/SGD │      FLOPs/SGD │
    ├───────────┼──────────────┼────────┼────────────────┼──────────────┼──────────────┼──────────────┼──────────────┼──────────────────┼──────────────────┼──────────────────┼────────────────┤
    │ sgd       │ 0.0005       │ 2      │              2 │ 53.00 ± 4.24 │ 54.00 ± 4.24 │            - │ -3.30 ± 0.42 │ 22.5 (10.0-35.0) │                - │                - │ 1.00/1.00/1.00 │
    │ sgd       │ 0.001        │ 2      │              2 │ 54.10 ± 4.38 │ 55.10 ± 4.38 │ +1.10 ± 0.14 │ -2.20 ± 0.28 │ 27.5 (15.0-40.0) │ 1.32 (1.14-1.50) │ 1.32 (1.14-1.50) │ 1.00/1.00/1.00 │
    │ sgd       │ 0.0005       │ 4      │              2 │ 55.20 ± 4.53 │ 56.20 ± 4.53 │ +2.20 ± 0.28 │ -1.10 ± 0.14 │ 32.5 (20.0-45.0) │ 1.64 (1.29-2.00) │ 1.64 (1.29-2.00) │ 2.00/2.00/2.00 │
    │ sam       │ 0.001        │ 2      │              2 │ 56.30 ± 4.67 │ 57.30 ± 4.67 │ +3.30 ± 0.42 │            - │ 37.5 (25.0-50.0) │ 1.96 (1.43-2.50) │ 1.96 (1.43-2.50) │ 2.00/2.00/2.00 │
    │ ssam-f    │ 0.001        │ 2      │ 1 (1 diverged) │        54.00 │        55.00 │        +4.00 │        +1.00 │             30.0 │             3.00 │             3.00 │ 2.00/2.00/2.00 │
    └───────────┴──────────────┴────────┴────────────────┴──────────────┴──────────────┴──────────────┴──────────────┴──────────────────┴──────────────────┴──────────────────┴────────────────┘
    a part of the profile: 10 of its 18 cells were selected
    resnet8 width 8 (19218 parameters), 256 training and 200 test samples, batch 32
    measured on a CPU, 2 CPUs, 2 threads, linux-x86_64
    sharpbench 0.0.0 (no revision)
    wherever it applies: sparsity 0.9, mask fisher, pattern unstructured, refresh interval, mask_interval 1, fisher_samples 128, fisher_mode clean, rho 0.05, norm full, perturbation explicit, rho_decay constant, batch_norm update, lr 0.05, momentum 0.9, nesterov false
    accuracy: test accuracy after the last epoch, mean ± sample standard deviation over n seeds; best: of any epoch, chosen on the test set
    vs SGD, vs SAM: difference in points to the first SGD and SAM row, paired by seed, mean ± standard deviation; no test of significance
    ms/step: the cells' median steps, mask refreshes excluded; step/SGD, train/SGD: ratios to the first SGD row, paired by seed, of the step and of the whole training (mask refreshes included, evaluation not); median over seeds (range)
    FLOPs/SGD: nominal/theoretical/executed of the whole training; theoretical = (5 + (1 - s)) / 3 x SGD per step: pass-1 dW scaled by mask density, of methods without a mask their own units; executed: counted by the kernels, mask refreshes included
    ");
}

#[test]
fn a_narrow_terminal_gets_a_narrow_table() {
    let text = report().render_within(Format::Table, Some(100));
    let table: Vec<usize> = text.lines().filter(|l| l.contains('│')).map(|l| l.chars().count()).collect();
    assert!(table.iter().all(|width| *width == table[0] && *width <= 100), "{text}");
}

#[test]
fn markdown_table() {
    insta::assert_snapshot!(report().render(Format::Markdown), @"
    ## cifar10 smoke on photo-patches (STAND-IN: not results on the suite's own data set)

    | optimizer | weight_decay | epochs |              n |   accuracy % |       best % |       vs SGD |       vs SAM |          ms/step |         step/SGD |        train/SGD |      FLOPs/SGD |
    |-----------|--------------|--------|----------------|--------------|--------------|--------------|--------------|------------------|------------------|------------------|----------------|
    | sgd       | 0.0005       | 2      |              2 | 53.00 ± 4.24 | 54.00 ± 4.24 |            - | -3.30 ± 0.42 | 22.5 (10.0-35.0) |                - |                - | 1.00/1.00/1.00 |
    | sgd       | 0.001        | 2      |              2 | 54.10 ± 4.38 | 55.10 ± 4.38 | +1.10 ± 0.14 | -2.20 ± 0.28 | 27.5 (15.0-40.0) | 1.32 (1.14-1.50) | 1.32 (1.14-1.50) | 1.00/1.00/1.00 |
    | sgd       | 0.0005       | 4      |              2 | 55.20 ± 4.53 | 56.20 ± 4.53 | +2.20 ± 0.28 | -1.10 ± 0.14 | 32.5 (20.0-45.0) | 1.64 (1.29-2.00) | 1.64 (1.29-2.00) | 2.00/2.00/2.00 |
    | sam       | 0.001        | 2      |              2 | 56.30 ± 4.67 | 57.30 ± 4.67 | +3.30 ± 0.42 |            - | 37.5 (25.0-50.0) | 1.96 (1.43-2.50) | 1.96 (1.43-2.50) | 2.00/2.00/2.00 |
    | ssam-f    | 0.001        | 2      | 1 (1 diverged) |        54.00 |        55.00 |        +4.00 |        +1.00 |             30.0 |             3.00 |             3.00 | 2.00/2.00/2.00 |

    - a part of the profile: 10 of its 18 cells were selected
    - resnet8 width 8 (19218 parameters), 256 training and 200 test samples, batch 32
    - measured on a CPU, 2 CPUs, 2 threads, linux-x86_64
    - sharpbench 0.0.0 (no revision)
    - wherever it applies: sparsity 0.9, mask fisher, pattern unstructured, refresh interval, mask_interval 1, fisher_samples 128, fisher_mode clean, rho 0.05, norm full, perturbation explicit, rho_decay constant, batch_norm update, lr 0.05, momentum 0.9, nesterov false
    - accuracy: test accuracy after the last epoch, mean ± sample standard deviation over n seeds; best: of any epoch, chosen on the test set
    - vs SGD, vs SAM: difference in points to the first SGD and SAM row, paired by seed, mean ± standard deviation; no test of significance
    - ms/step: the cells' median steps, mask refreshes excluded; step/SGD, train/SGD: ratios to the first SGD row, paired by seed, of the step and of the whole training (mask refreshes included, evaluation not); median over seeds (range)
    - FLOPs/SGD: nominal/theoretical/executed of the whole training; theoretical = (5 + (1 - s)) / 3 x SGD per step: pass-1 dW scaled by mask density, of methods without a mask their own units; executed: counted by the kernels, mask refreshes included
    ");
}

#[test]
fn csv_has_a_line_per_cell() {
    insta::assert_snapshot!(report().render(Format::Csv), @"
    suite,profile,data,stand_in,id,optimizer,sparsity,mask,pattern,refresh,mask_interval,fisher_samples,fisher_mode,drop_rate,grow,rho,norm,perturbation,rho_decay,variant,batch_norm,lr,momentum,nesterov,weight_decay,epochs,seed,status,test_accuracy_last,test_accuracy_best,train_seconds,mask_seconds,step_seconds_median,flops_nominal,flops_theoretical,flops_executed,live_fraction,convergence_exponent,eigenvalue_over_edge,eigenvalue_over_gradient_descent_edge,eigenvalue,trace,max_loss_increase,peak_memory_bytes,fingerprint
    cifar10,smoke,photo-patches,true,ec77887c58602b73,sgd,,,,,,,,,,,,,,,,0.05,0.9,false,0.0005,2,1234,completed,0.5,0.51,0.16,0.0,0.01,2000000000.0,1800000000.0,1900000000.0,,,,,,,,134217728,fingerprint-1234
    cifar10,smoke,photo-patches,true,2e4a14624c030515,sgd,,,,,,,,,,,,,,,,0.05,0.9,false,0.0005,2,4321,completed,0.56,0.5700000000000001,0.56,0.0,0.035,2000000000.0,1800000000.0,1900000000.0,,,,,,,,134217728,fingerprint-4321
    cifar10,smoke,photo-patches,true,5cee5e3d7aa0ada9,sgd,,,,,,,,,,,,,,,,0.05,0.9,false,0.001,2,1234,completed,0.51,0.52,0.24,0.0,0.015,2000000000.0,1800000000.0,1900000000.0,,,,,,,,134217728,fingerprint-1234
    cifar10,smoke,photo-patches,true,9fd088587ccae7b1,sgd,,,,,,,,,,,,,,,,0.05,0.9,false,0.001,2,4321,completed,0.5720000000000001,0.5820000000000001,0.64,0.0,0.04,2000000000.0,1800000000.0,1900000000.0,,,,,,,,134217728,fingerprint-4321
    cifar10,smoke,photo-patches,true,1f12f6d77939f8d4,sgd,,,,,,,,,,,,,,,,0.05,0.9,false,0.0005,4,1234,completed,0.52,0.53,0.32,0.0,0.02,4000000000.0,3600000000.0,3800000000.0,,,,,,,,134217728,fingerprint-1234
    cifar10,smoke,photo-patches,true,6275e647af1131a9,sgd,,,,,,,,,,,,,,,,0.05,0.9,false,0.0005,4,4321,completed,0.5840000000000001,0.5940000000000001,0.7200000000000001,0.0,0.045000000000000005,4000000000.0,3600000000.0,3800000000.0,,,,,,,,134217728,fingerprint-4321
    cifar10,smoke,photo-patches,true,a12eded454a8e360,sam,,,,,,,,,,0.05,,,constant,,update,0.05,0.9,false,0.001,2,1234,completed,0.53,0.54,0.4,0.0,0.025,4000000000.0,3600000000.0,3800000000.0,,,,,,,,134217728,fingerprint-1234
    cifar10,smoke,photo-patches,true,a8d800d57b6646a6,sam,,,,,,,,,,0.05,,,constant,,update,0.05,0.9,false,0.001,2,4321,completed,0.596,0.606,0.8,0.0,0.05,4000000000.0,3600000000.0,3800000000.0,,,,,,,,134217728,fingerprint-4321
    cifar10,smoke,photo-patches,true,e3707e24ad6c4426,ssam-f,0.9,fisher,unstructured,interval,1,128,clean,,,0.05,full,explicit,constant,,update,0.05,0.9,false,0.001,2,1234,completed,0.54,0.55,0.48,0.0,0.03,4000000000.0,3600000000.0,3800000000.0,,,,,,,,134217728,fingerprint-1234
    cifar10,smoke,photo-patches,true,dc1feaafa2bac773,ssam-f,0.9,fisher,unstructured,interval,1,128,clean,,,0.05,full,explicit,constant,,update,0.05,0.9,false,0.001,2,4321,diverged,,0.11,0.88,0.0,0.055,4000000000.0,3600000000.0,3800000000.0,,,,,,,,134217728,fingerprint-4321
    ");
}

#[test]
fn json_has_the_documented_keys() {
    let json: serde_json::Value = serde_json::from_str(&report().render(Format::Json)).expect("JSON");
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
    let sgd = &report.rows[0];
    assert!(sgd.difference_to_sgd.is_none() && sgd.difference_to_sam.is_some());
    let sam = report.rows.iter().find(|r| r.setting.optimizer == "sam").expect("a SAM row");
    let difference = sam.difference_to_sgd.expect("two pairs");
    assert_eq!(difference.n, 2);
    assert!(sam.difference_to_sam.is_none());
    assert_eq!(sam.flops_nominal_ratio_to_sgd, Some(2.0));
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
        mask.refresh =
            crate::suite::Refresh::Fisher { interval: 5, samples: 16, mode: crate::suite::cell::FisherMode::Paper };
    }
    let table = Report::new(&manifest(&[base, other]), &[]).render(Format::Table);
    let header = table.lines().nth(2).expect("a header");
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
    let report = Report::new(&manifest(&cells), &records);
    assert!(!report.is_complete());
    assert_eq!(report.cells_finished, 1);
    assert!(report.render(Format::Table).contains("INCOMPLETE: 1 of 10 cells"), "{}", report.render(Format::Table));
    assert_eq!(report.rows[0].test_accuracy_last.map(|s| (s.n, s.sd)), Some((1, None)));
}
