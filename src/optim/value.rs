//! Setting values in suites and records, and the values a setting accepts.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::nn::ParamLayout;
use crate::word;

/// Value of a setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// `true` or `false`.
    Flag(bool),
    /// A count.
    Count(u64),
    /// A number.
    Number(f64),
    /// A word.
    Word(String),
    /// Several numbers.
    Numbers(Vec<f64>),
    /// Several words.
    Words(Vec<String>),
}

/// Values that a setting accepts.
#[derive(Clone, Copy)]
pub enum Kind {
    /// A finite number within bounds.
    Number(Bounds),
    /// A whole number with a minimum and a maximum.
    Count(u64, Most),
    /// `true` or `false`.
    Flag,
    /// A start and an end value, both finite.
    Pair,
    /// One of a list of words ([`Kind::word`]).
    Word(Words),
    /// Beginnings of the names of parameters of the model.
    ParameterNames,
}

/// Range of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// Above 0.
    Positive,
    /// 0 or more.
    NonNegative,
    /// Above 0, up to 100.
    Factor,
    /// Above 1.
    AboveOne,
    /// At least 0 and below 1.
    BelowOne,
    /// From 0 to 1.
    Fraction,
    /// Above 0, up to 1.
    PositiveFraction,
}

/// Maximum of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Most {
    /// A fixed number.
    Fixed(u64),
    /// The cell's number of training samples.
    TrainingSamples,
    /// The batch size.
    BatchSize,
}

/// Words of an enum.
#[derive(Clone, Copy)]
pub struct Words {
    check: fn(&str) -> Result<(), String>,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

/// Training for which settings are checked.
#[derive(Clone, Copy, Debug)]
pub struct TrainingShape<'m> {
    /// Epochs.
    pub epochs: usize,
    /// Batch size.
    pub batch_size: usize,
    /// Samples of the last batch of an epoch.
    pub last_batch: usize,
    /// Number of training samples.
    pub train: usize,
    /// Parameters of the model.
    pub layout: &'m ParamLayout,
}

impl Kind {
    /// Words of the enum `T`.
    pub const fn word<T: DeserializeOwned + JsonSchema>() -> Self {
        Self::Word(Words {
            check: |text| word::value::<T>(text).map(|_| ()),
            schema: |generator| generator.subschema_for::<T>(),
        })
    }

    /// Checks the value of the setting `key` and converts it to this kind's type.
    ///
    /// # Errors
    /// Names the key, the value and what is allowed.
    pub fn check(self, key: &str, value: &Value, shape: TrainingShape<'_>) -> Result<Value, String> {
        match (self, value) {
            (Self::Number(bounds), Value::Count(n)) => bounds.check(key, *n as f64).map(Value::Number),
            (Self::Number(bounds), Value::Number(n)) => bounds.check(key, *n).map(Value::Number),
            (Self::Number(_), _) => Err(format!("{key} = {} must be a number", value.quoted())),
            (Self::Count(least, most), Value::Count(n)) => {
                let most = most.of(shape);
                if (least..=most).contains(n) {
                    Ok(Value::Count(*n))
                } else {
                    Err(format!("{key} = {n} must be from {least} to {most}"))
                }
            }
            (Self::Count(least, most), _) => {
                Err(format!("{key} = {} must be a whole number from {least} to {}", value.quoted(), most.of(shape)))
            }
            (Self::Flag, Value::Flag(_)) => Ok(value.clone()),
            (Self::Flag, _) => Err(format!("{key} = {} must be true or false", value.quoted())),
            (Self::Pair, Value::Numbers(numbers)) if numbers.len() == 2 && numbers.iter().all(|n| n.is_finite()) => {
                Ok(value.clone())
            }
            (Self::Pair, _) => Err(format!("{key} = {} must be two numbers, such as [1.0, -1.0]", value.quoted())),
            (Self::Word(words), Value::Word(text)) => match (words.check)(text) {
                Ok(()) => Ok(value.clone()),
                Err(e) => Err(format!("{key}: {e}")),
            },
            (Self::Word(_), _) => Err(format!("{key} = {} must be a word", value.quoted())),
            (Self::ParameterNames, Value::Words(words)) if !words.is_empty() => {
                words.iter().try_for_each(|word| shape.layout.check_prefix(key, word))?;
                Ok(value.clone())
            }
            // As it is written in names and on the command line.
            (Self::ParameterNames, Value::Word(text)) => {
                let words = text.split(BETWEEN_WORDS).map(str::to_string).collect();
                self.check(key, &Value::Words(words), shape)
            }
            (Self::ParameterNames, _) => {
                Err(format!("{key} = {} must be a list of names, such as [\"fc\"]", value.quoted()))
            }
        }
    }

    /// JSON Schema of one value.
    pub(crate) fn schema(self, generator: &mut SchemaGenerator) -> Schema {
        match self {
            Self::Number(_) => f64::json_schema(generator),
            Self::Count(..) => usize::json_schema(generator),
            Self::Flag => bool::json_schema(generator),
            Self::Pair => <[f64; 2]>::json_schema(generator),
            Self::Word(words) => (words.schema)(generator),
            Self::ParameterNames => Vec::<String>::json_schema(generator),
        }
    }

    /// Whether a list is a single value of this kind rather than several values to try.
    pub(crate) fn is_list(self) -> bool {
        matches!(self, Self::Pair | Self::ParameterNames)
    }
}

impl Bounds {
    fn check(self, key: &str, n: f64) -> Result<f64, String> {
        let (holds, words) = match self {
            Self::Positive => (n > 0.0, "a number above 0"),
            Self::NonNegative => (n >= 0.0, "0 or more"),
            Self::Factor => (n > 0.0 && n <= 100.0, "above 0 and at most 100"),
            Self::AboveOne => (n > 1.0, "a number above 1"),
            Self::BelowOne => ((0.0..1.0).contains(&n), "at least 0 and below 1"),
            Self::Fraction => ((0.0..=1.0).contains(&n), "from 0 to 1"),
            Self::PositiveFraction => (n > 0.0 && n <= 1.0, "above 0 and at most 1"),
        };
        if !holds || !n.is_finite() {
            return Err(format!("{key} = {n} must be {words}"));
        }
        trainable(key, n)
    }
}

/// A number that trainings can use: they compute in 32 bits, where it must neither vanish nor overflow. Of the two zeros
/// it is the positive one, so that there is one cell for both.
///
/// # Errors
/// Names the key and the range.
pub(crate) fn trainable(key: &str, n: f64) -> Result<f64, String> {
    let single = n as f32;
    if single.is_finite() && (n == 0.0 || single != 0.0) {
        return Ok(n + 0.0);
    }
    Err(format!("{key} = {n:e} must be 0 or from about 1e-45 to 3e38 in magnitude: trainings compute with 32 bits"))
}

impl Most {
    fn of(self, shape: TrainingShape<'_>) -> u64 {
        match self {
            Self::Fixed(most) => most,
            Self::TrainingSamples => shape.train as u64,
            Self::BatchSize => shape.batch_size as u64,
        }
    }
}

impl Value {
    /// Returns the number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Count(n) => Some(*n as f64),
            Self::Number(n) => Some(*n),
            Self::Flag(_) | Self::Word(_) | Self::Numbers(_) | Self::Words(_) => None,
        }
    }

    /// Returns the whole number, if it is one.
    pub fn count(&self) -> Option<usize> {
        match self {
            Self::Count(n) => usize::try_from(*n).ok(),
            Self::Flag(_) | Self::Number(_) | Self::Word(_) | Self::Numbers(_) | Self::Words(_) => None,
        }
    }

    /// The single value that a list of numbers or of words is; `None` for other lists.
    pub(crate) fn list(values: &[Self]) -> Option<Self> {
        let numbers: Option<Vec<f64>> = values.iter().map(Self::number).collect();
        let words = || {
            let word = |value: &Self| if let Self::Word(word) = value { Some(word.clone()) } else { None };
            values.iter().map(word).collect::<Option<Vec<String>>>()
        };
        numbers.map(Self::Numbers).or_else(|| words().map(Self::Words))
    }

    /// Formats the value as in a suite file.
    pub(crate) fn quoted(&self) -> String {
        match self {
            Self::Word(word) => format!("\"{word}\""),
            Self::Numbers(numbers) => format!("{numbers:?}"),
            Self::Words(words) => format!("{words:?}"),
            Self::Flag(_) | Self::Count(_) | Self::Number(_) => self.to_string(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Count(n) => n.fmt(f),
            Self::Number(n) if *n != 0.0 && !(1e-5..1e7).contains(&n.abs()) => f.pad(&format!("{n:e}")),
            Self::Number(n) => n.fmt(f),
            Self::Word(word) => f.pad(word),
            Self::Numbers(numbers) => {
                let texts: Vec<String> = numbers.iter().map(f64::to_string).collect();
                f.pad(&texts.join(" to "))
            }
            Self::Words(words) => f.pad(&words.join(BETWEEN_WORDS)),
        }
    }
}

/// Between words on the command line and in names.
const BETWEEN_WORDS: &str = "+";

impl From<f64> for Value {
    fn from(n: f64) -> Self {
        Self::Number(n)
    }
}

impl From<usize> for Value {
    fn from(n: usize) -> Self {
        Self::Count(n as u64)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// Implemented by hand, since a derived untagged enum answers every mistake with "did not match any
/// variant".
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a word, true, false or a list of numbers or of words")
            }

            fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
                Ok(Value::Flag(flag))
            }

            fn visit_i64<E: Error>(self, n: i64) -> Result<Value, E> {
                Ok(u64::try_from(n).map_or(Value::Number(n as f64), Value::Count))
            }

            fn visit_u64<E: Error>(self, n: u64) -> Result<Value, E> {
                Ok(Value::Count(n))
            }

            fn visit_f64<E: Error>(self, n: f64) -> Result<Value, E> {
                Ok(Value::Number(n))
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Value, E> {
                Ok(Value::Word(word.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
                let mut all = Vec::new();
                while let Some(value) = values.next_element()? {
                    all.push(value);
                }
                Value::list(&all).ok_or_else(|| A::Error::invalid_type(Unexpected::Seq, &self))
            }
        }
        deserializer.deserialize_any(Values)
    }
}
