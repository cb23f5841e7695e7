//! Trainings measured at their edge of stability.

use predicates::prelude::*;
use sharpbench::record::{Measures, Status};
use sharpbench::suite::{Cell, Suite};

use crate::support::{Place, error, trained};

/// The cells of an embedded suite whose data the program holds.
fn cells(suite: &str, profile: &str) -> Vec<Cell> {
    let suite = Suite::read(suite).expect("a suite");
    let data = suite.data(profile).expect("a data set");
    suite.plan(profile, &data.name).expect("a plan").cells
}

fn measured(cell: &Cell) -> Measures {
    let trained = trained(cell);
    assert_eq!(trained.status, Status::Completed);
    trained.measures
}

/// On diag(10, 4, 1): gradient descent converges; SAM ends in its cycle of two steps, where its edge is the curvature. Both are
/// gone above 2 / eta.
#[test]
fn a_quadratic_ends_where_theory_says() {
    for cell in cells("edge-quadratic", "quick") {
        let trained = trained(&cell);
        if cell.lr > 0.2 {
            assert!(matches!(trained.status, Status::Diverged { .. }), "{}", cell.label());
            continue;
        }
        let m = &trained.measures;
        let first = m.edge[0];
        assert_eq!((m.edge.len(), first.step, m.steps), (60, 0, 600));
        // w = (1, 1, 1): g = (10, 4, 1), loss 15 / 2, and 1 / 4 of the flat class.
        assert!((first.loss - 7.75).abs() < 1e-5 && (first.gradient_norm - 117f64.sqrt()).abs() < 1e-4);
        for check in &m.edge {
            assert!(check.converged && (check.eigenvalue - 10.0).abs() < 2e-3, "{check:?}");
            assert_eq!(check.gradient_descent_edge, 40.0);
        }
        assert_eq!(trained.weights[0], 1.0);
        let last = m.edge.last().expect("checks");
        let weights = &trained.weights[1..];
        if cell.optimizer.name == "sgd" {
            assert!(weights.iter().all(|w| w.abs() < 1e-6), "{weights:?}");
            assert_eq!(last.edge, 40.0);
        } else {
            assert!((weights[0].abs() - 1.0 / 15.0).abs() < 1e-6, "{weights:?}");
            assert!(weights[1..].iter().all(|w| w.abs() < 1e-6), "{weights:?}");
            assert!((last.edge - 10.0).abs() < 1e-3 && first.edge > 25.0, "{} {}", first.edge, last.edge);
            assert!(last.alignment > 0.999 && last.ascent_alignment > Some(0.999), "{last:?}");
        }
    }
}

/// Measurements change no bit of a training: neither weights nor BatchNorm's statistics nor executed FLOPs.
#[test]
fn measuring_leaves_a_training_as_it_is() {
    let suite = Suite::read("cifar10").and_then(|s| s.plan("smoke", "photo-patches")).expect("a plan");
    let mut plain = suite.cells.into_iter().find(|c| c.optimizer.name == "sam").expect("SAM");
    (plain.data.train, plain.data.test, plain.batch_size, plain.epochs) = (40, 20, 10, 2);
    plain.model = serde_json::from_str(r#"{"name": "resnet8", "width": 4}"#).expect("a specification");
    let mut probed = plain.clone();
    let measure = r#"{"edge": 3, "sharpness": 1, "sharpness_samples": 10, "eigenvalues": 3, "density": true, "by_layer": true, "frozen": ["fc"]}"#;
    probed.measure = serde_json::from_str(measure).expect("settings");
    let (plain, probed) = (trained(&plain), trained(&probed));
    assert_eq!(plain.weights, probed.weights);
    assert_eq!(plain.running, probed.running);
    let (a, b) = (&plain.measures, &probed.measures);
    assert_eq!((a.flops_executed, &a.fingerprint), (b.flops_executed, &b.fingerprint));
    assert!(a.edge.is_empty() && a.sharpness.is_empty());
    assert_eq!(b.edge.iter().map(|c| c.step).collect::<Vec<_>>(), [0, 3, 6]);
    assert_eq!(b.sharpness.iter().map(|c| (c.epoch, c.samples)).collect::<Vec<_>>(), [(0, 10), (1, 10)]);
    let last = &b.sharpness[1];
    assert!(last.max_loss_increase > 0.0 && last.rho == 0.05 && last.products > 0 && last.difference > 0.0);
    let magnitudes =
        std::iter::once(last.eigenvalue).chain(last.next_eigenvalues.iter().map(|(l, _)| *l)).map(f64::abs);
    assert!(last.next_eigenvalues.len() == 2 && magnitudes.is_sorted_by(|a, b| a >= b), "{:?}", last.next_eigenvalues);
    assert!((last.density.iter().map(|(_, weight)| weight).sum::<f64>() - 1.0).abs() < 1e-9);
    // A block's eigenvalue is no larger than the whole's, in which fc takes no part.
    assert!(last.by_layer.len() > 5 && last.by_layer.contains_key("conv1") && !last.by_layer.contains_key("fc"));
    assert!(last.by_layer.iter().all(|(_, l)| l.abs() <= 1.05 * last.eigenvalue.abs()), "{last:?}");
    let text = serde_json::to_string(b).expect("JSON");
    let read: Measures = serde_json::from_str(&text).expect("measures");
    // Every number comes back as it was.
    assert_eq!(&read, b);
}

/// A full batch is taken in parts of 512: nothing depends on how many there are but for rounding.
#[test]
fn full_batches_in_parts_are_the_whole() {
    let mut cell = cells("edge-mnist", "smoke").into_iter().find(|c| c.rho().is_some()).expect("SAM");
    cell.data.train = 700;
    let part = |batch_size, full_batch_steps| {
        let epochs = if full_batch_steps == Some(4) { 1 } else { 4 };
        measured(&Cell { batch_size, full_batch_steps, epochs, ..cell.clone() })
    };
    let (parts, whole) = (part(700, Some(4)), part(700, None));
    assert_eq!((parts.steps, whole.steps), (4, 4));
    assert_eq!(parts.edge.len(), 1);
    let losses = |m: &Measures| m.epochs.last().map(|e| e.test_loss.expect("a loss")).expect("an epoch");
    assert!((losses(&parts) / losses(&whole) - 1.0).abs() < 1e-5, "{} {}", losses(&parts), losses(&whole));
    assert_eq!(parts.flops_executed, whole.flops_executed);
    let [a, b] = [&parts, &whole].map(|m| m.edge[0]);
    assert!((a.gradient_norm / b.gradient_norm - 1.0).abs() < 1e-4, "{a:?} {b:?}");
    assert!((a.eigenvalue / b.eigenvalue - 1.0).abs() < 0.02, "{a:?} {b:?}");
}

/// The smoke suites train, and each row has its checks; the report has the columns and the figures their files.
#[test]
fn edge_suites_are_reported_and_drawn() {
    let place = Place::new();
    let run = "suite edge-cifar10 --profile smoke --data stand-in --out run";
    let out = place.sharpbench(run).assert().success().stdout(predicate::str::contains("H/(2/eta)"));
    assert!(String::from_utf8_lossy(&out.get_output().stdout).contains("aligned %"));
    place.sharpbench("report run --figures figures").assert().success();
    for name in ["edge", "edge-own", "alignment", "loss"] {
        let svg = std::fs::read_to_string(place.path(&format!("figures/{name}.svg"))).expect("an SVG");
        assert!(svg.starts_with("<svg") && svg.contains("ssam") && svg.contains("step"), "{name}");
        let picture = image::open(place.path(&format!("figures/{name}.png"))).expect("a PNG").to_rgb8();
        // Three cells in two columns and two rows, at twice the SVG's pixels, and something was drawn.
        let [width, height] = [2 * (360 + 14) + 14, 2 * (230 + 14)].map(|pixels| 2 * pixels);
        assert!(
            picture.width() >= width && (height..height + 200).contains(&picture.height()),
            "{:?}",
            picture.dimensions()
        );
        assert!(picture.pixels().filter(|p| p.0[0] < 100).count() > 2000, "{name}");
    }
    let series = std::fs::read_to_string(place.path("figures/edge.csv")).expect("a table");
    // Checks before steps 0, 10, 20 and 30 of each of three cells.
    assert_eq!(series.lines().count(), 1 + 3 * 4);
    assert!(series.starts_with("id,cell,step,loss,gradient_norm,eigenvalue,residual,products,converged"));
}

#[test]
fn there_is_nothing_to_draw_without_records() {
    let place = Place::new();
    place.sharpbench("suite tiny.toml --data stand-in --out run --quiet").assert().success();
    place.sharpbench("report run --figures figures").assert().success();
    assert!(place.path("figures/flops.svg").is_file() && !place.path("figures/edge.csv").exists());
    std::fs::remove_dir_all(place.path("run/cells")).expect("removed");
    let output = place.sharpbench("report run --figures none").assert().code(2).get_output().clone();
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr), @"error: there is nothing to draw: no cell has finished; train the run first");
    assert!(!place.path("none").exists());
}

/// What cannot be measured is refused with the remedy.
#[test]
fn settings_without_an_edge_are_refused() {
    let refused = |from: &str, to: &str| {
        let place = Place::new();
        let text = sharpbench::suite::embedded_text("edge-quadratic").expect("a suite");
        assert!(text.contains(from), "{from}");
        std::fs::write(place.path("edge.toml"), text.replacen(from, to, 1)).expect("written");
        error(place.sharpbench("suite edge.toml --data stand-in"))
    };
    insta::assert_snapshot!(refused("momentum = 0.0", "momentum = 0.9"), @"error: suite edge.toml: profile quick: grid[0].momentum = 0.9 shifts the edge that measure.edge compares with; set momentum = 0");
    insta::assert_snapshot!(refused("optimizer = \"sam\"", "optimizer = \"asam\""), @"error: suite edge.toml: profile quick: grid[1].measure.edge does not support asam; use sgd, sam or sparse SAM");
    insta::assert_snapshot!(refused("edge = 10", "edge = 0"), @"error: suite edge.toml: profile quick: measure.edge = 0 must be from 1 to 1000000");
    insta::assert_snapshot!(refused("edge = 10", "edge = 10, density = true"), @r#"error: suite edge.toml: profile quick: measure.density requires measure.sharpness; add sharpness = "last" or remove it"#);
    insta::assert_snapshot!(refused("edge = 10", "edge = 10, sharpness = \"first\""), @r#"
    error: suite edge.toml: TOML parse error at line 13, column 36
       |
    13 | measure = { edge = 10, sharpness = "first" }
       |                                    ^^^^^^^
    invalid value: string "first", expected "last" or a number of epochs
    "#);
    insta::assert_snapshot!(refused("edge = 10", "edge = 10, frozen = [\"fc\"]"), @"error: suite edge.toml: profile quick: measure.frozen names \"fc\", but no parameter starts with it; the parameters are weight");
    insta::assert_snapshot!(refused("full_batch_steps = 100", "full_batch_steps = 100\nbatch_size = 1"), @"error: suite edge.toml: profile quick: schedule.batch_size and schedule.full_batch_steps are mutually exclusive; remove one");
    insta::assert_snapshot!(refused("curvatures = [10.0, 4.0, 1.0]", "curvatures = [10.0, 4.0]"), @"error: suite edge.toml: profile quick: model quadratic requires one class more than curvatures (3), the data have 4; give 3 curvatures, or set data.classes");
    insta::assert_snapshot!(refused("name = \"quadratic\", curvatures = [10.0, 4.0, 1.0]", "name = \"resnet8\""), @"error: suite edge.toml: profile quick: schedule.full_batch_steps requires a model that processes samples independently, but resnet8 has BatchNorm; use schedule.batch_size");
}
