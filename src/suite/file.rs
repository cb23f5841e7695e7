//! A suite as written by the user (TOML). All settings are optional here. Expanding the suite
//! reports what is missing or invalid.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;

use super::ClaimsFile;
use super::cell::Measure;
use super::grid::{self, GridEntry};
use crate::data::augment::Augment;
use crate::data::{LabelNoise, OnUnreadable};
use crate::model::ModelSpec;
use crate::nn::ObjectiveName;
use crate::optim::Decay;
use crate::registry::Registry;

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
    /// What it claims about its rows, in all profiles.
    #[serde(default)]
    pub claims: ClaimsFile,
    /// Profiles by name; each key given replaces the common one.
    pub profiles: BTreeMap<String, Settings>,
}

/// What is trained, on what, and the grid of optimizers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// One line about the profile.
    pub description: Option<String>,
    /// Another profile that supplies missing settings; takes precedence over the common ones.
    pub like: Option<String>,
    /// The data set and how much of it.
    #[serde(default)]
    pub data: DataFile,
    /// The model.
    pub model: Option<ModelSpec>,
    /// What is minimised: `cross-entropy` (default) or `squared-error`.
    pub objective: Option<ObjectiveName>,
    /// Of cross-entropy: the share of each label that is spread evenly over all classes, from 0 (default) to 1. Test losses are
    /// without it.
    pub label_smoothing: Option<f64>,
    /// Epochs, batches and the learning rate.
    #[serde(default)]
    pub schedule: ScheduleFile,
    /// Augmentation of training samples.
    pub augment: Option<Augment>,
    /// Additional measurements during training.
    pub measure: Option<Measure>,
    /// Seeds; every grid point is trained once with each.
    pub seeds: Option<Vec<u64>>,
    /// Claims of this profile; each key given replaces that of all profiles.
    pub claims: Option<ClaimsFile>,
    /// Epochs between checkpoints of a running cell, 0 for none; about once a minute by default.
    /// Changes no result.
    pub checkpoint: Option<usize>,
    /// Optimizers and their settings; each entry expands over its lists.
    pub grid: Option<Vec<GridEntry>>,
}

/// The data set and how much of it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// Name of the data set.
    pub name: Option<String>,
    /// Embedded set that is used if the data set is not available, such as `mnist-5k`; by default, the data set's own stand-in.
    pub stand_in: Option<String>,
    /// Training samples (the first ones); all by default.
    pub train: Option<usize>,
    /// Test samples (the first ones); all by default.
    pub test: Option<usize>,
    /// Samples held out of the training samples, as many of each class as its share: accuracies are measured on them, and the
    /// test set stays unread.
    pub validation: Option<usize>,
    /// Height and width of the images (image-folder, synthetic).
    pub size: Option<usize>,
    /// Number of classes (image-folder, synthetic).
    pub classes: Option<usize>,
    /// Handling of images that cannot be read (image-folder, imagenet; default error).
    pub unreadable: Option<OnUnreadable>,
    /// Replaces normalisation by channel: a pixel is x / 256 less its mean over the training
    /// images.
    pub centre_pixels: Option<bool>,
    /// Replaces training labels at random, with each seed others: `{ p = 0.4, kind = "symmetric" }` or `"pairflip"`. Validation
    /// samples are held out before and keep their labels.
    pub label_noise: Option<LabelNoise>,
}

/// Epochs, batches and the learning rate.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleFile {
    /// Epochs.
    pub epochs: Option<usize>,
    /// Samples per step.
    pub batch_size: Option<usize>,
    /// Whether an epoch leaves out the incomplete last batch; true by default, as in the papers' code.
    pub drop_last: Option<bool>,
    /// Instead of `batch_size`: steps use all training samples, and an epoch has this many of them.
    pub full_batch_steps: Option<usize>,
    /// Peak learning rate.
    pub lr: Option<f64>,
    /// How it falls: `"cosine"`, `"constant"`, `"inverse-sqrt"` or `{ multi-step = { milestones = [0.5, 0.75], gamma = 0.1 } }`.
    pub decay: Option<Decay>,
    /// Epochs of linear warm-up, counted in `epochs`.
    pub warmup_epochs: Option<usize>,
}

impl Settings {
    /// Overrides `base` with these settings. `like` is taken from `base`.
    pub fn over(self, base: &Self) -> Self {
        let base = base.clone();
        Self {
            description: self.description.or(base.description),
            like: base.like,
            data: DataFile {
                name: self.data.name.or(base.data.name),
                stand_in: self.data.stand_in.or(base.data.stand_in),
                train: self.data.train.or(base.data.train),
                test: self.data.test.or(base.data.test),
                validation: self.data.validation.or(base.data.validation),
                size: self.data.size.or(base.data.size),
                classes: self.data.classes.or(base.data.classes),
                unreadable: self.data.unreadable.or(base.data.unreadable),
                centre_pixels: self.data.centre_pixels.or(base.data.centre_pixels),
                label_noise: self.data.label_noise.or(base.data.label_noise),
            },
            model: self.model.or(base.model),
            objective: self.objective.or(base.objective),
            label_smoothing: self.label_smoothing.or(base.label_smoothing),
            schedule: ScheduleFile {
                epochs: self.schedule.epochs.or(base.schedule.epochs),
                batch_size: self.schedule.batch_size.or(base.schedule.batch_size),
                drop_last: self.schedule.drop_last.or(base.schedule.drop_last),
                full_batch_steps: self.schedule.full_batch_steps.or(base.schedule.full_batch_steps),
                lr: self.schedule.lr.or(base.schedule.lr),
                decay: self.schedule.decay.or(base.schedule.decay),
                warmup_epochs: self.schedule.warmup_epochs.or(base.schedule.warmup_epochs),
            },
            augment: self.augment.or(base.augment),
            measure: self.measure.or(base.measure),
            seeds: self.seeds.or(base.seeds),
            claims: match (self.claims, base.claims) {
                (Some(own), Some(base)) => Some(own.over(&base)),
                (own, base) => own.or(base),
            },
            checkpoint: self.checkpoint.or(base.checkpoint),
            grid: self.grid.or(base.grid),
        }
    }
}

/// Title of the schema of suite files: the name of the type.
pub const SCHEMA_TITLE: &str = "SuiteFile";

/// JSON Schema of a suite file whose grid names optimizers in `registry`, for editors.
pub fn json_schema(registry: &Registry) -> String {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let entry = grid::schema(registry, &mut generator);
    let mut schema = generator.into_root_schema_for::<SuiteFile>();
    if let Some(own) = schema.pointer_mut("/$defs/GridEntry") {
        *own = entry.to_value();
    }
    format!("{}\n", serde_json::to_string_pretty(&schema).unwrap_or_default())
}
