//! Axes: all settings that a grid can vary. A new one needs a row here, a field of the cell, and a
//! line in `choices.rs` that sets the field. The rows determine the keys of a grid entry with their
//! defaults and errors, the schema, filters, labels, and report columns.

use std::borrow::Cow;

use super::cell::Cell;
use super::choices::Choices;
use crate::mask::{FisherMode, GroupAxis, Grow, MaskScore, Pattern, RefreshName, Score, When};
use crate::optim::{
    AscentSpec, BaseName, BaseSpec, BatchNormPass2, Bounds, Form, Kind, Most, Norm, OptimizerEntry, Perturbation,
    RhoDecay, Value,
};
use crate::word::word;

/// A setting that a grid can vary.
pub(super) struct Axis {
    /// Name in filters, labels and reports.
    pub(super) name: &'static str,
    /// Key in a grid entry, if any.
    pub(super) key: Option<GridKey>,
    /// Value that labels omit.
    pub(super) unsaid: Option<&'static str>,
    /// Value in a cell, if the axis applies.
    pub(super) get: fn(&Cell) -> Option<Value>,
}

/// A key of a grid entry.
pub(super) struct GridKey {
    /// Name in the entry.
    pub(super) name: &'static str,
    /// One-line description.
    pub(super) about: &'static str,
    /// Values it accepts.
    pub(super) kind: Kind,
    /// Order of the loops of an expansion, outermost first. Fixed, since hashes of plans depend on
    /// the order of cells.
    pub(super) rank: u8,
    /// Whether an optimizer reads the key.
    pub(super) read_by: fn(&OptimizerEntry) -> bool,
    /// Value of the key, given the choices for keys of lower rank.
    pub(super) worth: fn(&Choices<'_>) -> Worth,
}

/// Value of a key, given the choices already made.
pub(super) enum Worth {
    /// The given value, or else this default.
    Default(Value),
    /// The given value, if any.
    Optional,
    /// The given value; an example for the error if none is given.
    Required(&'static str),
    /// This value; none may be given, for this reason.
    Fixed(Value, String),
    /// No value; the message says what the key requires.
    Nothing(String),
}

/// Axes in the order of reports. An optimizer's own keys come before [`OWN_BEFORE`].
pub(super) const AXES: &[Axis] = &[
    Axis {
        name: "optimizer",
        key: None, // Its value determines the other keys.
        unsaid: None,
        get: |cell| Some(Value::Word(cell.optimizer.name.clone())),
    },
    Axis {
        name: "sparsity",
        key: Some(GridKey {
            name: "sparsity",
            about: "Fraction of weights not perturbed; a pattern N:M fixes it",
            kind: Kind::Number(Bounds::Fraction),
            rank: 7,
            read_by: masked,
            worth: |choices| match choices.parsed::<Pattern>("pattern").and_then(Pattern::fixed_sparsity) {
                _ if choices.budget().is_some() => {
                    Worth::Nothing("does not apply with budget, which decides how much is live; remove one".into())
                }
                None => Worth::Required("0.9"),
                Some(fixed) => Worth::Fixed(
                    fixed.into(),
                    format!(
                        "does not apply to pattern = \"{}\", which fixes it; give the pattern an entry of its own",
                        choices.text("pattern")
                    ),
                ),
            },
        }),
        unsaid: None,
        get: |cell| Some(cell.sparsity()?.into()),
    },
    Axis {
        name: "mask",
        key: Some(GridKey {
            name: "mask",
            about: "Score that selects the live weights",
            kind: Kind::word::<MaskScore>(),
            rank: 8,
            read_by: masked,
            worth: |choices| {
                let first = choices.optimizer.masks.and_then(|masks| masks.scores.first());
                Worth::Default(Value::Word(word(first.unwrap_or(&MaskScore::Fisher))))
            },
        }),
        unsaid: None,
        get: |cell| Some(Value::Word(word(&cell.mask()?.refresh.score.name()))),
    },
    Axis {
        name: "pattern",
        key: Some(GridKey {
            name: "pattern",
            about: "Granularity of the mask: unstructured, tensor, channel or N:M",
            kind: Kind::word::<Pattern>(),
            rank: 6,
            read_by: masked,
            worth: |_| Worth::Default(Value::Word("unstructured".into())),
        }),
        unsaid: Some("unstructured"),
        get: |cell| Some(Value::Word(cell.mask()?.pattern.to_string())),
    },
    Axis {
        name: "group_axis",
        key: Some(GridKey {
            name: "group_axis",
            about: "Of a pattern N:M, the axis of a matrix that its groups follow: input (d_in) or output (d_out, the default with perturbation = \"implicit\")",
            kind: Kind::word::<GroupAxis>(),
            rank: 21, // After the perturbation.
            read_by: masked,
            worth: |choices| match choices.parsed::<Pattern>("pattern").and_then(Pattern::group_axis) {
                None => {
                    Worth::Nothing("requires a pattern N:M, such as \"2:4\", which this entry lacks; remove it".into())
                }
                Some(_) => Worth::Default(Value::Word(word(&match choices.parsed("perturbation") {
                    Some(Perturbation::Implicit) => GroupAxis::Output,
                    Some(Perturbation::Explicit) | None => GroupAxis::Input,
                }))),
            },
        }),
        unsaid: Some("input"),
        get: |cell| Some(Value::Word(word(&cell.mask()?.pattern.group_axis()?))),
    },
    Axis {
        name: "budget",
        key: Some(GridKey {
            name: "budget",
            about: "Instead of a sparsity: executed FLOPs of a step over those of SGD, for which the tensors with the largest scores are live",
            kind: Kind::Number(Bounds::AboveOne),
            rank: 6, // After the pattern.
            read_by: |optimizer| {
                optimizer.masks.is_some_and(|masks| masks.refreshes.iter().any(|name| *name != RefreshName::Dynamic))
            },
            worth: |choices| match choices.parsed("pattern") {
                Some(Pattern::Tensor) => Worth::Optional,
                _ => Worth::Nothing("requires pattern = \"tensor\"; set it".into()),
            },
        }),
        unsaid: None,
        get: |cell| Some(cell.mask()?.amount.budget()?.into()),
    },
    Axis {
        name: "refresh",
        key: Some(GridKey {
            name: "refresh",
            about: "When the mask changes: static, every mask_interval epochs, or dynamic (dropped and grown in part)",
            kind: Kind::word::<RefreshName>(),
            rank: 9,
            read_by: |optimizer| optimizer.masks.is_some_and(|masks| masks.refreshes.len() > 1),
            worth: |choices| {
                let first = choices.optimizer.masks.and_then(|masks| masks.refreshes.first());
                Worth::Default(Value::Word(word(first.unwrap_or(&RefreshName::Interval))))
            },
        }),
        unsaid: Some("interval"),
        get: |cell| Some(Value::Word(word(&cell.mask()?.refresh.when.name()))),
    },
    Axis {
        name: "mask_interval",
        key: Some(GridKey {
            name: "mask_interval",
            about: "Epochs between mask refreshes",
            kind: Kind::Count(1, Most::Fixed(100_000)),
            rank: 10,
            read_by: masked,
            worth: |choices| match choices.parsed("refresh") {
                Some(RefreshName::Static) => Worth::Nothing("does not apply to refresh = \"static\"; remove it".into()),
                Some(RefreshName::Interval | RefreshName::Dynamic) | None => Worth::Default(Value::Count(1)),
            },
        }),
        unsaid: Some("1"),
        get: |cell| match cell.mask()?.refresh.when {
            When::Static { .. } => None,
            When::Interval { epochs } | When::Dynamic { epochs, .. } => Some(epochs.into()),
        },
    },
    Axis {
        name: "fisher_samples",
        key: Some(GridKey {
            name: "fisher_samples",
            about: "Training samples in the Fisher score",
            kind: Kind::Count(1, Most::TrainingSamples),
            rank: 11,
            read_by: by_fisher,
            worth: |choices| with_fisher(choices, Value::Count(128.min(choices.shape.train as u64))),
        }),
        unsaid: Some("128"),
        get: |cell| match cell.mask()?.refresh.score {
            Score::Fisher { samples, .. } => Some(samples.into()),
            Score::Gradient | Score::Weight | Score::Random => None,
        },
    },
    Axis {
        name: "fisher_mode",
        key: Some(GridKey {
            name: "fisher_mode",
            about: "How the Fisher score is computed",
            kind: Kind::word::<FisherMode>(),
            rank: 12,
            read_by: by_fisher,
            worth: |choices| with_fisher(choices, Value::Word("clean".into())),
        }),
        unsaid: Some("clean"),
        get: |cell| match &cell.mask()?.refresh.score {
            Score::Fisher { mode, .. } => Some(Value::Word(word(mode))),
            Score::Gradient | Score::Weight | Score::Random => None,
        },
    },
    Axis {
        name: "drop_rate",
        key: Some(GridKey {
            name: "drop_rate",
            about: "Initial fraction of live weights dropped at a refresh",
            kind: Kind::Number(Bounds::Fraction),
            rank: 13,
            read_by: dynamic,
            worth: |choices| while_dynamic(choices, Value::Number(0.5)),
        }),
        unsaid: Some("0.5"),
        get: |cell| match cell.mask()?.refresh.when {
            When::Dynamic { drop_rate, .. } => Some(drop_rate.into()),
            When::Static { .. } | When::Interval { .. } => None,
        },
    },
    Axis {
        name: "grow",
        key: Some(GridKey {
            name: "grow",
            about: "Score that selects the dead weights to grow",
            kind: Kind::word::<Grow>(),
            rank: 14,
            read_by: dynamic,
            worth: |choices| while_dynamic(choices, Value::Word("random".into())),
        }),
        unsaid: Some("random"),
        get: |cell| match &cell.mask()?.refresh.when {
            When::Dynamic { grow, .. } => Some(Value::Word(word(grow))),
            When::Static { .. } | When::Interval { .. } => None,
        },
    },
    Axis {
        name: "rho",
        key: Some(GridKey {
            name: "rho",
            about: "Radius of the ascent step",
            kind: Kind::Number(Bounds::NonNegative),
            rank: 4,
            read_by: |optimizer| optimizer.reads.contains(&"rho"),
            worth: |_| Worth::Required("0.1"),
        }),
        unsaid: None,
        get: |cell| Some(ascent(cell)?.rho.into()),
    },
    Axis {
        name: "norm",
        key: Some(GridKey {
            name: "norm",
            about: "Divisor of a masked ascent step: the norm of the full gradient, of the masked gradient, or of the previous step's second gradient",
            kind: Kind::word::<Norm>(),
            rank: 15,
            read_by: masked,
            // The full norm reads the whole gradient, which no budget below SAM's allows.
            worth: |choices| {
                Worth::Default(Value::Word(if choices.budget().is_some() { "masked" } else { "full" }.into()))
            },
        }),
        unsaid: Some("full"),
        get: |cell| cell.mask().and(ascent(cell)).map(|ascent| Value::Word(word(&ascent.norm))),
    },
    Axis {
        name: "perturbation",
        key: Some(GridKey {
            name: "perturbation",
            about: "Whether the mask is applied to the ascent step (explicit) or to the weights of the first backward pass (implicit)",
            kind: Kind::word::<Perturbation>(),
            rank: 16,
            read_by: masked,
            worth: |_| Worth::Default(Value::Word("explicit".into())),
        }),
        unsaid: Some("explicit"),
        get: |cell| cell.mask().and(ascent(cell)).map(|ascent| Value::Word(word(&ascent.perturbation))),
    },
    Axis {
        name: "rho_decay",
        key: Some(GridKey {
            name: "rho_decay",
            about: "How the radius changes: not at all, as rho / sqrt t in step t, or in proportion to the learning rate",
            kind: Kind::word::<RhoDecay>(),
            rank: 17,
            read_by: |optimizer| optimizer.reads.contains(&"rho_decay"),
            worth: |_| Worth::Default(Value::Word("constant".into())),
        }),
        unsaid: Some("constant"),
        get: |cell| Some(Value::Word(word(&ascent(cell)?.rho_decay))),
    },
    Axis {
        name: "batch_norm",
        key: Some(GridKey {
            name: "batch_norm",
            about: "BatchNorm running statistics in the second pass; the papers' code updates them",
            kind: Kind::word::<BatchNormPass2>(),
            rank: 18,
            read_by: |optimizer| optimizer.reads.contains(&"batch_norm"),
            worth: |_| Worth::Default(Value::Word("update".into())),
        }),
        unsaid: Some("update"),
        get: |cell| Some(Value::Word(word(&ascent(cell)?.batch_norm))),
    },
    Axis {
        name: "lr",
        key: Some(GridKey {
            name: "lr",
            about: "Peak learning rate, instead of the schedule's",
            kind: Kind::Number(Bounds::Positive),
            rank: 1,
            read_by: any,
            worth: |choices| Worth::Default(Value::Number(choices.lr)),
        }),
        unsaid: None,
        get: |cell| Some(cell.lr.into()),
    },
    Axis {
        name: "base",
        key: Some(GridKey {
            name: "base",
            about: "Base step along the direction: sgd, or adamw, whose beta1 is the momentum",
            kind: Kind::word::<BaseName>(),
            rank: 1,
            read_by: |optimizer| !matches!(optimizer.form, Form::BaseStep(_)),
            worth: |_| Worth::Default(Value::Word("sgd".into())),
        }),
        unsaid: Some("sgd"),
        get: |cell| Some(Value::Word(word(&cell.optimizer.base.name()))),
    },
    Axis {
        name: "beta2",
        key: Some(GridKey {
            name: "beta2",
            about: "Decay rate of AdamW's average of the squared gradient",
            kind: Kind::Number(Bounds::BelowOne),
            rank: 20,
            read_by: |optimizer| optimizer.form != Form::BaseStep(BaseName::Sgd),
            worth: |choices| match choices.base() {
                BaseName::Adamw => Worth::Default(Value::Number(0.999)),
                BaseName::Sgd => Worth::Nothing("requires base = \"adamw\", which this entry lacks; remove it".into()),
            },
        }),
        unsaid: Some("0.999"),
        get: |cell| match cell.optimizer.base {
            BaseSpec::Adamw { beta2 } => Some(beta2.into()),
            BaseSpec::Sgd => None,
        },
    },
    Axis {
        name: "momentum",
        key: Some(GridKey {
            name: "momentum",
            about: "Momentum of the base step; of AdamW, beta1",
            kind: Kind::Number(Bounds::BelowOne),
            rank: 2,
            read_by: any,
            worth: |_| Worth::Default(Value::Number(0.9)),
        }),
        unsaid: Some("0.9"),
        get: |cell| Some(cell.optimizer.momentum.into()),
    },
    Axis {
        name: "nesterov",
        key: Some(GridKey {
            name: "nesterov",
            about: "Nesterov momentum in the base step",
            kind: Kind::Flag,
            rank: 19,
            read_by: any,
            worth: |_| Worth::Default(Value::Flag(false)),
        }),
        unsaid: Some("false"),
        get: |cell| Some(cell.optimizer.nesterov.into()),
    },
    Axis {
        name: "weight_decay",
        key: Some(GridKey {
            name: "weight_decay",
            about: "Weight decay: SGD's is coupled (default 5e-4), AdamW's decoupled (default .01)",
            kind: Kind::Number(Bounds::NonNegative),
            rank: 3,
            read_by: any,
            worth: |choices| match choices.base() {
                BaseName::Sgd => Worth::Default(Value::Number(5e-4)),
                BaseName::Adamw => Worth::Default(Value::Number(0.01)),
            },
        }),
        unsaid: None,
        get: |cell| Some(cell.optimizer.weight_decay.into()),
    },
    Axis {
        name: "epochs",
        key: Some(GridKey {
            name: "epochs_factor",
            about: "Factor by which the schedule's epochs are multiplied, such as 2 or .25; at least one epoch is left",
            kind: Kind::Number(Bounds::Factor),
            rank: 0,
            read_by: any,
            worth: |_| Worth::Default(Value::Number(1.0)),
        }),
        unsaid: None,
        get: |cell| Some(cell.epochs.into()),
    },
    Axis {
        name: "label_noise",
        key: None, // One for all rows: rows are compared on the same labels.
        unsaid: None,
        get: |cell| Some(Value::Word(cell.data.label_noise?.to_string())),
    },
    Axis {
        name: "label_smoothing",
        key: None, // Of the objective, which is one for all rows.
        unsaid: None,
        get: |cell| Some(cell.objective.label_smoothing()?.into()),
    },
    Axis { name: "seed", key: None, unsaid: None, get: |cell| Some(Value::Count(cell.seed)) },
];

/// Rank of an optimizer's own keys.
pub(super) const OWN_RANK: u8 = 5;

/// Axis that follows an optimizer's own keys.
const OWN_BEFORE: &str = "batch_norm";

fn any(_: &OptimizerEntry) -> bool {
    true
}

fn masked(optimizer: &OptimizerEntry) -> bool {
    optimizer.masks.is_some()
}

fn by_fisher(optimizer: &OptimizerEntry) -> bool {
    optimizer.masks.is_some_and(|masks| masks.scores.contains(&MaskScore::Fisher))
}

fn dynamic(optimizer: &OptimizerEntry) -> bool {
    optimizer.masks.is_some_and(|masks| masks.refreshes.contains(&RefreshName::Dynamic))
}

fn with_fisher(choices: &Choices<'_>, default: Value) -> Worth {
    let other = |score| choices.optimizer.masks.is_some_and(|masks| masks.scores.contains(&score));
    match choices.parsed("mask") {
        Some(MaskScore::Fisher) => Worth::Default(default),
        // The score itself is rejected once all keys are known.
        Some(score) if !other(score) => Worth::Default(default),
        _ => Worth::Nothing("requires mask = \"fisher\", which this entry lacks; remove it".into()),
    }
}

fn while_dynamic(choices: &Choices<'_>, default: Value) -> Worth {
    match choices.refresh() {
        RefreshName::Dynamic => Worth::Default(default),
        RefreshName::Static | RefreshName::Interval => {
            Worth::Nothing("requires refresh = \"dynamic\", which this entry lacks; remove it".into())
        }
    }
}

fn ascent(cell: &Cell) -> Option<&AscentSpec> {
    cell.optimizer.ascent.as_ref()
}

impl Cell {
    /// Axes that apply to the cell, with their values, in the order of reports.
    pub fn axes(&self) -> Vec<(Cow<'static, str>, Value)> {
        let own = self.optimizer.own_settings();
        let mut axes = Vec::with_capacity(AXES.len() + own.len());
        for axis in AXES {
            if axis.name == OWN_BEFORE {
                axes.extend(own.iter().map(|(name, value)| (Cow::Owned(name.clone()), value.clone())));
            }
            axes.extend((axis.get)(self).map(|value| (Cow::Borrowed(axis.name), value)));
        }
        axes
    }

    /// Label for progress lines: the axes whose values differ from a grid's defaults.
    pub fn label(&self) -> String {
        format!("{} seed={}", self.setting_label(), self.seed)
    }

    /// Label without the seed.
    pub fn setting_label(&self) -> String {
        let mut label = self.optimizer.name.clone();
        for (name, value) in self.axes() {
            // AdamW's name says its base step.
            let is_named = name == "base" && value.to_string() == self.optimizer.name;
            if !is_named && !is_unsaid(&name, &value.to_string()) && !matches!(&*name, "optimizer" | "seed") {
                label.push_str(&format!(" {name}={value}"));
            }
        }
        label
    }
}

/// Whether labels leave out this value of an axis.
pub(crate) fn is_unsaid(axis: &str, value: &str) -> bool {
    AXES.iter().any(|known| known.name == axis && known.unsaid == Some(value))
}

/// Names of the axes of these cells, in the order of reports: the shared ones and the optimizers'
/// own keys.
pub fn axis_names<'c>(cells: impl IntoIterator<Item = &'c Cell>) -> Vec<String> {
    let mut own: Vec<&str> = Vec::new();
    for (name, _) in cells.into_iter().flat_map(|cell| cell.optimizer.own_settings()) {
        if !own.contains(&name.as_str()) {
            own.push(name);
        }
    }
    let place = AXES.iter().position(|axis| axis.name == OWN_BEFORE).unwrap_or(AXES.len());
    let names = |axes: &'static [Axis]| axes.iter().map(|axis| axis.name.to_string());
    names(&AXES[..place]).chain(own.into_iter().map(str::to_string)).chain(names(&AXES[place..])).collect()
}

/// Report column: an axis other than the seed, or all of an optimizer's own keys together.
pub struct Column {
    /// Name of the column.
    pub name: &'static str,
    /// Values of its axis; `None` if they are words without a fixed list.
    pub kind: Option<Kind>,
    axis: Option<&'static Axis>,
}

/// Columns that distinguish settings, in the order of reports.
pub fn columns() -> Vec<Column> {
    let mut columns = Vec::with_capacity(AXES.len());
    for axis in AXES.iter().filter(|axis| axis.name != "seed") {
        if axis.name == OWN_BEFORE {
            columns.push(Column { name: "variant", kind: None, axis: None });
        }
        let kind = match axis.name {
            // Its key is a factor.
            "epochs" => Some(Kind::Count(1, Most::Fixed(u64::MAX))),
            _ => axis.key.as_ref().map(|key| key.kind),
        };
        columns.push(Column { name: axis.name, kind, axis: Some(axis) });
    }
    columns
}

impl Column {
    /// Value in a cell, if the axis applies.
    pub fn value(&self, cell: &Cell) -> Option<Value> {
        match self.axis {
            Some(axis) => (axis.get)(cell),
            None => {
                let texts: Vec<String> =
                    cell.optimizer.own_settings().iter().map(|(name, value)| format!("{name}={value}")).collect();
                Some(texts.join(" ")).filter(|text| !text.is_empty()).map(Value::Word)
            }
        }
    }
}
