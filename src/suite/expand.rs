//! Expansion of settings to cells: validates every value, fills in defaults, and rejects
//! duplicates.

use std::collections::HashMap;

use super::Claims;
use super::cell::{Cell, MOST_FULL_BATCH_STEPS, Measure, NUMERICS, SharpnessAt};
use super::choices::Checked;
use super::combinations::{self, Base};
use super::file::Settings;
use crate::data::augment::Augment;
use crate::data::{self, DATA_SETS, DataSpec, Input};
use crate::model::{Model, ModelSpec, Task};
use crate::nn::{Objective, ObjectiveName};
use crate::optim::{BaseSpec, Decay, Norm, OptimizerSpec, Perturbation, TrainingShape, trainable};
use crate::registry::Registry;
use crate::sharpness::Lanczos;

/// Masks index scalars with u32.
const MOST_PARAMETERS: usize = u32::MAX as usize;

/// Data set of the settings.
pub(super) fn data(settings: &Settings) -> Checked<DataSpec> {
    let data = &settings.data;
    let name = data.name.as_deref().ok_or("data.name is missing; name a data set, such as \"cifar10\"")?;
    let spec = data::find(name)?.spec([data.train, data.test], data.size, data.classes, data.unreadable)?;
    let spec = if data.centre_pixels.unwrap_or(false) { spec.with_centred_pixels()? } else { spec };
    let spec = if let Some(n) = data.validation { spec.with_validation(n)? } else { spec };
    if let Some(noise) = data.label_noise { spec.with_label_noise(noise) } else { Ok(spec) }
}

/// Embedded set that stands in for the settings' data set.
pub(super) fn stand_in(settings: &Settings) -> Checked<&'static str> {
    let own = data::find(&data(settings)?.name)?;
    let Some(name) = &settings.data.stand_in else { return Ok(own.stand_in) };
    if own.is_embedded() {
        return Err(format!("data.stand_in does not apply to {}, which is embedded; remove it", own.name));
    }
    let embedded: Vec<&str> = DATA_SETS.iter().filter(|entry| entry.is_embedded()).map(|entry| entry.name).collect();
    embedded
        .iter()
        .find(|embedded| *embedded == name)
        .copied()
        .ok_or_else(|| format!("data.stand_in = \"{name}\" is not an embedded set; use one of {}", embedded.join(", ")))
}

/// Maximum cells of a plan.
const MOST_CELLS: usize = 100_000;

/// Expands all cells on the data set `name` (the settings' own or its stand-in), with seeds
/// outermost.
pub(super) fn cells(settings: &Settings, name: &str, registry: &Registry) -> Checked<Vec<Cell>> {
    let (template, model) = template(settings, name, registry)?;
    let Cell { epochs, batch_size, .. } = template;
    let last_batch = if template.keep_last { template.data.train % batch_size } else { batch_size };
    let shape = TrainingShape { epochs, batch_size, last_batch, train: template.data.train, layout: model.layout() };
    let base = Base { shape, lr: template.lr };
    let seeds = settings.seeds.clone().unwrap_or_default();
    if seeds.is_empty() {
        return Err("seeds is missing or empty; give at least one, such as seeds = [1234, 4321, 6789]".into());
    }
    if let Some(i) = (1..seeds.len()).find(|i| seeds[..*i].contains(&seeds[*i])) {
        return Err(format!("seeds names {} twice; remove one of them", seeds[i]));
    }
    let grid = settings.grid.as_deref().unwrap_or_default();
    if grid.is_empty() {
        return Err("grid is missing or empty; add [[base.grid]] with an optimizer".into());
    }
    let combinations = grid.iter().fold(0, |sum: usize, entry| sum.saturating_add(entry.combinations(registry)));
    if combinations.saturating_mul(seeds.len()) > MOST_CELLS {
        return Err(format!(
            "the grid describes more than {MOST_CELLS} cells ({combinations} settings, {} seeds); shorten its lists",
            seeds.len()
        ));
    }
    if grid.iter().any(|entry| entry.get("lr").is_none()) {
        required("schedule.lr", settings.schedule.lr)?;
    }
    let mut seen: HashMap<String, String> = HashMap::new();
    let mut cells = Vec::new();
    for seed in seeds {
        for (index, entry) in grid.iter().enumerate() {
            let place = format!("grid[{index}]");
            let template = Cell { seed, ..template.clone() };
            let found = combinations::cells(entry, &template, base, registry).map_err(|e| format!("{place}.{e}"))?;
            for cell in found {
                check_edge(&cell).and_then(|()| check_budget(&cell)).map_err(|e| format!("{place}.{e}"))?;
                if let Some(first) = seen.insert(cell.id(), place.clone()) {
                    return Err(format!("{place} repeats a cell of {first} ({}); remove one of them", cell.label()));
                }
                cells.push(cell);
            }
        }
    }
    Ok(cells)
}

/// What the settings claim about their cells.
pub(super) fn claims(settings: &Settings, cells: &[Cell]) -> Checked<Option<Claims>> {
    let seeds = settings.seeds.as_ref().map_or(0, Vec::len);
    settings.claims.as_ref().map_or(Ok(None), |claims| claims.resolve(cells, seeds))
}

/// Cell without optimizer and seed, and its model.
fn template(settings: &Settings, name: &str, registry: &Registry) -> Checked<(Cell, Box<dyn Model>)> {
    let data = data(settings)?.on(name)?;
    let task = Task::try_from(&data)?;
    let model = settings.model.clone().ok_or("model is missing; add model = { name = \"resnet8\" }")?;
    let built = registry.model(&model, task)?;
    if built.layout().len() > MOST_PARAMETERS {
        return Err(format!(
            "model has {} parameters, at most {MOST_PARAMETERS} are supported; make it smaller",
            built.layout().len()
        ));
    }
    let model = built.spec();
    let s = &settings.schedule;
    let epochs = within("schedule.epochs", required("schedule.epochs", s.epochs)?, 1, 100_000)?;
    let batch_size = match (s.batch_size, s.full_batch_steps) {
        (Some(_), Some(_)) => {
            return Err("schedule.batch_size and schedule.full_batch_steps are mutually exclusive; remove one".into());
        }
        (None, Some(steps)) => {
            within("schedule.full_batch_steps", steps, 1, MOST_FULL_BATCH_STEPS)?;
            check_full_batch(settings, &data.name, &*built)?;
            data.train
        }
        (size, None) => within("schedule.batch_size", required("schedule.batch_size", size)?, 1, data.train)?,
    };
    let keep_last = s.drop_last == Some(false);
    if s.drop_last.is_some() && s.full_batch_steps.is_some() {
        return Err("schedule.drop_last does not apply to full_batch_steps, which use all samples; remove it".into());
    }
    // Every entry of the grid may have its own.
    let lr = s.lr.map_or(Ok(0.0), |lr| positive("schedule.lr", lr))?;
    let warmup_epochs = s.warmup_epochs.unwrap_or(0);
    if warmup_epochs >= epochs {
        return Err(format!("schedule.warmup_epochs = {warmup_epochs} must be less than schedule.epochs = {epochs}"));
    }
    let decay = s.decay.clone().unwrap_or(Decay::Cosine);
    if let Decay::MultiStep { milestones, gamma } = &decay {
        positive("schedule.decay.multi-step.gamma", *gamma)?;
        if !milestones.is_sorted() || milestones.iter().any(|m| !(*m > 0.0 && *m < 1.0)) {
            return Err(format!(
                "schedule.decay.multi-step.milestones = {milestones:?} must be increasing fractions between 0 and 1"
            ));
        }
    }
    let measure = settings.measure.clone().unwrap_or_default();
    for (key, every) in [
        ("gradient_norm", measure.gradient_norm),
        ("edge", measure.edge),
        ("in_turn", measure.in_turn),
        ("test", measure.test),
    ] {
        if let Some(every) = every {
            within(&format!("measure.{key}"), every, 1, 1_000_000)?;
        }
    }
    check_sharpness(&measure, &*built, data.train)?;
    if decay == Decay::InverseSqrt && warmup_epochs > 0 {
        return Err(
            "schedule.warmup_epochs does not apply to decay = \"inverse-sqrt\", which starts at its peak; remove it"
                .into(),
        );
    }
    let augment = settings.augment.clone().unwrap_or_default();
    check_augment(&augment, settings, task.input)?;
    if data.centre_pixels && augment != Augment::default() {
        return Err("data.centre_pixels cannot be combined with augmentation; remove augment".into());
    }
    check_quadratic(settings, &data, &model)?;
    let train = data.train;
    let cell = Cell {
        numerics: NUMERICS,
        data,
        model,
        epochs,
        batch_size,
        // Without samples left there is no other batch, so that the cell is the same.
        keep_last: keep_last && train % batch_size != 0,
        full_batch_steps: s.full_batch_steps,
        objective: objective(settings)?,
        lr,
        decay,
        warmup_epochs,
        augment,
        // Set by every entry of the grid.
        optimizer: OptimizerSpec::default(),
        measure,
        seed: 0,
    };
    Ok((cell, built))
}

fn objective(settings: &Settings) -> Checked<Objective> {
    let label_smoothing = settings.label_smoothing.map_or(Ok(0.0), |given| fraction("label_smoothing", given))?;
    match settings.objective.unwrap_or_default() {
        ObjectiveName::CrossEntropy => Ok(Objective::CrossEntropy { label_smoothing }),
        ObjectiveName::SquaredError if settings.label_smoothing.is_some() => {
            Err("label_smoothing does not apply to objective = \"squared-error\"; remove it".into())
        }
        ObjectiveName::SquaredError => Ok(Objective::SquaredError),
    }
}

/// The quadratic model requires the squared error and a single sample of class 0, which has no
/// curvature.
fn check_quadratic(settings: &Settings, data: &DataSpec, model: &ModelSpec) -> Checked<()> {
    let whole =
        settings.objective == Some(ObjectiveName::SquaredError) && data.train == 1 && data.label_noise.is_none();
    if model.name != "quadratic" || whole {
        return Ok(());
    }
    Err("model quadratic requires objective = \"squared-error\" and a single sample of class 0, without label noise; set them, and data = { \
         name = \"synthetic\", train = 1, test = 1, size = 2, classes = 4 }"
        .into())
}

fn check_sharpness(measure: &Measure, model: &dyn Model, train: usize) -> Checked<()> {
    if let Some(SharpnessAt::Every(epochs)) = measure.sharpness {
        within("measure.sharpness", epochs, 1, 100_000)?;
    }
    for (key, given) in [
        ("sharpness_samples", measure.sharpness_samples.is_some()),
        ("eigenvalues", measure.eigenvalues.is_some()),
        ("density", measure.density),
        ("by_layer", measure.by_layer),
    ] {
        if given && measure.sharpness.is_none() {
            return Err(format!("measure.{key} requires measure.sharpness; add sharpness = \"last\" or remove it"));
        }
    }
    if let Some(pairs) = measure.eigenvalues {
        within("measure.eigenvalues", pairs, 1, Lanczos::MOST_PAIRS)?;
    }
    if let Some(samples) = measure.sharpness_samples {
        within("measure.sharpness_samples", samples, 1, train)?;
    }
    if !measure.frozen.is_empty() && measure.sharpness.is_none() && measure.edge.is_none() {
        return Err("measure.frozen requires measure.edge or measure.sharpness; add one of them or remove it".into());
    }
    measure.frozen.iter().try_for_each(|prefix| model.layout().check_prefix("measure.frozen", prefix))?;
    if model.layout().specs().iter().all(|spec| measure.freezes(&spec.name)) {
        return Err("measure.frozen leaves nothing to measure; remove some of it".into());
    }
    Ok(())
}

/// Full batches are processed in parts and without augmentation.
fn check_full_batch(settings: &Settings, name: &str, model: &dyn Model) -> Checked<()> {
    if data::find(name)?.photographs {
        return Err(format!(
            "schedule.full_batch_steps holds all samples in memory, but {name} is read during training; use \
             schedule.batch_size"
        ));
    }
    if !model.layout().running().is_empty() {
        return Err(format!(
            "schedule.full_batch_steps requires a model that processes samples independently, but {} has BatchNorm; use \
             schedule.batch_size",
            model.spec().name
        ));
    }
    if settings.augment.as_ref().is_some_and(|augment| *augment != Augment::default()) {
        return Err("schedule.full_batch_steps cannot be combined with augmentation; remove augment".into());
    }
    Ok(())
}

/// Checks the augmentation. `settings` name the suite's data set; `input` may be its stand-in's.
fn check_augment(augment: &Augment, settings: &Settings, input: Input) -> Checked<()> {
    let name = settings.data.name.as_deref().unwrap_or_default();
    let Input::Image([_, height, _]) = input else {
        return if *augment == Augment::default() {
            Ok(())
        } else {
            Err(format!("augment does not apply to {name}, whose samples are text; remove it"))
        };
    };
    within("augment.crop", augment.crop, 0, height)?;
    if let Some(cutout) = &augment.cutout {
        within("augment.cutout.size", cutout.size, 1, height)?;
        fraction("augment.cutout.p", cutout.p)?;
    }
    if let Some(resized) = &augment.resized_crop {
        if !data::find(name)?.photographs {
            return Err(format!("augment.resized_crop applies to imagenet and image-folder, not to {name}; remove it"));
        }
        for (key, [low, high], most) in [("scale", resized.scale, 1.0), ("ratio", resized.ratio, 100.0)] {
            if !(low > 0.0 && low <= high && high <= most) {
                return Err(format!("augment.resized_crop.{key} = [{low}, {high}] must rise, from above 0 to {most}"));
            }
        }
    }
    Ok(())
}

/// Full batches are computed in parts, whose passes share no layers, so no budget can be kept.
fn check_budget(cell: &Cell) -> Checked<()> {
    match cell.mask().and_then(|mask| mask.amount.budget()) {
        Some(budget) if cell.full_batch_steps.is_some() => Err(format!(
            "budget = {budget} cannot be kept with schedule.full_batch_steps; use schedule.batch_size, or sparsity"
        )),
        _ => Ok(()),
    }
}

/// The edge is known only for plain gradient steps of SGD, SAM or sparse SAM.
fn check_edge(cell: &Cell) -> Checked<()> {
    let o = &cell.optimizer;
    if cell.measure.edge.is_none() {
        return Ok(());
    }
    for (key, value) in [("momentum", o.momentum), ("weight_decay", o.weight_decay)] {
        if value != 0.0 {
            return Err(format!("{key} = {value} shifts the edge that measure.edge compares with; set {key} = 0"));
        }
    }
    if o.base != BaseSpec::Sgd {
        return Err("measure.edge does not support AdamW, whose steps are not along the gradient; use optimizer = \"sgd\", or base = \"sgd\"".into());
    }
    let Some(ascent) = &o.ascent else { return Ok(()) };
    if ascent.variant.is_some() {
        return Err(format!("measure.edge does not support {}; use sgd, sam or sparse SAM", o.name));
    }
    if ascent.norm == Norm::Lagged || ascent.perturbation == Perturbation::Implicit {
        return Err("measure.edge requires norm = \"full\" or \"masked\", and perturbation = \"explicit\"".into());
    }
    Ok(())
}

fn required<T>(key: &str, value: Option<T>) -> Checked<T> {
    value.ok_or_else(|| format!("{key} is missing; add it"))
}

fn within(key: &str, value: usize, least: usize, most: usize) -> Checked<usize> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(format!("{key} = {value} must be from {least} to {most}"))
    }
}

fn positive(key: &str, value: f64) -> Checked<f64> {
    if value.is_finite() && value > 0.0 {
        trainable(key, value)
    } else {
        Err(format!("{key} = {value} must be a number above 0"))
    }
}

fn fraction(key: &str, value: f64) -> Checked<f64> {
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(format!("{key} = {value} must be from 0 to 1")) }
}
