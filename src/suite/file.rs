//! A suite as the user writes it (TOML). Everything is optional here; what is missing or impossible is found
//! when the suite is expanded.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::cell::{BatchNormPass2, FisherMode, Grow, MaskScore, Measure, OptimizerName, RefreshName, RhoDecay};
use crate::data::OnUnreadable;
use crate::data::augment::Augment;
use crate::mask::Pattern;
use crate::model::ModelSpec;
use crate::nn::Objective;
use crate::optim::{Decay, Norm, Perturbation};

/// A suite: a name, settings common to all profiles, and profiles that override them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuiteFile {
    /// Short name, used in folder names.
    pub name: String,
    /// One line for `list`.
    pub description: String,
    /// Settings common to all profiles.
    #[serde(default)]
    pub base: Settings,
    /// Profiles by name; each key given replaces the common one.
    pub profiles: BTreeMap<String, Settings>,
}

/// What is trained, on what, and the grid of optimizers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// One line about the profile.
    pub description: Option<String>,
    /// Another profile, whose settings hold where this one says nothing, before the common ones do.
    pub like: Option<String>,
    /// The data set and how much of it.
    #[serde(default)]
    pub data: DataFile,
    /// The model.
    pub model: Option<ModelSpec>,
    /// What is minimised: `cross-entropy` (default) or `squared-error`.
    pub objective: Option<Objective>,
    /// Epochs, batches and the learning rate.
    #[serde(default)]
    pub schedule: ScheduleFile,
    /// What happens to a training sample.
    pub augment: Option<Augment>,
    /// What is measured on the way, beside what always is.
    pub measure: Option<Measure>,
    /// Seeds; every grid point is trained once with each.
    pub seeds: Option<Vec<u64>>,
    /// Epochs after which a training at work is kept, to go on there after a kill; 0 for never. About once a minute where not given. It
    /// changes no result.
    pub checkpoint: Option<usize>,
    /// Optimizers and their settings; each entry expands over its lists.
    pub grid: Option<Vec<GridFile>>,
}

/// The data set and how much of it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// Name of the data set.
    pub name: Option<String>,
    /// Training samples (the first ones); all where not given.
    pub train: Option<usize>,
    /// Test samples (the first ones); all where not given.
    pub test: Option<usize>,
    /// Height and width of the images (image-folder, synthetic).
    pub size: Option<usize>,
    /// Number of classes (image-folder, synthetic).
    pub classes: Option<usize>,
    /// What is done about images that cannot be read (image-folder, imagenet; default error).
    pub unreadable: Option<OnUnreadable>,
    /// Takes pixels as x / 256 less the mean of that pixel over the training images, in place of the set's normalisation by
    /// channel.
    pub centre_pixels: Option<bool>,
}

/// Epochs, batches and the learning rate.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleFile {
    /// Epochs.
    pub epochs: Option<usize>,
    /// Samples of a step.
    pub batch_size: Option<usize>,
    /// In place of `batch_size`: every step is taken on all training samples, and an epoch is so many steps.
    pub full_batch_steps: Option<usize>,
    /// Peak learning rate.
    pub lr: Option<f64>,
    /// How it falls: `"cosine"`, `"constant"`, `"inverse-sqrt"` or `{ multi-step = { milestones = [0.5, 0.75], gamma = 0.1 } }`.
    pub decay: Option<Decay>,
    /// Epochs of linear warm-up, counted in `epochs`.
    pub warmup_epochs: Option<usize>,
}

/// A value, or a list of values to try.
#[derive(Clone, Debug, JsonSchema)]
#[serde(untagged)]
pub enum Axis<T> {
    /// One value.
    One(T),
    /// One cell for each.
    Many(Vec<T>),
}

/// By hand: a derived untagged enum would answer every mistake with "did not match any variant".
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Axis<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AxisVisitor(PhantomData))
    }
}

struct AxisVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for AxisVisitor<T> {
    type Value = Axis<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list of values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(values)).map(Axis::Many)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        T::deserialize(value.into_deserializer()).map(Axis::One)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        T::deserialize(value.into_deserializer()).map(Axis::One)
    }

    /// JSON's integers.
    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        T::deserialize(value.into_deserializer()).map(Axis::One)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        T::deserialize(value.into_deserializer()).map(Axis::One)
    }
}

impl<T: Clone> Axis<T> {
    /// The values.
    pub fn values(&self) -> Vec<T> {
        match self {
            Self::One(value) => vec![value.clone()],
            Self::Many(values) => values.clone(),
        }
    }
}

/// One entry of the grid.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GridFile {
    /// `sgd`, `sam`, `ssam-f`, `ssam-d`, `ssam`, or a variant: `asam`, `gsam`, `looksam`, `esam`, `ae-sam`, `f-sam`, `sam-on`,
    /// `m-sam`.
    pub optimizer: Axis<OptimizerName>,
    /// Momentum of the base step (default .9).
    pub momentum: Option<Axis<f64>>,
    /// Nesterov momentum in the base step (default false).
    pub nesterov: Option<bool>,
    /// Coupled weight decay (default 5e-4).
    pub weight_decay: Option<Axis<f64>>,
    /// Peak learning rate, in place of the schedule's.
    pub lr: Option<Axis<f64>>,
    /// Train this many times the schedule's epochs (default 1).
    pub epochs_factor: Option<Axis<usize>>,
    /// Radius of the ascent step (all but sgd).
    pub rho: Option<Axis<f64>>,
    /// How the radius changes: `constant` (default) or `inverse-sqrt`, rho / sqrt t in step t (all but sgd).
    pub rho_decay: Option<RhoDecay>,
    /// BatchNorm running statistics in the second pass (all but sgd; default update, as in the papers' code).
    pub batch_norm: Option<BatchNormPass2>,
    /// Fraction of weights not perturbed (ssam-f, ssam-d, ssam; a pattern N:M fixes it itself).
    pub sparsity: Option<Axis<f64>>,
    /// Granularity of the mask: `unstructured` (default), `tensor`, `channel` or `N:M` (ssam-f, ssam-d, ssam).
    pub pattern: Option<Axis<Pattern>>,
    /// Score that decides which weights stay live: fisher for ssam-f; gradient (default), weight or random for
    /// ssam-d; any for ssam (default fisher).
    pub mask: Option<Axis<MaskScore>>,
    /// When the mask changes: `interval` (default), `static` (ssam-f, ssam) or `dynamic` (ssam; ssam-d always).
    pub refresh: Option<Axis<RefreshName>>,
    /// Epochs between mask refreshes (default 1).
    pub mask_interval: Option<Axis<usize>>,
    /// Training samples in the Fisher score (ssam-f, ssam; default 128).
    pub fisher_samples: Option<Axis<usize>>,
    /// How the Fisher score is taken (ssam-f, ssam; default clean).
    pub fisher_mode: Option<FisherMode>,
    /// Score by which dead weights come alive (ssam-d, ssam; default random).
    pub grow: Option<Axis<Grow>>,
    /// Initial fraction of live weights dropped at a refresh (ssam-d, ssam; default .5).
    pub drop_rate: Option<Axis<f64>>,
    /// What a masked ascent step is divided by: the norm of the `full` gradient (default), of the `masked` one, or
    /// `lagged`, that of the step before (ssam-f, ssam-d, ssam).
    pub norm: Option<Axis<Norm>>,
    /// `explicit` (default): the mask is applied to the ascent step; `implicit`: to the weights through which the first
    /// backward pass goes (ssam-f, ssam-d, ssam).
    pub perturbation: Option<Axis<Perturbation>>,
    /// Added to |w| (asam, default .01).
    pub eta: Option<Axis<f64>>,
    /// Weight of the orthogonal part (gsam, default .1; looksam, default .7).
    pub alpha: Option<Axis<f64>>,
    /// Steps from one SAM gradient to the next (looksam, default 5).
    pub sam_interval: Option<Axis<usize>>,
    /// Probability with which a tensor is perturbed (esam, default .6).
    pub beta: Option<Axis<f64>>,
    /// Part of the samples in the second gradient (esam, default .5).
    pub gamma: Option<Axis<f64>>,
    /// Part of the old averages kept at each step (ae-sam, default .9).
    pub delta: Option<Axis<f64>>,
    /// Standard deviations above the mean from which a gradient is large, at the start and at the end of the training
    /// (ae-sam, default [1, -1]).
    pub threshold: Option<[f64; 2]>,
    /// Part of the old mean kept at each step (f-sam, default .9).
    pub lambda: Option<Axis<f64>>,
    /// How much of the mean is taken away (f-sam, default 1).
    pub sigma: Option<Axis<f64>>,
    /// Samples of a shard; they divide the batch (m-sam).
    pub shard: Option<Axis<usize>>,
}

impl<T> Axis<T> {
    fn length(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(values) => values.len(),
        }
    }
}

impl GridFile {
    /// How many cells it describes with one seed, at most: what does not apply is refused later.
    pub fn combinations(&self) -> usize {
        fn length<T>(axis: &Option<Axis<T>>) -> usize {
            axis.as_ref().map_or(1, Axis::length)
        }
        // All by name, so that no axis is forgotten.
        #[rustfmt::skip]
        let Self {
            optimizer, momentum, nesterov: _, weight_decay, lr, epochs_factor, rho, rho_decay: _, batch_norm: _, sparsity, pattern, mask,
            refresh, mask_interval, fisher_samples, fisher_mode: _, grow, drop_rate, norm, perturbation, eta, alpha, sam_interval, beta, gamma,
            delta, threshold: _, lambda, sigma, shard,
        } = self;
        let numbers =
            [momentum, weight_decay, lr, rho, sparsity, drop_rate, eta, alpha, beta, gamma, delta, lambda, sigma];
        let counts = [epochs_factor, mask_interval, fisher_samples, sam_interval, shard];
        let words = [length(pattern), length(mask), length(refresh), length(grow), length(norm), length(perturbation)];
        let lengths = numbers.into_iter().map(length).chain(counts.into_iter().map(length)).chain(words);
        lengths.fold(optimizer.length(), usize::saturating_mul)
    }
}

impl Settings {
    /// These settings where given, else those of `base`; `like` is what `base` is like.
    pub fn over(self, base: &Self) -> Self {
        let base = base.clone();
        Self {
            description: self.description.or(base.description),
            like: base.like,
            data: DataFile {
                name: self.data.name.or(base.data.name),
                train: self.data.train.or(base.data.train),
                test: self.data.test.or(base.data.test),
                size: self.data.size.or(base.data.size),
                classes: self.data.classes.or(base.data.classes),
                unreadable: self.data.unreadable.or(base.data.unreadable),
                centre_pixels: self.data.centre_pixels.or(base.data.centre_pixels),
            },
            model: self.model.or(base.model),
            objective: self.objective.or(base.objective),
            schedule: ScheduleFile {
                epochs: self.schedule.epochs.or(base.schedule.epochs),
                batch_size: self.schedule.batch_size.or(base.schedule.batch_size),
                full_batch_steps: self.schedule.full_batch_steps.or(base.schedule.full_batch_steps),
                lr: self.schedule.lr.or(base.schedule.lr),
                decay: self.schedule.decay.or(base.schedule.decay),
                warmup_epochs: self.schedule.warmup_epochs.or(base.schedule.warmup_epochs),
            },
            augment: self.augment.or(base.augment),
            measure: self.measure.or(base.measure),
            seeds: self.seeds.or(base.seeds),
            checkpoint: self.checkpoint.or(base.checkpoint),
            grid: self.grid.or(base.grid),
        }
    }
}

/// The JSON Schema of a suite file, for editors.
pub fn json_schema() -> String {
    let schema = schemars::schema_for!(SuiteFile);
    format!("{}\n", serde_json::to_string_pretty(&schema).unwrap_or_default())
}
