//! A combination of a grid entry's values, and the optimizer it gives a cell.

use serde::de::DeserializeOwned;

use super::cell::{Cell, numerics};
use crate::mask::{Amount, FisherMode, Grow, MaskScore, MaskSpec, Pattern, Refresh, RefreshName, Score, When};
use crate::optim::{
    AscentSpec, BaseName, BaseSpec, BatchNormPass2, Form, Norm, OptimizerEntry, OptimizerSpec, Perturbation,
    TrainingShape, Value, Variant,
};
use crate::word;

/// Result whose error message names the key, the value and the remedy.
pub(super) type Checked<T> = Result<T, String>;

/// Combination of an entry's values under construction: the keys chosen so far, by rank.
#[derive(Clone)]
pub(super) struct Choices<'r> {
    pub(super) optimizer: &'r OptimizerEntry,
    pub(super) shape: TrainingShape<'r>,
    pub(super) lr: f64,
    pub(super) values: Vec<(&'static str, Value)>,
}

impl<'r> Choices<'r> {
    /// Value chosen for a key.
    fn value(&self, key: &str) -> Option<&Value> {
        self.values.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Number chosen for a key; 0 if the key does not apply.
    fn number(&self, key: &str) -> f64 {
        self.value(key).and_then(Value::number).unwrap_or_default()
    }

    /// Count chosen for a key; 0 if the key does not apply.
    fn count(&self, key: &str) -> usize {
        self.value(key).and_then(Value::count).unwrap_or_default()
    }

    /// Budget of a mask, if it has one.
    pub(super) fn budget(&self) -> Option<f64> {
        self.value("budget").and_then(Value::number)
    }

    /// Word chosen for a key; empty if the key does not apply.
    pub(super) fn text(&self, key: &str) -> String {
        self.value(key).map(ToString::to_string).unwrap_or_default()
    }

    /// Parsed word chosen for a key, if the key applies.
    pub(super) fn parsed<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        match self.value(key)? {
            Value::Word(text) => word::value(text).ok(),
            _ => None,
        }
    }

    /// Schedule of mask changes: the given one, or the optimizer's fixed one.
    pub(super) fn refresh(&self) -> RefreshName {
        let only = self.optimizer.masks.and_then(|masks| masks.refreshes.first().copied());
        self.parsed("refresh").or(only).unwrap_or(RefreshName::Interval)
    }

    /// Base step: the given one, or the optimizer's own.
    pub(super) fn base(&self) -> BaseName {
        match self.optimizer.form {
            Form::BaseStep(base) => base,
            Form::Ascent | Form::Variant => self.parsed("base").unwrap_or(BaseName::Sgd),
        }
    }

    /// Creates a cell from `template` with these choices.
    pub(super) fn cell(&self, template: &Cell) -> Checked<Cell> {
        let optimizer = self.spec()?;
        let (numerics, lr, epochs) = (numerics(&optimizer, &template.model), self.number("lr"), self.shape.epochs);
        if template.warmup_epochs >= epochs {
            let factor = self.number("epochs_factor");
            let warmup = template.warmup_epochs;
            return Err(format!(
                "epochs_factor = {factor} leaves {epochs} epochs, all of them within schedule.warmup_epochs = {warmup}; raise it"
            ));
        }
        Ok(Cell { numerics, epochs, lr, optimizer, ..template.clone() })
    }

    /// Optimizer in the form of a cell.
    pub(super) fn spec(&self) -> Checked<OptimizerSpec> {
        let (momentum, nesterov) = (self.number("momentum"), self.value("nesterov") == Some(&Value::Flag(true)));
        let base = match self.base() {
            BaseName::Sgd => BaseSpec::Sgd,
            BaseName::Adamw if nesterov => {
                return Err("nesterov = true belongs to SGD, not to AdamW; remove it".into());
            }
            BaseName::Adamw => BaseSpec::Adamw { beta2: self.number("beta2") },
        };
        if nesterov && momentum == 0.0 {
            return Err("nesterov = true needs momentum above 0".into());
        }
        let ascent = if matches!(self.optimizer.form, Form::BaseStep(_)) { None } else { Some(self.ascent()?) };
        let (name, weight_decay) = (self.optimizer.name.to_string(), self.number("weight_decay"));
        Ok(OptimizerSpec { name, base, momentum, nesterov, weight_decay, ascent })
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
            variant: (self.optimizer.form == Form::Variant).then_some(variant),
        };
        if self.budget().is_some() && (ascent.norm == Norm::Full || ascent.perturbation == Perturbation::Implicit) {
            return Err(
                "budget requires norm = \"masked\" or \"lagged\" and perturbation = \"explicit\": others compute every gradient".into(),
            );
        }
        if ascent.perturbation == Perturbation::Implicit {
            if ascent.norm != Norm::Full {
                return Err(
                    "perturbation = \"implicit\" perturbs all weights, so its norm is the full gradient's; remove norm"
                        .into(),
                );
            }
            if ascent.mask.as_ref().is_some_and(|mask| mask.refresh.reads_gradient()) {
                return Err(
                    "perturbation = \"implicit\" takes its first gradient through masked weights, so that gradient cannot select masks; use mask = \"fisher\", \"weight\" or \"random\""
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
        let pattern = self.parsed("group_axis").map_or(pattern, |axis| pattern.along(axis));
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
            RefreshName::Dynamic if self.budget().is_some() => {
                return Err("refresh = \"dynamic\" keeps a number of weights live, and budget does not; use optimizer ssam or ssam-f \
                            with refresh = \"interval\" or \"static\""
                    .into());
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
        let amount = self.budget().map_or_else(|| Amount::Sparsity(self.number("sparsity")), Amount::Budget);
        Ok(MaskSpec { amount, pattern, refresh })
    }
}
