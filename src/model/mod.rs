//! Models by name. A model is one file and one line of [`MODELS`].

mod mlp;
mod resnet;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data;
use crate::nn::{Node, ParamLayout, Pass};

/// What a suite says about the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// `mlp`, `resnet8` or `resnet20`.
    pub name: String,
    /// Channels of a ResNet's first stage (16 in He et al.).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Widths of an MLP's hidden layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<usize>>,
}

/// What goes in and what comes out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// Channels, height, width of an image.
    pub input: [usize; 3],
    /// Number of classes.
    pub classes: usize,
}

impl From<&data::Entry> for Task {
    fn from(entry: &data::Entry) -> Self {
        Self { input: entry.shape, classes: entry.classes }
    }
}

/// A network: a function of weights, running statistics and a batch.
pub trait Model: Send + Sync {
    /// Its specification with every default filled in.
    fn spec(&self) -> ModelSpec;

    /// Its parameters, in name order.
    fn layout(&self) -> &Arc<ParamLayout>;

    /// Logits [batch, classes] of images [batch, channels, height, width].
    ///
    /// # Errors
    /// When a tensor operation fails.
    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node>;

    /// Multiply-adds of convolutions and linear layers for one image, forward.
    fn forward_macs(&self) -> u64;
}

type Build = fn(&ModelSpec, Task) -> Result<Box<dyn Model>, String>;

/// A name, a line of documentation, and how to build it.
pub struct Entry {
    /// The name a suite uses.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    build: Build,
}

/// Every model.
pub const MODELS: &[Entry] = &[
    Entry { name: "mlp", about: "fully connected layers with ReLU (hidden = [...])", build: mlp::build },
    Entry {
        name: "resnet8",
        about: "CIFAR ResNet with one block per stage (width = 16)",
        build: |s, t| resnet::build(1, s, t),
    },
    Entry {
        name: "resnet20",
        about: "CIFAR ResNet of He et al. (2016), three blocks per stage (width = 16)",
        build: |s, t| resnet::build(3, s, t),
    },
];

/// Builds the model a suite names.
///
/// # Errors
/// In words: what is wrong with the specification and the remedy.
pub fn build(spec: &ModelSpec, task: Task) -> Result<Box<dyn Model>, String> {
    let entry = MODELS.iter().find(|m| m.name == spec.name).ok_or_else(|| {
        let names: Vec<_> = MODELS.iter().map(|m| m.name).collect();
        format!("model.name = \"{}\" is not known; use one of {}", spec.name, names.join(", "))
    })?;
    (entry.build)(spec, task)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params_and_macs(json: serde_json::Value) -> (usize, u64) {
        let spec: ModelSpec = serde_json::from_value(json).expect("a valid specification");
        let model = build(&spec, Task { input: [3, 32, 32], classes: 10 }).expect("a model");
        (model.layout().len(), model.forward_macs())
    }

    #[test]
    fn sizes_are_the_published_ones() {
        // He et al. (2016): ResNet-20 has 0.27 M parameters, 40.8 M multiply-adds.
        assert_eq!(params_and_macs(serde_json::json!({"name": "resnet20", "width": 16})), (269_722, 40_551_040));
        assert_eq!(params_and_macs(serde_json::json!({"name": "resnet8", "width": 16})), (75_290, 12_239_488));
        assert_eq!(params_and_macs(serde_json::json!({"name": "mlp", "hidden": [256, 128]})), (820_874, 820_480));
    }

    #[test]
    fn a_wrong_specification_is_explained() {
        let error = |json| {
            let spec: ModelSpec = serde_json::from_value(json).expect("a valid specification");
            build(&spec, Task { input: [3, 32, 32], classes: 10 }).err().expect("an error")
        };
        insta::assert_snapshot!(error(serde_json::json!({"name": "resnet9"})), @r#"model.name = "resnet9" is not known; use one of mlp, resnet8, resnet20"#);
        insta::assert_snapshot!(error(serde_json::json!({"name": "mlp", "width": 3})), @"model.width does not apply to mlp; use model.hidden = [units, ...]");
        insta::assert_snapshot!(error(serde_json::json!({"name": "resnet8", "width": 0})), @"model.width = 0 must be even and from 2 to 1024 (channels are padded on both sides)");
    }
}
