//! Inputs of a model's constructor: the suite's keys and the data's shape.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::{DataSpec, Input};
use crate::nn::SampleShape;

/// Model of a suite. `list` shows the keys that a model reads, with their defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Name of the model (see `list`).
    pub name: String,
    /// Channels of the first stage, or the widening factor of a wide ResNet, or the width of a Transformer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Layers of a wide ResNet, or blocks of a Transformer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Heads of a Transformer's attention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// Widths of hidden fully connected layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<usize>>,
    /// Probability with which dropout zeroes a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// How the weights of a convolutional network are drawn, if not as PyTorch's layers draw them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Initialisation>,
    /// Curvatures of a quadratic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curvatures: Option<Vec<f64>>,
}

/// How a convolutional network is initialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Initialisation {
    /// Convolutions N(0, 2 / (k^2 c_out)) and all biases 0 (He et al. 2015, equation 14); a linear layer's weights as PyTorch draws
    /// them. The published code of He et al. 2016 and of wide ResNets.
    KaimingFanOut,
}

/// Input and output of a task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// Type and shape of a sample.
    pub input: Input,
    /// Number of classes.
    pub classes: usize,
}

impl TryFrom<&DataSpec> for Task {
    type Error = String;

    fn try_from(data: &DataSpec) -> Result<Self, String> {
        Ok(Self { input: data.input()?, classes: data.class_count()? })
    }
}

impl ModelSpec {
    /// Value of a key, or its default, validated.
    pub(super) fn number(key: &str, value: Option<usize>, default: usize, most: usize) -> Result<usize, String> {
        match value.unwrap_or(default) {
            n if (1..=most).contains(&n) => Ok(n),
            n => Err(format!("model.{key} = {n} must be from 1 to {most}")),
        }
    }

    /// Value of `width`, or its default.
    ///
    /// # Errors
    /// Names the key, its value and the remedy.
    pub fn width(&self, default: usize) -> Result<usize, String> {
        Self::number("width", self.width, default, 4096)
    }

    /// Value of `depth`, or its default.
    ///
    /// # Errors
    /// Names the key, its value and the remedy.
    pub fn depth(&self, default: usize) -> Result<usize, String> {
        Self::number("depth", self.depth, default, 1000)
    }

    /// Widths of the hidden layers, or their defaults.
    ///
    /// # Errors
    /// Names the key, its value and the remedy.
    pub fn hidden(&self, default: &[usize]) -> Result<Vec<usize>, String> {
        let hidden = self.hidden.clone().unwrap_or_else(|| default.to_vec());
        if let Some(units) = hidden.iter().find(|units| !(1..=65_536).contains(*units)) {
            return Err(format!("model.hidden has a layer of {units} units; use from 1 to 65536"));
        }
        if hidden.len() > 9 {
            return Err(format!("model.hidden has {} layers; use at most 9", hidden.len()));
        }
        Ok(hidden)
    }

    /// Number of heads, which must divide `width`.
    ///
    /// # Errors
    /// Names the key, its value and the remedy.
    pub fn heads(&self, default: usize, width: usize) -> Result<usize, String> {
        let heads = Self::number("heads", self.heads, default, width)?;
        if width.is_multiple_of(heads) {
            Ok(heads)
        } else {
            Err(format!("model.heads = {heads} does not divide model.width = {width}; use a divisor"))
        }
    }
}

impl Task {
    /// Shape of a sample, for a model of images.
    ///
    /// # Errors
    /// When the data are text.
    pub fn image(&self, spec: &ModelSpec) -> Result<SampleShape, String> {
        match self.input {
            Input::Image(shape) => Ok(SampleShape::image(shape)),
            Input::Tokens { .. } => {
                Err(format!("model {} reads images, the data are text; use model.name = \"transformer\"", spec.name))
            }
        }
    }

    /// Length and vocabulary, for a model of text.
    ///
    /// # Errors
    /// When the data are images.
    pub fn tokens(&self, spec: &ModelSpec) -> Result<[usize; 2], String> {
        match self.input {
            Input::Tokens { length, vocabulary } => Ok([length, vocabulary]),
            Input::Image(_) => {
                Err(format!("model {} reads text, the data are images; use data.name = \"shakespeare\"", spec.name))
            }
        }
    }
}
