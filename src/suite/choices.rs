//! From an entry of the grid to optimizers: every combination of its values, checked, as a cell holds it.

use std::collections::HashSet;

use serde::de::DeserializeOwned;

use super::axes::{AXES, GridKey, OWN_RANK, Worth};
use super::cell::Cell;
use super::grid::GridEntry;
use crate::mask::{FisherMode, Grow, MaskScore, MaskSpec, Pattern, Refresh, RefreshName, Score, When};
use crate::optim::{
    AscentSpec, BatchNormPass2, Key, Kind, Norm, OptimizerEntry, OptimizerSpec, Perturbation, Registry, TrainingShape,
    Value, Variant,
};
use crate::word;

/// What is wrong, in words: key, value, remedy.
pub(super) type Checked<T> = Result<T, String>;

/// One combination of an entry's values on its way: those of the keys so far, in the order of their ranks.
#[derive(Clone)]
pub(super) struct Choices<'r> {
    optimizer: &'r OptimizerEntry,
    shape: TrainingShape,
    lr: f64,
    values: Vec<(&'static str, Value)>,
}

/// A key in force for an optimizer: a shared one, or one of its own.
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
            Self::Own(key) => Worth::Given(key.default),
        }
    }
}

impl<'r> Choices<'r> {
    /// The optimizer.
    pub(super) fn optimizer(&self) -> &OptimizerEntry {
        self.optimizer
    }

    /// The training they are for.
    pub(super) fn shape(&self) -> TrainingShape {
        self.shape
    }

    /// The learning rate of the schedule.
    pub(super) fn lr(&self) -> f64 {
        self.lr
    }

    /// The value chosen for a key.
    fn value(&self, key: &str) -> Option<&Value> {
        self.values.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The number chosen for a key; 0 where the key does not apply.
    fn number(&self, key: &str) -> f64 {
        self.value(key).and_then(Value::number).unwrap_or_default()
    }

    /// The count chosen for a key; 0 where the key does not apply.
    fn count(&self, key: &str) -> usize {
        self.value(key).and_then(Value::count).unwrap_or_default()
    }

    /// The word chosen for a key; empty where the key does not apply.
    pub(super) fn text(&self, key: &str) -> String {
        self.value(key).map(ToString::to_string).unwrap_or_default()
    }

    /// The meaning of the word chosen for a key, where the key applies.
    pub(super) fn parsed<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        match self.value(key)? {
            Value::Word(text) => word::value(text).ok(),
            _ => None,
        }
    }

    /// When the mask changes: as given, or as the optimizer always does it.
    pub(super) fn refresh(&self) -> RefreshName {
        let only = self.optimizer.masks.and_then(|masks| masks.refreshes.first().copied());
        self.parsed("refresh").or(only).unwrap_or(RefreshName::Interval)
    }

    /// A cell like `template` with these choices.
    fn cell(&self, template: &Cell) -> Checked<Cell> {
        let optimizer = self.spec()?;
        Ok(Cell { epochs: self.shape.epochs, lr: self.number("lr"), optimizer, ..template.clone() })
    }

    /// The optimizer as a cell holds it.
    fn spec(&self) -> Checked<OptimizerSpec> {
        let (momentum, nesterov) = (self.number("momentum"), self.value("nesterov") == Some(&Value::Flag(true)));
        if nesterov && momentum == 0.0 {
            return Err("nesterov = true needs momentum above 0".into());
        }
        let ascent = if self.optimizer.is_base_step() { None } else { Some(self.ascent()?) };
        let (name, weight_decay) = (self.optimizer.name.to_string(), self.number("weight_decay"));
        Ok(OptimizerSpec { name, momentum, nesterov, weight_decay, ascent })
    }

    fn ascent(&self) -> Checked<AscentSpec> {
        let own =
            self.optimizer.keys.iter().filter_map(|key| Some((key.name.to_string(), self.value(key.name)?.clone())));
        let variant = Variant { name: self.optimizer.name.into(), settings: own.collect() };
        let ascent = AscentSpec {
            rho: self.number("rho"),
            batch_norm: self.parsed("batch_norm").unwrap_or(BatchNormPass2::Update),
            mask: self.optimizer.masks.is_some().then(|| self.mask()).transpose()?,
            norm: self.parsed("norm").unwrap_or_default(),
            perturbation: self.parsed("perturbation").unwrap_or_default(),
            rho_decay: self.parsed("rho_decay").unwrap_or_default(),
            variant: self.optimizer.is_variant().then_some(variant),
        };
        if ascent.perturbation == Perturbation::Implicit {
            if ascent.norm != Norm::Full {
                return Err(
                    "perturbation = \"implicit\" perturbs all weights, so that its norm is the full gradient's; \
                            remove norm"
                        .into(),
                );
            }
            if ascent.mask.as_ref().is_some_and(|mask| mask.refresh.reads_gradient()) {
                return Err(
                    "perturbation = \"implicit\" takes its first gradient through masked weights, so that masks \
                            cannot be chosen by it; use mask = \"fisher\", \"weight\" or \"random\""
                        .into(),
                );
            }
        }
        (self.optimizer.check)(&ascent, self.shape)?;
        Ok(ascent)
    }

    fn mask(&self) -> Checked<MaskSpec> {
        let (name, masks) = (self.optimizer.name, self.optimizer.masks);
        let score = self.parsed("mask").unwrap_or(MaskScore::Random);
        let scores = masks.map_or(&[][..], |masks| masks.scores);
        if !scores.contains(&score) {
            let words: Vec<String> = scores.iter().map(ToString::to_string).collect();
            let usable = match words.as_slice() {
                [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
                words => words.join(", "),
            };
            return Err(format!("mask = \"{score}\" cannot be used with {name}; use {usable}, or optimizer ssam"));
        }
        let refresh = self.refresh();
        if !masks.is_some_and(|masks| masks.refreshes.contains(&refresh)) {
            return Err(format!("refresh = \"{}\" cannot be used with {name}; use ssam-d", word::word(&refresh)));
        }
        let pattern = self.parsed("pattern").unwrap_or(Pattern::Unstructured);
        let when = match refresh {
            RefreshName::Static => When::Static { epochs: self.shape.epochs },
            RefreshName::Interval => When::Interval { epochs: self.count("mask_interval") },
            RefreshName::Dynamic if score == MaskScore::Fisher => {
                return Err("refresh = \"dynamic\" drops and grows by the scores of the current batch, and fisher is not a \
                            per-batch score; use mask = \"gradient\", \"weight\" or \"random\", or refresh = \"interval\""
                    .into());
            }
            RefreshName::Dynamic if pattern.fixed_sparsity().is_some() => {
                return Err(format!(
                    "pattern = \"{pattern}\" fixes how many of a group are live, so nothing can be dropped and grown; use \
                     optimizer ssam with refresh = \"interval\" or \"static\""
                ));
            }
            RefreshName::Dynamic => When::Dynamic {
                epochs: self.count("mask_interval"),
                drop_rate: self.number("drop_rate"),
                grow: self.parsed("grow").unwrap_or(Grow::Random),
            },
        };
        let score = match score {
            MaskScore::Fisher => Score::Fisher {
                samples: self.count("fisher_samples"),
                mode: self.parsed("fisher_mode").unwrap_or(FisherMode::Clean),
            },
            MaskScore::Gradient => Score::Gradient,
            MaskScore::Weight => Score::Weight,
            MaskScore::Random => Score::Random,
        };
        let refresh = Refresh { score, when }.normalised(self.shape.epochs);
        Ok(MaskSpec { sparsity: self.number("sparsity"), pattern, refresh })
    }
}

/// The training that entries of a grid are for, and the learning rate of its schedule.
#[derive(Clone, Copy)]
pub(super) struct Base {
    pub(super) shape: TrainingShape,
    pub(super) lr: f64,
}

/// The cells like `template` that an entry describes.
pub(super) fn cells(grid: &GridEntry, template: &Cell, base: Base, registry: &Registry) -> Checked<Vec<Cell>> {
    let mut cells = Vec::new();
    for optimizer in optimizers(grid, registry)? {
        for choices in combinations(grid, optimizer, base, registry)? {
            cells.push(choices.cell(template)?);
        }
    }
    Ok(cells)
}

/// The one optimizer that an entry without lists describes.
///
/// # Errors
/// Names the key, the value and the remedy.
pub fn one_optimizer(grid: &GridEntry, shape: TrainingShape, registry: &Registry) -> Checked<OptimizerSpec> {
    for key in ["epochs_factor", "lr", "rho_decay"] {
        if grid.get(key).is_some() {
            return Err(format!("{key} is of whole trainings; remove it"));
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
        several => Err(format!("{} optimizers are described where one is wanted", several.len())),
    }
}

/// The optimizers that an entry names.
fn optimizers<'r>(grid: &GridEntry, registry: &'r Registry) -> Checked<Vec<&'r OptimizerEntry>> {
    let given = grid.get("optimizer").ok_or("optimizer is missing; add optimizer = \"sgd\"")?;
    let names = given.values(false);
    if names.is_empty() {
        return Err("optimizer = [] has no value; give one".into());
    }
    let find = |name: Value| match &name {
        Value::Word(text) => registry.find(text).map_err(|e| format!("optimizer: {e}")),
        other => Err(format!("optimizer = {} must be a name", other.quoted())),
    };
    names.into_iter().map(find).collect()
}

/// The keys that an optimizer reads, outermost loop first.
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
    base: Base,
    registry: &Registry,
) -> Checked<Vec<Choices<'r>>> {
    let keys = keys(optimizer);
    for (given, _) in grid.keys() {
        if given != "optimizer" && !keys.iter().any(|key| key.name() == given) {
            return Err(unread(given, optimizer.name, registry));
        }
    }
    let Base { shape, lr } = base;
    let mut all = vec![Choices { optimizer, shape, lr, values: Vec::new() }];
    for key in &keys {
        all = with_key(grid, key, all)?;
    }
    Ok(all)
}

/// The choices with each of the values of one more key.
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
            (Worth::Given(_), Some(given)) => {
                used = true;
                given.clone()
            }
            (Worth::Given(default), None) => vec![default.value().map_err(|example| {
                format!("{name} is missing for {}; add {name} = {example}", choices.optimizer.name)
            })?],
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
            if let (KeyInForce::Shared(GridKey { name: "epochs_factor", .. }), Some(factor)) = (key, value.count()) {
                choices.shape.epochs *= factor;
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

/// Why an optimizer does not read a key.
fn unread(key: &str, name: &str, registry: &Registry) -> String {
    let reads = |optimizer: &&OptimizerEntry| keys(optimizer).iter().any(|other| other.name() == key);
    let readers: Vec<&str> = registry.entries().iter().filter(reads).map(|optimizer| optimizer.name).collect();
    if readers.is_empty() {
        let mut known = HashSet::new();
        let all = registry.entries().iter().flat_map(|optimizer| keys(optimizer)).map(|key| key.name());
        let all: Vec<&str> = std::iter::once("optimizer").chain(all).filter(|key| known.insert(*key)).collect();
        return format!("{key} is not a key; use {}", all.join(", "));
    }
    format!("{key} does not apply to {name}, only to {}; remove it", readers.join(", "))
}
