//! Properties of the training step and of whole cells, on tiny images.

use candle_core::{Device, Tensor};
use sharpbench::Registry;
use sharpbench::compute::Compute;
use sharpbench::data::augment::Augment;
use sharpbench::data::loader::Batch;
use sharpbench::data::{DataSet, Images, Input, LabelNoise, NoiseKind, Normalise, Provenance};
use sharpbench::mask::{FisherMode, Mask, MaskScore, Pattern, RefreshName, Score, When, dynamic_keep};
use sharpbench::model::{self, MODELS, Model, ModelSpec, Task};
use sharpbench::nn::{
    BackwardPlan, BatchNormMode, Objective, ParamLayout, Pass, RunningStats, Weights, from_safetensors, to_safetensors,
};
use sharpbench::optim::{
    ActiveMask, BaseSpec, BaseStep, Context, Decay, Method, Norm, Perturbation, Plain, RhoDecay, Sam, Sgd,
    TrainingShape,
};
use sharpbench::random::{Stream, below, stream, unit};
use sharpbench::record::{MaskRefresh, Measures, Status, fingerprint};
use sharpbench::suite::{Cell, Suite, one_optimizer};
use sharpbench::train::{Checkpoint, KeepNothing, Keeper, Optimizer, Setup, Trained, Trainer, train, train_from};

use crate::support::Silent;

const SHAPE: [usize; 3] = [3, 8, 8];
const SGD: BaseStep = BaseStep::Sgd(Sgd { momentum: 0.9, nesterov: false, weight_decay: 5e-4 });

/// A small one of every model, and what it reads.
fn build(name: &str) -> (Box<dyn Model>, Input) {
    let (image, text) = (Input::Image(SHAPE), Input::Tokens { length: 6, vocabulary: 128 });
    let (spec, input) = match name {
        "mlp" | "edge-mlp" => (serde_json::json!({"name": name, "hidden": [16]}), image),
        "wideresnet" => (serde_json::json!({"name": name, "depth": 10, "width": 1}), image),
        "vgg11-bn" => {
            (serde_json::json!({"name": name, "width": 4, "hidden": [16], "dropout": 0.1}), Input::Image([3, 32, 32]))
        }
        "vit" => (serde_json::json!({"name": name, "width": 16, "depth": 1, "heads": 2}), image),
        "transformer" => (serde_json::json!({"name": name, "width": 16, "depth": 1, "heads": 2}), text),
        "quadratic" => (serde_json::json!({"name": name, "curvatures": [9, 8, 7, 6, 5, 4, 3, 2, 1]}), image),
        _ => (serde_json::json!({"name": name, "width": 4}), image),
    };
    let spec: ModelSpec = serde_json::from_value(spec).expect("a specification");
    let classes = if input == text { 128 } else { 10 };
    (model::build(&spec, Task { input, classes }).expect("a model"), input)
}

fn batch(seed: u64, input: Input) -> Batch {
    let rng = &mut stream(seed, Stream::Augment(0));
    let dropout = Some(stream(seed, Stream::Dropout(0, 0)));
    match input {
        Input::Image([channels, height, width]) => {
            let n = 16 * channels * height * width;
            let pixels: Vec<f32> = (0..n).map(|_| 2.0 * unit(rng) - 1.0).collect();
            let labels = (0..16).map(|_| below(rng, 10) as u32).collect();
            let input = Tensor::from_vec(pixels, (16, channels, height, width), &Device::Cpu).expect("a tensor");
            Batch { input, labels, dropout }
        }
        Input::Tokens { length, vocabulary } => {
            let tokens = |rng: &mut _| (0..16 * length).map(|_| below(rng, vocabulary) as u32).collect::<Vec<u32>>();
            let input = Tensor::from_vec(tokens(rng), (16, length), &Device::Cpu).expect("a tensor");
            Batch { input, labels: tokens(rng), dropout }
        }
    }
}

fn optimizer(method: impl Method + 'static) -> Optimizer {
    Optimizer { method: Box::new(method), base: SGD, second: BatchNormMode::Update }
}

/// Weights after five steps.
fn trained(
    built: &(Box<dyn Model>, Input),
    optimizer: Optimizer,
    mask: Option<(&Mask, Option<&BackwardPlan>)>,
) -> Vec<f32> {
    trained_whole(built, optimizer, mask).0
}

/// Repeats it with running statistics.
fn trained_whole(
    (model, input): &(Box<dyn Model>, Input),
    optimizer: Optimizer,
    mask: Option<(&Mask, Option<&BackwardPlan>)>,
) -> (Vec<f32>, RunningStats) {
    let model = model.as_ref();
    let weights = model.layout().init(7);
    let mut trainer = Trainer::new(model, optimizer, weights, RunningStats::new(model.layout()));
    for k in 0..5 {
        let mask = mask.map(|(mask, plan)| ActiveMask { mask, plan });
        let mut context = Context { mask, ..Context::new(k as usize, 5) };
        trainer.step(&batch(k, *input), 0.05, &mut context).expect("a step");
    }
    trainer.into_parts()
}

/// Identities of the methods, bit for bit: rho = 0 makes SAM SGD; a full mask (s = 0) makes sparse SAM SAM, with
/// one constant in the denominator; an empty mask makes it SGD.
#[test]
fn limits_are_identities() {
    for name in MODELS.iter().map(|entry| entry.name) {
        let built = build(name);
        let n = built.0.layout().len();
        let plain = trained(&built, optimizer(Plain), None);
        let sharp = trained(&built, optimizer(Sam::new(0.1)), None);
        assert_ne!(plain, sharp, "{name}: SAM must differ from SGD");
        assert_eq!(trained(&built, optimizer(Sam::new(0.0)), None), plain, "{name}: rho = 0");
        for norm in [Norm::Full, Norm::Masked] {
            let sparse = || {
                let mut sam = Sam::new(0.1);
                sam.norm = norm;
                optimizer(sam)
            };
            for (mask, expected) in [(Mask::full(n), &sharp), (Mask::empty(n), &plain)] {
                let plan = BackwardPlan::of_scalars(built.0.layout(), mask.flags());
                let found = trained(&built, sparse(), Some((&mask, Some(&plan))));
                assert_eq!(found, *expected, "{name}: {norm:?}, {} live", mask.live_count());
            }
        }
        let mut implicit = Sam::new(0.1);
        implicit.perturbation = Perturbation::Implicit;
        let full = Mask::full(n);
        assert_eq!(trained(&built, optimizer(implicit), Some((&full, None))), sharp, "{name}: implicit, s = 0");
    }
}

/// The policy of the second pass changes running statistics, never the weights.
#[test]
fn batch_norm_policy_does_not_touch_the_weights() {
    let built = build("resnet8");
    let freeze = Optimizer { second: BatchNormMode::Freeze, ..optimizer(Sam::new(0.1)) };
    assert_eq!(trained(&built, freeze, None), trained(&built, optimizer(Sam::new(0.1)), None));
}

/// What a plan leaves out changes nothing: the first pass owes live gradients alone, the second takes over what they have in
/// common, and the training is that of the dense computation followed by masking. Bit for bit where whole tensors are live or dead; where single output channels are,
/// their sums are taken in another order.
#[test]
fn a_sparse_first_pass_equals_the_dense_one() {
    for name in MODELS.iter().map(|entry| entry.name) {
        let built = build(name);
        let layout = built.0.layout();
        for (pattern, norm) in [
            (Pattern::Tensor, Norm::Masked),
            (Pattern::Tensor, Norm::Lagged),
            (Pattern::Channel, Norm::Masked),
            (Pattern::Unstructured, Norm::Masked),
        ] {
            for seed in 0..4 {
                let keep = layout.len() * (1 + 2 * seed as usize) / 10;
                let mask = pattern.choose(layout, keep, None, &mut stream(seed, Stream::InitialMask));
                let plan = BackwardPlan::of_scalars(layout, mask.flags());
                let run = |plan| {
                    let sam = Sam::sparse(0.1, norm, Perturbation::Explicit);
                    trained_whole(&built, optimizer(sam), Some((&mask, plan)))
                };
                let ((dense, statistics), (sparse, found)) = (run(None), run(Some(&plan)));
                if pattern == Pattern::Channel {
                    let scale = dense.iter().fold(0f32, |m, w| m.max(w.abs()));
                    let error = dense.iter().zip(&sparse).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
                    assert!(error <= 2e-5 * scale, "{name}: {error} of {scale} after five steps");
                } else {
                    assert_eq!(sparse, dense, "{name}: {pattern} {norm:?}");
                    assert!(found == statistics, "{name}: {pattern} {norm:?}");
                }
            }
        }
    }
}

#[test]
fn every_model_trains_a_step_and_is_documented() {
    for entry in MODELS {
        assert!(!entry.about.is_empty());
        let (model, input) = build(entry.name);
        let layout = model.layout();
        let mut trainer = Trainer::new(&*model, optimizer(Plain), layout.init(1), RunningStats::new(layout));
        let losses: Vec<f64> =
            (0..8).map(|k| trainer.step(&batch(1, input), 0.05, &mut Context::new(k, 8)).expect("a step")).collect();
        assert!(losses[7] < losses[0], "{}: {losses:?}", entry.name);
        let specs = model.layout().specs();
        assert!(specs.windows(2).all(|pair| pair[0].name < pair[1].name), "{}: name order", entry.name);
        assert!(model.forward_macs() > 0);
        // What a specification leaves open is filled in, and what is filled in builds the same model.
        let task = Task { input, classes: if matches!(input, Input::Image(_)) { 10 } else { 128 } };
        let again = model::build(&model.spec(), task).expect("a complete specification");
        assert_eq!((again.spec(), again.layout().len()), (model.spec(), model.layout().len()));
    }
}

/// Ten classes of noisy stripes: easy, but not for an untrained network.
fn stripes(n: usize, name: &str) -> Images {
    let rng = &mut stream(9, Stream::Init(name));
    let labels: Vec<u8> = (0..n).map(|i| (i % 10) as u8).collect();
    let pixels = labels.iter().flat_map(|label| {
        let label = *label as usize;
        (0..3 * 64).map(|i| if i % 64 % 10 == label { 200 } else { 60 } + below(rng, 50) as u8).collect::<Vec<u8>>()
    });
    Images { pixels: pixels.collect(), labels, shape: SHAPE }
}

fn stripe_set() -> DataSet {
    stripes_of(160)
}

fn stripes_of(train: usize) -> DataSet {
    let normalise = Normalise { mean: [0.3; 3], std: [0.2; 3] };
    let provenance = Provenance::made("stripes", "synthetic", Vec::new());
    DataSet::of_images([stripes(train, "train"), stripes(50, "test")], 10, normalise, provenance)
}

fn setup<'a>(compute: &'a Compute, registry: &'a Registry) -> Setup<'a> {
    Setup { compute, registry }
}

fn names() -> Vec<&'static str> {
    Registry::standard().optimizers().iter().map(|entry| entry.name).collect()
}

/// A cell of an embedded suite with this optimizer, made tiny.
fn cell(name: &str) -> Cell {
    let cells = ["cifar10", "variants"].iter().flat_map(|suite| {
        Suite::read(suite).and_then(|s| s.plan("smoke", "cifar10")).expect("an embedded suite").cells
    });
    let mut cell = { cells }.find(|c| c.optimizer.name == name).expect("every optimizer is in a suite");
    cell.data.train = 160;
    cell.batch_size = 16;
    cell.epochs = 4;
    cell.lr = if cell.optimizer.base == BaseSpec::Sgd { 0.05 } else { 0.005 };
    cell.augment = Augment::default();
    cell.model = serde_json::from_value(serde_json::json!({"name": "resnet8", "width": 4})).expect("a specification");
    if let Some(ascent) = &mut cell.optimizer.ascent {
        ascent.rho = 0.05;
        if let Some(When::Interval { epochs }) = ascent.mask.as_mut().map(|m| &mut m.refresh.when) {
            *epochs = 1;
        }
        let own = ascent.variant.iter_mut().flat_map(|variant| &mut variant.settings);
        own.filter(|(key, _)| key == "shard").for_each(|(_, shard)| *shard = 8.into());
    }
    cell
}

fn measures(cell: &Cell, threads: usize) -> (Status, Measures) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
    let trained = pool.install(|| train(cell, &stripe_set(), &mut Silent)).expect("a training");
    (trained.status, trained.measures)
}

#[test]
fn every_optimizer_learns_and_is_documented() {
    for name in names() {
        assert!(Registry::standard().optimizer(name).is_ok_and(|entry| !entry.about.is_empty()));
        let (status, m) = measures(&cell(name), 2);
        assert_eq!(status, Status::Completed);
        assert!(m.test_accuracy_last > Some(0.5), "{name}: {:?}", m.test_accuracy_last);
        assert_eq!(m.steps, 40);
        assert_eq!(m.epochs.len(), 4);
    }
}

#[test]
fn a_cell_has_the_same_bits_with_any_number_of_threads() {
    for name in names() {
        let cell = cell(name);
        let (_, one) = measures(&cell, 1);
        for threads in [1, 2, 3] {
            let (_, again) = measures(&cell, threads);
            assert_eq!(again.fingerprint, one.fingerprint, "{name} with {threads} threads");
            let losses = |m: &Measures| m.epochs.iter().map(|e| (e.train_loss, e.test_loss)).collect::<Vec<_>>();
            assert_eq!(losses(&again), losses(&one));
        }
    }
}

#[test]
fn seeds_and_optimizers_share_what_they_should() {
    let first = measures(&cell("sgd"), 2).1;
    let mut other = cell("sgd");
    other.seed += 1;
    assert_ne!(measures(&other, 2).1.fingerprint, first.fingerprint);
    // SAM with rho = 0 sees the same weights and the same batches, so it is the same training.
    let mut sam = cell("sam");
    sam.optimizer.weight_decay = cell("sgd").optimizer.weight_decay;
    sam.optimizer.ascent.as_mut().expect("an ascent step").rho = 0.0;
    assert_eq!(measures(&sam, 2).1.fingerprint, first.fingerprint);
}

#[test]
fn masks_live_as_the_methods_say() {
    let fisher = measures(&cell("ssam-f"), 2).1;
    assert_eq!(fisher.mask_refreshes.len(), 4, "one refresh an epoch");
    let dynamic = measures(&cell("ssam-d"), 2).1;
    assert_eq!(dynamic.mask_refreshes.len(), 4);
    for (m, c) in [(&fisher, cell("ssam-f")), (&dynamic, cell("ssam-d"))] {
        let density = 1.0 - c.sparsity().expect("a sparsity");
        let n = m.parameters as f64;
        assert!(
            m.mask_refreshes.iter().all(|r| (r.live_fraction - density).abs() <= 5.0 / n),
            "{:?}",
            m.mask_refreshes
        );
    }
}

/// The training that entries of masks are checked for.
fn shape(layout: &ParamLayout) -> TrainingShape<'_> {
    TrainingShape { epochs: 2, batch_size: 16, last_batch: 16, train: 160, layout }
}

/// Every score, pattern and refresh that a suite may combine trains, keeps its count and notes what its mask is like.
#[test]
fn every_mask_trains_and_is_described() {
    let (model, _) = build("resnet8");
    let layout = model.layout();
    let entry = |keys: &str| {
        let grid = toml::from_str(&format!("optimizer = \"ssam\"\nrho = 0.05\n{keys}")).expect("an entry");
        one_optimizer(&grid, shape(layout), &Registry::standard())
    };
    let registry = Registry::standard();
    let masks = registry.optimizer("ssam").expect("sparse SAM").masks.expect("it has masks");
    for pattern in Pattern::EXAMPLES {
        let fixed = pattern.fixed_sparsity().is_some();
        for score in masks.scores {
            let by_fisher = *score == MaskScore::Fisher;
            for refresh in masks.refreshes {
                let word = serde_json::to_string(refresh).expect("a word");
                let sparsity = if fixed { "" } else { "sparsity = 0.8\n" };
                let keys = format!(
                    "{sparsity}pattern = \"{pattern}\"\nmask = \"{score}\"\nrefresh = {word}\nnorm = \"masked\""
                );
                // Fisher's score is not dynamic, nor are groups.
                let is_refused = *refresh == RefreshName::Dynamic && (by_fisher || fixed);
                let entry = entry(&keys);
                assert_eq!(entry.is_err(), is_refused, "{keys}");
                let Ok(optimizer) = entry else { continue };
                let mut cell = cell("ssam-f");
                cell.epochs = 2;
                cell.optimizer = optimizer;
                let (status, m) = measures(&cell, 2);
                let is_static = *refresh == RefreshName::Static;
                assert_eq!(status, Status::Completed, "{keys}");
                assert_eq!(m.mask_refreshes.len(), if is_static { 1 } else { 2 }, "{keys}");
                let last = m.mask_refreshes.last().expect("a refresh");
                let by_size: f64 = live_by_size(&cell, last);
                assert!((by_size - last.live_fraction).abs() < 1e-9, "{keys}");
                assert_eq!(last.fisher_share.is_some(), by_fisher, "{keys}");
                assert_eq!(last.overlap.is_some(), !is_static, "{keys}");
                assert!((0.1..=0.9).contains(&last.live_fraction), "{keys}: {}", last.live_fraction);
            }
        }
    }
}

/// A cell of sparse SAM whose mask has a budget, and is chosen by weights, which cost nothing to read.
fn budgeted(budget: f64) -> Cell {
    let grid = format!("optimizer = \"ssam\"\nrho = 0.05\npattern = \"tensor\"\nmask = \"weight\"\nbudget = {budget}");
    let (model, _) = build("resnet8");
    let entry = toml::from_str(&grid).expect("an entry");
    let optimizer = one_optimizer(&entry, shape(model.layout()), &Registry::standard()).expect("an optimizer");
    Cell { optimizer, ..cell("ssam") }
}

#[test]
fn what_the_kernels_execute_keeps_a_budget_and_uses_it() {
    let executed = |cell: &Cell| measures(cell, 2).1.flops_executed.expect("a count");
    let plain = executed(&cell("sgd"));
    let mut before = 1.0;
    for budget in [1.1, 1.3, 1.6] {
        let ratio = executed(&budgeted(budget)) / plain;
        assert!(ratio > before && ratio <= budget, "{budget}: {ratio}");
        before = ratio;
    }
    let too_small = budgeted(1.0 + 1e-6);
    let error = train(&too_small, &stripe_set(), &mut Silent).err().expect("nothing fits").to_string();
    assert!(error.contains("the cheapest tensor"), "{error}");
}

/// With label noise in the training labels.
fn noisy(mut cell: Cell) -> Cell {
    cell.data.label_noise = Some(LabelNoise { p: 0.5, kind: NoiseKind::Pairflip });
    cell
}

#[test]
fn optimizers_of_a_seed_see_the_same_wrong_labels() {
    let measured = |cell: Cell| measures(&noisy(cell), 2).1;
    let [sgd, sam] = ["sgd", "sam"].map(|name| measured(cell(name)));
    assert_eq!(sgd.labels_changed, sam.labels_changed);
    assert!(sgd.labels_changed.is_some_and(|changed| (60..100).contains(&changed)), "{:?}", sgd.labels_changed);
    assert_eq!(measures(&cell("sgd"), 2).1.labels_changed, None);
    let clean = measures(&cell("sgd"), 2).1;
    assert_ne!(sgd.fingerprint, clean.fingerprint);
    let others = [77, 78, 79].map(|seed| measured(Cell { seed, ..cell("sgd") }).labels_changed);
    assert!(others.iter().any(|changed| *changed != sgd.labels_changed), "{others:?}");
}

/// The training loss has smoothed labels, the test loss has not. The learning rate leaves the weights as they are.
#[test]
fn labels_are_smoothed_in_training_alone() {
    let measured = |label_smoothing| {
        let objective = Objective::CrossEntropy { label_smoothing };
        measures(&Cell { lr: 1e-30, objective, ..cell("sgd") }, 2).1
    };
    let [plain, smoothed] = [0.0, 0.4].map(measured);
    let last = |m: &Measures| m.epochs.last().map(|epoch| (epoch.train_loss, epoch.test_loss)).expect("an epoch");
    let ((plain_loss, test), (loss, test_of_smoothed)) = (last(&plain), last(&smoothed));
    assert_eq!(test, test_of_smoothed);
    assert_ne!(plain_loss, loss);

    let cell = Cell { objective: Objective::CrossEntropy { label_smoothing: 0.4 }, ..cell("sgd") };
    let json = serde_json::to_value(&cell).expect("JSON");
    assert_eq!(json["objective"], serde_json::json!({"cross-entropy": {"label_smoothing": 0.4}}));
    assert_eq!(serde_json::from_value::<Cell>(json.clone()).expect("a cell"), cell);
    for wrong in ["1.4", "-0.5"] {
        let text = serde_json::to_string(&json).expect("JSON").replace("0.4", wrong);
        let error = serde_json::from_str::<Cell>(&text).expect_err("no share").to_string();
        assert!(error.contains(&format!("label smoothing of {wrong}")), "{error}");
    }
}

/// A refresh by the gradient has the whole of it, also where the first pass otherwise computes live gradients alone: the first
/// refresh, from an empty mask, is that of the full norm.
#[test]
fn a_refresh_by_the_gradient_sees_all_of_it() {
    let (model, _) = build("resnet8");
    let first = |norm: &str| {
        let grid = format!(
            "optimizer = \"ssam\"\nrho = 0.05\nsparsity = 0.5\npattern = \"tensor\"\nmask = \"gradient\"\nnorm = \"{norm}\""
        );
        let grid = toml::from_str(&grid).expect("an entry");
        let mut cell = cell("ssam-f");
        cell.optimizer = one_optimizer(&grid, shape(model.layout()), &Registry::standard()).expect("an optimizer");
        let refreshes = measures(&cell, 2).1.mask_refreshes;
        assert!(refreshes[1].overlap.is_some_and(|overlap| overlap > 0.0));
        refreshes[0].live_by_tensor.clone()
    };
    let full = first("full");
    assert!(full.values().any(|live| *live == 1.0) && full.values().any(|live| *live == 0.0));
    assert_eq!(first("masked"), full);
    assert_eq!(first("lagged"), full);
}

/// Every so many steps, once; the first is the gradient of all samples at the initial weights. A training that diverges keeps
/// what was finite, so that its record can be read.
#[test]
fn gradient_norms_are_measured_on_the_way() {
    let mut cell = cell("sgd");
    cell.model = serde_json::from_value(serde_json::json!({"name": "mlp", "hidden": [8]})).expect("a specification");
    cell.measure.gradient_norm = Some(5);
    let found = measures(&cell, 2).1;
    assert_eq!(found.gradient_norms.iter().map(|g| g.step).collect::<Vec<_>>(), [0, 5, 10, 15, 20, 25, 30, 35]);
    let data = stripe_set();
    let model = model::build(&cell.model, Task { input: Input::Image(SHAPE), classes: 10 }).expect("a model");
    let weights = model.layout().init(cell.seed);
    let batch = data.train.batch(&(0..160).collect::<Vec<u32>>(), None).expect("all samples");
    let mut running = RunningStats::new(model.layout());
    let mut pass = Pass::training(Weights::new(model.layout(), &weights), &mut running, BatchNormMode::Eval);
    let input = pass.input(batch.input).expect("an input");
    let logits = model.forward(&input, &mut pass).expect("a forward pass");
    let loss = pass.loss::<f32>(Objective::default(), &logits, &batch.labels).expect("a loss");
    let mut gradient = Vec::new();
    pass.backward::<f32>(&loss, &mut gradient).expect("a backward pass");
    let expected: f64 = gradient.iter().map(|g| f64::from(*g).powi(2)).sum();
    assert!((found.gradient_norms[0].squared / expected - 1.0).abs() < 1e-5);
    // It changes nothing.
    cell.measure.gradient_norm = None;
    assert_eq!(measures(&cell, 2).1.fingerprint, found.fingerprint);

    cell.measure.gradient_norm = Some(1);
    cell.lr = 1e30;
    let (status, m) = measures(&cell, 2);
    assert!(matches!(status, Status::Diverged { .. }));
    let text = serde_json::to_string(&m).expect("JSON");
    assert_eq!(serde_json::from_str::<Measures>(&text).expect("measures"), m);
}

#[test]
fn rho_falls_as_the_suite_says() {
    let plan = Suite::read("convergence").and_then(|s| s.plan("smoke", "mnist-5k")).expect("the embedded suite");
    let cell = plan.cells.iter().find(|c| c.optimizer.name == "sam").expect("SAM");
    assert_eq!([cell.rho_factor(0, 0.5), cell.rho_factor(3, 0.25)], [1.0, 0.5]);
    assert_eq!([cell.schedule().lr(0, 0), cell.schedule().lr(0, 3)], [0.5, 0.25]);
    assert_eq!(self::cell("sam").rho_factor(3, 0.01), 1.0);
}

/// A warm-up of one epoch, then a cosine over the other two.
#[test]
fn rho_can_follow_the_learning_rate() {
    let mut cell = cell("sam");
    (cell.epochs, cell.warmup_epochs, cell.decay) = (3, 1, Decay::Cosine);
    cell.optimizer.ascent.as_mut().expect("SAM").rho_decay = RhoDecay::Lr;
    let each = cell.steps_per_epoch();
    let found =
        [0, each - 1, each, 2 * each].map(|step| cell.rho_factor(step, cell.schedule().lr(step / each, step % each)));
    for (found, expected) in found.into_iter().zip([1.0 / each as f64, 1.0, 1.0, 0.5]) {
        assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
    }
}

/// The live fraction that those of the tensors add up to.
fn live_by_size(cell: &Cell, refresh: &MaskRefresh) -> f64 {
    let model = model::build(&cell.model, Task { input: Input::Image(SHAPE), classes: 10 }).expect("a model");
    let layout = model.layout();
    let live = layout.specs().iter().map(|spec| refresh.live_by_tensor[&spec.name] * spec.len() as f64);
    live.sum::<f64>() / layout.len() as f64
}

/// SSAM-F's mask starts empty and is chosen after the first step, so one step is SGD's and two are not.
#[test]
fn the_first_step_of_ssam_f_is_plain_sgd() {
    let run = |name, images| {
        let mut cell = cell(name);
        cell.optimizer.weight_decay = 5e-4;
        (cell.data.train, cell.batch_size, cell.epochs) = (images, 16, 1);
        train(&cell, &stripes_of(images), &mut Silent).expect("a training").measures.fingerprint
    };
    assert_eq!(run("ssam-f", 16), run("sgd", 16));
    assert_ne!(run("ssam-f", 32), run("sgd", 32));
}

/// SSAM-D's first step uses its random initial mask; the update made in that step is in force from the next batch.
#[test]
fn the_first_step_of_ssam_d_uses_its_initial_mask() {
    let mut cell = cell("ssam-d");
    (cell.data.train, cell.batch_size, cell.epochs) = (16, 16, 1);
    let data = stripes_of(16);
    let found = train(&cell, &data, &mut Silent).expect("a training").measures.fingerprint;

    let model = model::build(&cell.model, Task { input: Input::Image(SHAPE), classes: 10 }).expect("a model");
    let n = model.layout().len();
    let keep = dynamic_keep(n, cell.sparsity().expect("a sparsity"));
    let mask = Mask::random(n, keep, &mut stream(cell.seed, Stream::InitialMask));
    let optimizer = Optimizer::new(&cell.optimizer, model.layout(), &Registry::standard()).expect("a known optimizer");
    let mut trainer =
        Trainer::new(&*model, optimizer, model.layout().init(cell.seed), RunningStats::new(model.layout()));
    data.epoch(cell.seed, (0, 0), (16, false), &cell.augment, |batches| {
        let batch = batches.recv().expect("one batch")?;
        let mask = Some(ActiveMask { mask: &mask, plan: None });
        trainer.step(&batch, cell.schedule().lr(0, 0), &mut Context { mask, ..Context::new(0, 1) })?;
        Ok(())
    })
    .expect("an epoch");
    assert_eq!(fingerprint(trainer.weights()), found);
}

#[test]
fn masks_are_refreshed_every_interval_epochs() {
    for name in ["ssam-f", "ssam-d"] {
        let mut cell = cell(name);
        let mask = cell.optimizer.ascent.as_mut().and_then(|a| a.mask.as_mut()).expect("a mask");
        match &mut mask.refresh.when {
            When::Interval { epochs } | When::Dynamic { epochs, .. } => *epochs = 3,
            When::Static { .. } => panic!("{name} is not static"),
        }
        let refreshed: Vec<usize> = measures(&cell, 2).1.mask_refreshes.iter().map(|r| r.epoch).collect();
        assert_eq!(refreshed, [0, 3], "{name}");
    }
}

/// Mode `paper` runs in training mode: it changes running statistics, hence test results, and sees other gradients.
#[test]
fn fisher_modes_differ() {
    let run = |wanted| {
        let mut cell = cell("ssam-f");
        let mask = cell.optimizer.ascent.as_mut().and_then(|a| a.mask.as_mut()).expect("a mask");
        mask.refresh.score = Score::Fisher { samples: 8, mode: wanted };
        train(&cell, &stripe_set(), &mut Silent).expect("a training")
    };
    let (paper, clean) = (run(FisherMode::Paper), run(FisherMode::Clean));
    assert_ne!(paper.measures.fingerprint, clean.measures.fingerprint);
    assert_ne!(paper.running, clean.running);
}

/// The fingerprint is of the weights that are saved, and they come back as they were.
#[test]
fn saved_weights_come_back() {
    let cell = cell("sgd");
    let trained = train(&cell, &stripe_set(), &mut Silent).expect("a training");
    let saved = trained.to_safetensors().expect("bytes");
    let model = model::build(&cell.model, Task { input: Input::Image(SHAPE), classes: 10 }).expect("a model");
    let (weights, running) = from_safetensors(model.layout(), &saved).expect("weights");
    assert_eq!(fingerprint(&weights), trained.measures.fingerprint);
    assert_ne!(running, RunningStats::new(model.layout()));
    let again = to_safetensors(model.layout(), &weights, &running).expect("bytes");
    assert_eq!(again, saved);
    let other =
        model::build(&ModelSpec { width: Some(6), ..cell.model }, Task { input: Input::Image(SHAPE), classes: 10 })
            .expect("a model");
    let error = from_safetensors(other.layout(), &saved).expect_err("other sizes").to_string();
    assert_eq!(error, "the tensor bn1.bias has 4 values, the model wants 6");
}

#[test]
fn divergence_is_a_result() {
    let mut cell = cell("sam");
    cell.lr = 1e30;
    let (status, m) = measures(&cell, 2);
    assert!(matches!(status, Status::Diverged { .. }), "{status:?}");
    assert_eq!(m.test_accuracy_last, None);
    assert!(m.steps >= 1 && !m.fingerprint.is_empty());
}

/// Stops a training after so many questions whether to, and keeps it.
struct StopAfter {
    left: std::cell::Cell<usize>,
    kept: Option<Vec<u8>>,
}

impl Keeper for StopAfter {
    fn stops(&self) -> bool {
        self.left.set(self.left.get().saturating_sub(1));
        self.left.get() == 0
    }

    fn is_due(&mut self, _: usize) -> bool {
        false
    }

    fn keep(&mut self, checkpoint: &Checkpoint) -> sharpbench::Result<()> {
        self.kept = Some(checkpoint.to_bytes().expect("bytes"));
        Ok(())
    }
}

/// A training in pieces, each from the bytes that the one before it left; and how many there were.
fn in_pieces(cell: &Cell, data: &DataSet, length: usize) -> (Trained, usize) {
    let mut from = None;
    for pieces in 1.. {
        let mut keeper = StopAfter { left: std::cell::Cell::new(length), kept: None };
        let ended = train_from(cell, data, &setup(Compute::CPU, &Registry::standard()), from, &mut Silent, &mut keeper)
            .expect("a training");
        if let Some(trained) = ended {
            return (trained, pieces);
        }
        from = Some(Checkpoint::from_bytes(&keeper.kept.expect("it was kept")).expect("a checkpoint"));
    }
    unreachable!("pieces are counted until the training ends")
}

/// Measures without what no two trainings have in common. Executed FLOPs are counted over the process, in which other tests work too: in
/// processes of their own, tests/it/faults.rs compares them.
fn timeless(trained: &Trained) -> Measures {
    let mut m = trained.measures.clone();
    (m.train_seconds, m.mask_seconds, m.step_seconds, m.peak_memory_bytes) = (0.0, 0.0, None, None);
    m.flops_executed = None;
    m.epochs.iter_mut().for_each(|epoch| epoch.train_seconds = 0.0);
    m
}

/// Wherever a training was interrupted, it goes on to the same weights and the same record: every optimizer, the norm of the step
/// before, full batches, and everything that is measured on the way.
#[test]
fn interrupted_trainings_end_as_uninterrupted_ones() {
    let mut cells: Vec<(Cell, &[usize])> = names().into_iter().map(|name| (cell(name), [3, 17].as_slice())).collect();
    let mut lagged = cell("ssam");
    lagged.optimizer.ascent.as_mut().expect("SAM").norm = Norm::Lagged;
    cells.push((lagged, &[1]));
    let mut measured = cell("sam");
    (measured.measure.edge, measured.measure.gradient_norm) = (Some(7), Some(3));
    cells.push((measured, &[5]));
    cells.push((noisy(cell("sam")), &[7]));
    cells.push((budgeted(1.3), &[7]));
    let full = Cell { full_batch_steps: Some(3), epochs: 2, ..cell("sgd") };
    cells.push((full, &[1, 2]));
    let data = stripe_set();
    for (cell, lengths) in cells {
        let whole = train(&cell, &data, &mut Silent).expect("a training");
        for length in lengths {
            let (trained, pieces) = in_pieces(&cell, &data, *length);
            assert!(pieces > 1 && trained.resumed == pieces - 1, "{}: {pieces} pieces", cell.label());
            assert_eq!(timeless(&trained), timeless(&whole), "{} in pieces of {length}", cell.label());
            assert_eq!(trained.running, whole.running, "{}", cell.label());
            assert!(trained.measures.step_seconds.map(|s| s.n) == whole.measures.step_seconds.map(|s| s.n));
        }
    }
}

#[test]
fn a_checkpoint_of_another_cell_is_refused() {
    let data = stripe_set();
    let mut keeper = StopAfter { left: std::cell::Cell::new(5), kept: None };
    let own = cell("sam");
    assert!(
        train_from(&own, &data, &setup(Compute::CPU, &Registry::standard()), None, &mut Silent, &mut keeper)
            .expect("a training")
            .is_none()
    );
    let kept = Checkpoint::from_bytes(&keeper.kept.take().expect("kept")).expect("a checkpoint");
    assert_eq!(kept.position(), (0, 5));
    let other = Cell { seed: 99, ..own };
    let error =
        train_from(&other, &data, &setup(Compute::CPU, &Registry::standard()), Some(kept), &mut Silent, &mut keeper)
            .err()
            .expect("refused")
            .to_string();
    assert!(error.contains("the checkpoint of sam") && error.contains("it belongs to "), "{error}");
}

/// By candle's operations, on every device that is there: the same start, the same batches and masks, losses and weights that differ by
/// rounding alone; twice the same bits; in pieces too.
#[test]
fn trainings_on_every_device_follow_those_by_the_kernels() {
    let data = stripe_set();
    for compute in Compute::all_by_candle() {
        for name in names() {
            let cell = Cell { epochs: 1, ..cell(name) };
            let on = |compute: &Compute, left: usize, from| {
                let mut keeper = StopAfter { left: std::cell::Cell::new(left), kept: None };
                let trained =
                    train_from(&cell, &data, &setup(compute, &Registry::standard()), from, &mut Silent, &mut keeper)
                        .expect("a training");
                (trained, keeper.kept.map(|bytes| Checkpoint::from_bytes(&bytes).expect("a checkpoint")))
            };
            let whole = |compute| on(compute, usize::MAX, None).0.expect("a whole training");
            let (expected, found) = (whole(Compute::CPU), whole(&compute));
            let gpu = compute.gpu();
            let loss = |trained: &Trained| trained.measures.epochs[0].train_loss;
            let error = (loss(&found) - loss(&expected)).abs() / loss(&expected);
            assert!(error < 1e-3, "{name} on {gpu:?}: {} against {}", loss(&found), loss(&expected));
            let live =
                |trained: &Trained| trained.measures.mask_refreshes.iter().map(|r| r.live_fraction).collect::<Vec<_>>();
            assert_eq!(live(&found), live(&expected), "{name} on {gpu:?}");

            let (_, kept) = on(&compute, 3, None);
            let error = train_from(
                &cell,
                &data,
                &setup(Compute::CPU, &Registry::standard()),
                kept.clone(),
                &mut Silent,
                &mut KeepNothing,
            )
            .err();
            assert!(error.is_some_and(|e| e.to_string().contains("it belongs to ")), "{name} on {gpu:?}");
            let pieces = on(&compute, usize::MAX, kept).0.expect("the rest");
            assert_eq!(timeless(&pieces), timeless(&found), "{name} on {gpu:?}");
        }
    }
}
