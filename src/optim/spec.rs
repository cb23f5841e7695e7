//! An optimizer's description in a cell. Cell ids are hashes of the JSON form, so the form must
//! never change.

use schemars::JsonSchema;
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ascent_step::AscentStep;
use super::base_step::BaseSpec;
use super::norm::{Norm, Perturbation};
use super::value::Value;
use crate::mask::{Mask, MaskSpec};

/// Base step and, for SAM and its variants, the ascent step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OptimizerSpec {
    /// Name in the registry.
    pub name: String,
    /// Base step.
    #[serde(default, skip_serializing_if = "is_default")]
    pub base: BaseSpec,
    /// Momentum of the base step; AdamW's beta1.
    pub momentum: f64,
    /// Nesterov momentum.
    pub nesterov: bool,
    /// Weight decay: SGD's is coupled, AdamW's decoupled.
    pub weight_decay: f64,
    /// Ascent step; `None` for SGD and AdamW.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ascent: Option<AscentSpec>,
}

/// Settings of an ascent step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AscentSpec {
    /// Radius.
    pub rho: f64,
    /// Update of BatchNorm's running statistics in the second pass.
    pub batch_norm: BatchNormPass2,
    /// Mask; `None` for SAM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<MaskSpec>,
    /// Divisor of a masked step.
    #[serde(default, skip_serializing_if = "is_default")]
    pub norm: Norm,
    /// Target of the mask.
    #[serde(default, skip_serializing_if = "is_default")]
    pub perturbation: Perturbation,
    /// Decay of the radius.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rho_decay: RhoDecay,
    /// Own settings of a method other than SAM and sparse SAM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<Variant>,
}

/// Leaves defaults out of the JSON form, so that cells keep their ids when a setting is added.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How the radius of the ascent step changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RhoDecay {
    /// Not at all.
    #[default]
    Constant,
    /// rho / sqrt t in step t, counted from 1.
    InverseSqrt,
    /// In proportion to the learning rate, warm-up included: rho lr / (the peak lr), as GSAM has it (Zhuang et al. 2022).
    Lr,
}

/// Running statistics of BatchNorm in SAM's second pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BatchNormPass2 {
    /// Updated in both passes (the papers' code).
    Update,
    /// Updated in the first pass only.
    Freeze,
}

/// A method other than SAM and sparse SAM, with its own settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Name of the method.
    pub name: String,
    /// Own settings by key, in order of declaration.
    pub settings: Vec<(String, Value)>,
}

/// A method, one of its keys, and the name of that key in records.
const STORED: (&str, &str, &str) = ("looksam", "sam_interval", "interval");

impl OptimizerSpec {
    /// The optimizer without its ascent step.
    #[must_use]
    pub fn without_ascent(self) -> Self {
        let name = crate::word::word(&self.base.name());
        Self { name, ascent: None, ..self }
    }

    /// The method's own settings by key, in order of declaration; empty for SAM and sparse SAM.
    pub fn own_settings(&self) -> &[(String, Value)] {
        let variant = self.ascent.as_ref().and_then(|ascent| ascent.variant.as_ref());
        variant.map_or(&[], |variant| &variant.settings)
    }
}

impl RhoDecay {
    /// Factor of rho in a step, counted from 0 over the whole training, whose learning rate is this fraction of its peak.
    pub fn factor(self, step: usize, lr: f64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::InverseSqrt => 1.0 / ((step + 1) as f64).sqrt(),
            Self::Lr => lr,
        }
    }
}

impl AscentSpec {
    /// Ascent step of radius `rho_factor` rho under `mask`.
    pub fn step<'m>(&self, rho_factor: f64, mask: Option<&'m Mask>) -> AscentStep<'m> {
        let rho = self.rho * rho_factor;
        let ascent = if self.mask.is_some() { AscentStep::sparse(rho) } else { AscentStep::dense(rho) };
        ascent.masked(self.norm, mask)
    }

    /// Returns one of the method's own settings as a number.
    ///
    /// # Errors
    /// When there is none.
    pub fn number(&self, key: &str) -> Result<f64, String> {
        self.own(key).and_then(Value::number).ok_or_else(|| format!("{key} must be a number"))
    }

    /// Returns one of the method's own settings as a count, at least 1.
    ///
    /// # Errors
    /// When there is none.
    pub fn count(&self, key: &str) -> Result<usize, String> {
        let count = self.own(key).and_then(Value::count).filter(|n| *n > 0);
        count.ok_or_else(|| format!("{key} must be a whole number above 0"))
    }

    /// Returns one of the method's own settings as two numbers.
    ///
    /// # Errors
    /// When it is missing or not a pair of numbers.
    pub fn pair(&self, key: &str) -> Result<[f64; 2], String> {
        match self.own(key) {
            Some(Value::Numbers(numbers)) => numbers.as_slice().try_into().ok(),
            _ => None,
        }
        .ok_or_else(|| format!("{key} must be two numbers"))
    }

    /// Returns one of the method's own settings as words.
    ///
    /// # Errors
    /// When it is missing or not a list of words.
    pub fn words(&self, key: &str) -> Result<Vec<String>, String> {
        match self.own(key) {
            Some(Value::Words(words)) => Ok(words.clone()),
            _ => Err(format!("{key} must be words")),
        }
    }

    /// Value of one of the method's own settings.
    pub fn own(&self, key: &str) -> Option<&Value> {
        let settings = &self.variant.as_ref()?.settings;
        settings.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }
}

/// Serialises as `"sam-on"`, or `{"asam": {"eta": 0.01}}`.
impl Serialize for Variant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.settings.is_empty() {
            return serializer.serialize_str(&self.name);
        }
        struct Settings<'v>(&'v Variant);
        impl Serialize for Settings<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let Variant { name, settings } = self.0;
                let mut map = serializer.serialize_map(Some(settings.len()))?;
                for (key, value) in settings {
                    let old = (name.as_str(), key.as_str()) == (STORED.0, STORED.1);
                    map.serialize_entry(if old { STORED.2 } else { key }, value)?;
                }
                map.end()
            }
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(&self.name, &Settings(self))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Variant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Deserialises a method's settings.
        struct Settings(Vec<(String, Value)>);
        impl<'de> Deserialize<'de> for Settings {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Keys;
                impl<'de> Visitor<'de> for Keys {
                    type Value = Settings;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("the settings of a method")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Settings, A::Error> {
                        let mut settings: Vec<(String, Value)> = Vec::new();
                        while let Some((key, value)) = map.next_entry::<String, Value>()? {
                            if settings.iter().any(|(other, _)| *other == key) {
                                return Err(A::Error::custom(format!("{key} is given twice; remove one")));
                            }
                            settings.push((key, value));
                        }
                        Ok(Settings(settings))
                    }
                }
                deserializer.deserialize_map(Keys)
            }
        }
        struct Named;
        impl<'de> Visitor<'de> for Named {
            type Value = Variant;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a method's name, or its name with its settings")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Variant, E> {
                Ok(Variant { name: name.into(), settings: Vec::new() })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Variant, A::Error> {
                let entry = map.next_entry::<String, Settings>()?;
                let (name, Settings(mut settings)) = entry.ok_or_else(|| A::Error::custom("the method has no name"))?;
                let old = settings.iter_mut().filter(|(key, _)| (name.as_str(), key.as_str()) == (STORED.0, STORED.2));
                old.for_each(|(key, _)| *key = STORED.1.into());
                if map.next_key::<String>()?.is_some() {
                    return Err(A::Error::custom("expected one method, found two"));
                }
                Ok(Variant { name, settings })
            }
        }
        deserializer.deserialize_any(Named)
    }
}
