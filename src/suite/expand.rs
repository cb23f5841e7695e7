//! From settings to cells: every value checked, every default filled in, every duplicate refused.

use std::collections::HashMap;

use super::cell::{
    AscentSpec, BatchNormPass2, Cell, FisherMode, Grow, MaskScore, MaskSpec, NUMERICS, OptimizerName, OptimizerSpec,
    Pattern, Refresh,
};
use super::file::{Axis, GridFile, Settings};
use crate::data::augment::Augment;
use crate::data::{self, DataSpec, Input};
use crate::model::{self, Task};
use crate::optim::Decay;

/// What is wrong, in words: key, value, remedy.
type Checked<T> = Result<T, String>;

/// Masks index scalars by u32.
const MOST_PARAMETERS: usize = u32::MAX as usize;

/// The data set of the settings.
pub(super) fn data(settings: &Settings) -> Checked<DataSpec> {
    let data = &settings.data;
    let name = data.name.as_deref().ok_or("data.name is missing; name a data set, such as \"cifar10\"")?;
    data::find(name)?.spec([data.train, data.test], data.size, data.classes, data.unreadable)
}

/// All cells, on the data set `name` (the settings' own or its stand-in), seeds outermost.
pub(super) fn cells(settings: &Settings, name: &str) -> Checked<Vec<Cell>> {
    let template = template(settings, name)?;
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
    let mut seen: HashMap<String, String> = HashMap::new();
    let mut cells = Vec::new();
    for seed in seeds {
        for (index, entry) in grid.iter().enumerate() {
            let place = format!("grid[{index}]");
            for cell in grid_cells(entry, &template, seed).map_err(|e| format!("{place}.{e}"))? {
                if let Some(first) = seen.insert(cell.id(), place.clone()) {
                    return Err(format!("{place} repeats a cell of {first} ({}); remove one of them", cell.label()));
                }
                cells.push(cell);
            }
        }
    }
    Ok(cells)
}

/// Everything of a cell but its optimizer and seed.
fn template(settings: &Settings, name: &str) -> Checked<Cell> {
    let data = data(settings)?.on(name)?;
    let task = Task::try_from(&data)?;
    let model = settings.model.clone().ok_or("model is missing; add model = { name = \"resnet8\" }")?;
    let built = model::build(&model, task)?;
    if built.layout().len() > MOST_PARAMETERS {
        return Err(format!(
            "model has {} parameters, at most {MOST_PARAMETERS} are supported; make it smaller",
            built.layout().len()
        ));
    }
    let model = built.spec();
    let s = &settings.schedule;
    let epochs = within("schedule.epochs", required("schedule.epochs", s.epochs)?, 1, 100_000)?;
    let batch_size = within("schedule.batch_size", required("schedule.batch_size", s.batch_size)?, 1, data.train)?;
    let lr = positive("schedule.lr", required("schedule.lr", s.lr)?)?;
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
    let augment = settings.augment.clone().unwrap_or_default();
    check_augment(&augment, settings, task.input)?;
    let optimizer =
        OptimizerSpec { name: OptimizerName::Sgd, momentum: 0.9, nesterov: false, weight_decay: 5e-4, ascent: None };
    Ok(Cell {
        numerics: NUMERICS,
        data,
        model,
        epochs,
        batch_size,
        lr,
        decay,
        warmup_epochs,
        augment,
        optimizer,
        seed: 0,
    })
}

/// `settings` name the data set that the suite means, `input` may be that of its stand-in.
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

/// The cells of one grid entry with one seed.
fn grid_cells(grid: &GridFile, template: &Cell, seed: u64) -> Checked<Vec<Cell>> {
    let mut cells = Vec::new();
    for name in values("optimizer", &grid.optimizer)? {
        applicable(grid, name)?;
        for factor in values("epochs_factor", &or(&grid.epochs_factor, 1))? {
            let epochs = template.epochs * within("epochs_factor", factor, 1, 100)?;
            for momentum in values("momentum", &or(&grid.momentum, 0.9))? {
                if !(0.0..1.0).contains(&momentum) {
                    return Err(format!("momentum = {momentum} must be at least 0 and below 1"));
                }
                let nesterov = grid.nesterov.unwrap_or(false);
                if nesterov && momentum == 0.0 {
                    return Err("nesterov = true needs momentum above 0".into());
                }
                for weight_decay in values("weight_decay", &or(&grid.weight_decay, 5e-4))? {
                    non_negative("weight_decay", weight_decay)?;
                    for ascent in ascents(grid, name, template.data.train)? {
                        let optimizer = OptimizerSpec { name, momentum, nesterov, weight_decay, ascent };
                        cells.push(Cell { epochs, optimizer, seed, ..template.clone() });
                    }
                }
            }
        }
    }
    Ok(cells)
}

/// Refuses keys that the optimizer does not read.
fn applicable(grid: &GridFile, name: OptimizerName) -> Checked<()> {
    use OptimizerName::{Sam, SsamD, SsamF};
    let ascent: &[OptimizerName] = &[Sam, SsamF, SsamD];
    let masked: &[OptimizerName] = &[SsamF, SsamD];
    let keys: [(&str, bool, &[OptimizerName]); 10] = [
        ("rho", grid.rho.is_some(), ascent),
        ("batch_norm", grid.batch_norm.is_some(), ascent),
        ("sparsity", grid.sparsity.is_some(), masked),
        ("pattern", grid.pattern.is_some(), masked),
        ("mask", grid.mask.is_some(), masked),
        ("mask_interval", grid.mask_interval.is_some(), masked),
        ("fisher_samples", grid.fisher_samples.is_some(), &[SsamF]),
        ("fisher_mode", grid.fisher_mode.is_some(), &[SsamF]),
        ("grow", grid.grow.is_some(), &[SsamD]),
        ("drop_rate", grid.drop_rate.is_some(), &[SsamD]),
    ];
    for (key, given, readers) in keys {
        if given && !readers.contains(&name) {
            let readers: Vec<String> = readers.iter().map(ToString::to_string).collect();
            return Err(format!("{key} does not apply to {name}, only to {}; remove it", readers.join(", ")));
        }
    }
    Ok(())
}

fn ascents(grid: &GridFile, name: OptimizerName, train: usize) -> Checked<Vec<Option<AscentSpec>>> {
    if name == OptimizerName::Sgd {
        return Ok(vec![None]);
    }
    let rho = grid.rho.as_ref().ok_or_else(|| format!("rho is missing for {name}; add rho = 0.1"))?;
    let batch_norm = grid.batch_norm.unwrap_or(BatchNormPass2::Update);
    let mut ascents = Vec::new();
    for rho in values("rho", rho)? {
        non_negative("rho", rho)?;
        for mask in masks(grid, name, train)? {
            ascents.push(Some(AscentSpec { rho, batch_norm, mask }));
        }
    }
    Ok(ascents)
}

fn masks(grid: &GridFile, name: OptimizerName, train: usize) -> Checked<Vec<Option<MaskSpec>>> {
    let fisher = match name {
        OptimizerName::Sgd | OptimizerName::Sam => return Ok(vec![None]),
        OptimizerName::SsamF => true,
        OptimizerName::SsamD => false,
    };
    let sparsity =
        grid.sparsity.as_ref().ok_or_else(|| format!("sparsity is missing for {name}; add sparsity = 0.9"))?;
    let default_score = if fisher { MaskScore::Fisher } else { MaskScore::Gradient };
    let mut masks = Vec::new();
    for sparsity in values("sparsity", sparsity)? {
        fraction("sparsity", sparsity)?;
        for pattern in values("pattern", &or(&grid.pattern, Pattern::Unstructured))? {
            for score in values("mask", &or(&grid.mask, default_score))? {
                if (score == MaskScore::Fisher) != fisher {
                    let usable = if fisher { "fisher" } else { "gradient, weight or random" };
                    return Err(format!("mask = \"{score}\" cannot be used with {name}; use {usable}"));
                }
                for refresh in refreshes(grid, fisher, train)? {
                    masks.push(Some(MaskSpec { sparsity, pattern, score, refresh }));
                }
            }
        }
    }
    Ok(masks)
}

fn refreshes(grid: &GridFile, fisher: bool, train: usize) -> Checked<Vec<Refresh>> {
    let mut refreshes = Vec::new();
    for interval in values("mask_interval", &or(&grid.mask_interval, 1))? {
        within("mask_interval", interval, 1, 100_000)?;
        if fisher {
            let mode = grid.fisher_mode.unwrap_or(FisherMode::Clean);
            for samples in values("fisher_samples", &or(&grid.fisher_samples, 128.min(train)))? {
                within("fisher_samples", samples, 1, train)?;
                refreshes.push(Refresh::Fisher { interval, samples, mode });
            }
        } else {
            for drop_rate in values("drop_rate", &or(&grid.drop_rate, 0.5))? {
                fraction("drop_rate", drop_rate)?;
                for grow in values("grow", &or(&grid.grow, Grow::Random))? {
                    refreshes.push(Refresh::Dynamic { interval, drop_rate, grow });
                }
            }
        }
    }
    Ok(refreshes)
}

fn or<T: Clone>(axis: &Option<Axis<T>>, default: T) -> Axis<T> {
    axis.clone().unwrap_or(Axis::One(default))
}

fn values<T: Clone>(key: &str, axis: &Axis<T>) -> Checked<Vec<T>> {
    let values = axis.values();
    if values.is_empty() { Err(format!("{key} = [] has no value; give one or remove the key")) } else { Ok(values) }
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
    if value.is_finite() && value > 0.0 { Ok(value) } else { Err(format!("{key} = {value} must be a number above 0")) }
}

fn non_negative(key: &str, value: f64) -> Checked<f64> {
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(format!("{key} = {value} must be 0 or more")) }
}

fn fraction(key: &str, value: f64) -> Checked<f64> {
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(format!("{key} = {value} must be from 0 to 1")) }
}
