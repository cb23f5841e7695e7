//! Expansion of a grid entry to cells: every combination of its values, validated.

use std::collections::HashSet;

use super::axes::{AXES, GridKey, OWN_RANK, Worth};
use super::cell::Cell;
use super::choices::{Checked, Choices};
use super::grid::GridEntry;
use crate::optim::{Key, KeyDefault, Kind, OptimizerEntry, OptimizerSpec, TrainingShape, Value};
use crate::registry::Registry;

/// A key that applies to an optimizer: a shared key or one of its own.
enum KeyInForce<'k> {
    Shared(&'k GridKey),
    Own(&'k Key),
}

impl KeyInForce<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Shared(key) => key.name,
            Self::Own(key) => key.name,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Shared(key) => key.kind,
            Self::Own(key) => key.kind,
        }
    }

    fn worth(&self, choices: &Choices<'_>) -> Worth {
        match self {
            Self::Shared(key) => (key.worth)(choices),
            Self::Own(key) => match key.default {
                KeyDefault::Required(example) => Worth::Required(example),
                KeyDefault::Number(n) => Worth::Default(Value::Number(n)),
                KeyDefault::Count(n) => Worth::Default(Value::Count(n)),
                KeyDefault::Flag(flag) => Worth::Default(Value::Flag(flag)),
                KeyDefault::Pair(pair) => Worth::Default(Value::Numbers(pair.to_vec())),
                KeyDefault::Word(word) => Worth::Default(Value::Word(word.into())),
            },
        }
    }
}

/// Training that grid entries are checked for, and the schedule's learning rate.
#[derive(Clone, Copy)]
pub(super) struct Base<'m> {
    pub(super) shape: TrainingShape<'m>,
    pub(super) lr: f64,
}

/// Cells described by an entry, based on `template`.
pub(super) fn cells(grid: &GridEntry, template: &Cell, base: Base<'_>, registry: &Registry) -> Checked<Vec<Cell>> {
    let mut cells = Vec::new();
    for optimizer in optimizers(grid, registry)? {
        for choices in combinations(grid, optimizer, base, registry)? {
            cells.push(choices.cell(template)?);
        }
    }
    Ok(cells)
}

/// Optimizer described by an entry without lists.
///
/// # Errors
/// Names the key, the value and the remedy.
pub fn one_optimizer(grid: &GridEntry, shape: TrainingShape<'_>, registry: &Registry) -> Checked<OptimizerSpec> {
    for key in ["epochs_factor", "lr", "rho_decay"] {
        if grid.get(key).is_some() {
            return Err(format!("{key} applies only to whole trainings; remove it"));
        }
    }
    let mut found = Vec::new();
    for optimizer in optimizers(grid, registry)? {
        for choices in combinations(grid, optimizer, Base { shape, lr: 1.0 }, registry)? {
            found.push(choices.spec()?);
        }
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        several => Err(format!("expected one optimizer, found {}; give each key one value", several.len())),
    }
}

/// Optimizers that an entry names.
fn optimizers<'r>(grid: &GridEntry, registry: &'r Registry) -> Checked<Vec<&'r OptimizerEntry>> {
    let given = grid.get("optimizer").ok_or("optimizer is missing; add optimizer = \"sgd\"")?;
    let names = given.values(false);
    if names.is_empty() {
        return Err("optimizer = [] has no value; give one".into());
    }
    let find = |name: Value| match &name {
        Value::Word(text) => registry.optimizer(text).map_err(|e| format!("optimizer: {e}")),
        other => Err(format!("optimizer = {} must be a name", other.quoted())),
    };
    names.into_iter().map(find).collect()
}

/// Keys that an optimizer reads, outermost loop first.
fn keys(optimizer: &OptimizerEntry) -> Vec<KeyInForce<'_>> {
    let shared = AXES.iter().filter_map(|axis| axis.key.as_ref()).filter(|key| (key.read_by)(optimizer));
    let mut keys: Vec<(u8, KeyInForce<'_>)> = shared.map(|key| (key.rank, KeyInForce::Shared(key))).collect();
    keys.extend(optimizer.keys.iter().map(|key| (OWN_RANK, KeyInForce::Own(key))));
    keys.sort_by_key(|(rank, _)| *rank);
    keys.into_iter().map(|(_, key)| key).collect()
}

/// Every combination of an entry's values for an optimizer.
fn combinations<'r>(
    grid: &GridEntry,
    optimizer: &'r OptimizerEntry,
    base: Base<'r>,
    registry: &Registry,
) -> Checked<Vec<Choices<'r>>> {
    let keys = keys(optimizer);
    let mut names = HashSet::new();
    if let Some(double) = keys.iter().map(KeyInForce::name).find(|name| !names.insert(*name)) {
        return Err(format!("{double} is declared twice for {}; rename the optimizer's own key", optimizer.name));
    }
    for (given, _) in grid.keys() {
        if given != "optimizer" && !keys.iter().any(|key| key.name() == given) {
            check_keys(grid, registry)?;
            let readers = readers(given, registry).join(", ");
            return Err(format!("{given} does not apply to {}, only to {readers}; remove it", optimizer.name));
        }
    }
    let Base { shape, lr } = base;
    let mut all = vec![Choices { optimizer, shape, lr, values: Vec::new() }];
    for key in &keys {
        all = with_key(grid, key, all)?;
    }
    Ok(all)
}

/// Extends the choices with each value of one more key.
fn with_key<'r>(grid: &GridEntry, key: &KeyInForce<'_>, all: Vec<Choices<'r>>) -> Checked<Vec<Choices<'r>>> {
    let (name, kind) = (key.name(), key.kind());
    let given = grid.get(name).map(|given| given.values(kind.is_list()));
    if given.as_ref().is_some_and(Vec::is_empty) {
        return Err(format!("{name} = [] has no value; give one or remove the key"));
    }
    let mut next = Vec::with_capacity(all.len());
    let mut unused = None;
    let mut used = false;
    for choices in all {
        let values = match (key.worth(&choices), &given) {
            (Worth::Default(_) | Worth::Required(_) | Worth::Optional, Some(given)) => {
                used = true;
                given.clone()
            }
            (Worth::Default(default), None) => vec![default],
            (Worth::Required(example), None) => {
                return Err(format!("{name} is missing for {}; add {name} = {example}", choices.optimizer.name));
            }
            (Worth::Optional, None) => {
                next.push(choices);
                continue;
            }
            (Worth::Fixed(_, why), Some(_)) => return Err(format!("{name} {why}")),
            (Worth::Fixed(value, _), None) => vec![value],
            (Worth::Nothing(why), _) => {
                unused = Some(why);
                next.push(choices);
                continue;
            }
        };
        for value in values {
            let mut choices = choices.clone();
            let value = kind.check(name, &value, choices.shape)?;
            if let (KeyInForce::Shared(GridKey { name: "epochs_factor", .. }), Some(factor)) = (key, value.number()) {
                choices.shape.epochs = (choices.shape.epochs as f64 * factor).round().max(1.0) as usize;
            }
            choices.values.push((name, value));
            next.push(choices);
        }
    }
    match unused {
        Some(why) if given.is_some() && !used => Err(format!("{name} {why}")),
        _ => Ok(next),
    }
}

/// Checks that every key of an entry is read by some optimizer.
pub(super) fn check_keys(grid: &GridEntry, registry: &Registry) -> Checked<()> {
    match grid.keys().find(|(key, _)| *key != "optimizer" && readers(key, registry).is_empty()) {
        None => Ok(()),
        Some((key, _)) => {
            let mut known = HashSet::new();
            let all = registry.optimizers().iter().flat_map(keys).map(|key| key.name());
            let all: Vec<&str> = std::iter::once("optimizer").chain(all).filter(|key| known.insert(*key)).collect();
            Err(format!("{key} is not a key; use {}", all.join(", ")))
        }
    }
}

/// Keys that the optimizer of an entry without lists reads as numbers.
pub(super) fn numeric_keys(grid: &GridEntry, registry: &Registry) -> Checked<Vec<(&'static str, Kind)>> {
    let all = optimizers(grid, registry)?;
    let keys = all.iter().flat_map(|optimizer| keys(optimizer)).map(|key| (key.name(), key.kind()));
    Ok(keys.filter(|(_, kind)| matches!(kind, Kind::Number(_) | Kind::Count(..))).collect())
}

/// Names of the optimizers that read a key.
fn readers<'r>(key: &str, registry: &'r Registry) -> Vec<&'r str> {
    let reads = |optimizer: &&OptimizerEntry| keys(optimizer).iter().any(|other| other.name() == key);
    registry.optimizers().iter().filter(reads).map(|optimizer| optimizer.name).collect()
}
