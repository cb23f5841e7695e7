//! A grid entry as written by the user: values by key. Keys and values are validated when the entry
//! is expanded, for the optimizers it names.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::axes::AXES;
use crate::optim::{Kind, OptimizerEntry, Value};
use crate::registry::Registry;

/// One entry of the grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GridEntry(Vec<(String, Given)>);

/// A value, or a list of values to try.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// One value.
    One(Value),
    /// One cell per element; or a single value that is itself a list.
    Many(Vec<Value>),
}

impl Given {
    /// Values to try; `is_list` says whether a single value is itself a list.
    pub fn values(&self, is_list: bool) -> Vec<Value> {
        match self {
            Self::One(value) => vec![value.clone()],
            Self::Many(values) if is_list && !values.is_empty() => {
                Value::list(values).map_or_else(|| values.clone(), |list| vec![list])
            }
            Self::Many(values) => values.clone(),
        }
    }
}

impl GridEntry {
    /// What the entry gives for a key.
    pub fn get(&self, key: &str) -> Option<&Given> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, given)| given)
    }

    /// Sets a key to one value.
    pub fn set(&mut self, key: &str, value: Value) {
        self.0.retain(|(name, _)| name != key);
        self.0.push((key.into(), Given::One(value)));
    }

    /// The entry without a key.
    #[must_use]
    pub(super) fn without(mut self, key: &str) -> Self {
        self.0.retain(|(name, _)| name != key);
        self
    }

    /// The entry with one value for each key, for every combination of its values. Lists that are a value stay whole.
    pub(super) fn singles(&self, registry: &Registry) -> Vec<Self> {
        self.keys().fold(vec![Self::default()], |all, (key, given)| {
            let values: Vec<Given> = given.values(is_list(registry, key)).into_iter().map(Given::One).collect();
            let with =
                |entry: &Self, value: &Given| Self([entry.0.clone(), vec![(key.into(), value.clone())]].concat());
            all.iter().flat_map(|entry| values.iter().map(|value| with(entry, value))).collect()
        })
    }

    /// The value of a key that has one.
    pub fn value(&self, key: &str) -> Option<&Value> {
        match self.get(key)? {
            Given::One(value) => Some(value),
            Given::Many(_) => None,
        }
    }

    /// What it says without some keys, in words.
    pub fn untuned(&self, tuned: &[String]) -> String {
        let words =
            self.ordered().filter(|(key, _)| !tuned.iter().any(|tuned| tuned == key)).map(|(key, given)| match given {
                Given::One(value) if key == "optimizer" => value.to_string(),
                Given::One(value) => format!("{key} {value}"),
                Given::Many(values) => {
                    format!("{key} {}", values.iter().map(Value::to_string).collect::<Vec<_>>().join(" to "))
                }
            });
        words.collect::<Vec<_>>().join(", ")
    }

    /// The entry as lines of a suite file.
    pub(super) fn lines(&self) -> Vec<String> {
        let text = |given: &Given| match given {
            Given::One(value) => value.quoted(),
            Given::Many(values) => format!("[{}]", values.iter().map(Value::quoted).collect::<Vec<_>>().join(", ")),
        };
        self.ordered().map(|(key, given)| format!("{key} = {}", text(given))).collect()
    }

    /// The given keys and their values, the optimizer first.
    fn ordered(&self) -> impl Iterator<Item = (&str, &Given)> {
        let is_first = |(key, _): &(&str, &Given)| *key == "optimizer";
        self.keys().filter(is_first).chain(self.keys().filter(move |pair| !is_first(pair)))
    }

    /// The given keys and their values.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &Given)> {
        self.0.iter().map(|(name, given)| (name.as_str(), given))
    }

    /// Upper bound on the cells it describes per seed. Combinations that do not apply are rejected
    /// later.
    pub fn combinations(&self, registry: &Registry) -> usize {
        self.keys().map(|(key, given)| given.values(is_list(registry, key)).len()).fold(1, usize::saturating_mul)
    }
}

/// Whether a list is a single value of a key.
fn is_list(registry: &Registry, key: &str) -> bool {
    let own = registry.optimizers().iter().flat_map(|optimizer| optimizer.keys);
    own.filter(|own| own.name == key).any(|own| own.kind.is_list())
}

impl<'de> Deserialize<'de> for GridEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = GridEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an optimizer and its settings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<GridEntry, A::Error> {
                let mut entry = GridEntry::default();
                while let Some(key) = map.next_key::<String>()? {
                    if entry.get(&key).is_some() {
                        return Err(A::Error::custom(format!("{key} is given twice; remove one")));
                    }
                    entry.0.push((key, map.next_value()?));
                }
                Ok(entry)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = Given;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or a list of values")
            }

            fn visit_bool<E: Error>(self, flag: bool) -> Result<Given, E> {
                Ok(Given::One(Value::Flag(flag)))
            }

            fn visit_i64<E: Error>(self, n: i64) -> Result<Given, E> {
                Ok(Given::One(u64::try_from(n).map_or(Value::Number(n as f64), Value::Count)))
            }

            fn visit_u64<E: Error>(self, n: u64) -> Result<Given, E> {
                Ok(Given::One(Value::Count(n)))
            }

            fn visit_f64<E: Error>(self, n: f64) -> Result<Given, E> {
                Ok(Given::One(Value::Number(n)))
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Given, E> {
                Ok(Given::One(Value::Word(word.into())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Given, A::Error> {
                let mut many = Vec::new();
                while let Some(value) = values.next_element()? {
                    many.push(value);
                }
                Ok(Given::Many(many))
            }
        }
        deserializer.deserialize_any(Values)
    }
}

/// Schema of entries for the standard optimizers.
impl JsonSchema for GridEntry {
    fn schema_name() -> Cow<'static, str> {
        "GridEntry".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schema(&Registry::standard(), generator)
    }
}

/// Schema of entries for the optimizers in `registry`.
pub(super) fn schema(registry: &Registry, generator: &mut SchemaGenerator) -> Schema {
    let mut properties = serde_json::Map::new();
    let names: Vec<&str> = registry.optimizers().iter().map(|optimizer| optimizer.name).collect();
    let mut optimizer = one_or_many(json_schema!({ "type": "string", "enum": names }));
    let lines = registry.optimizers().iter().map(|optimizer| format!("`{}`: {}", optimizer.name, optimizer.about));
    optimizer.insert("description".into(), lines.collect::<Vec<_>>().join("\n").into());
    properties.insert("optimizer".into(), optimizer.to_value());
    let mut property = |name: &str, about: String, kind: Kind| {
        let mut schema = one_or_many(kind.schema(generator));
        schema.insert("description".into(), about.into());
        properties.entry(name).or_insert(schema.to_value());
    };
    for key in AXES.iter().filter_map(|axis| axis.key.as_ref()) {
        let readers: Vec<&OptimizerEntry> = registry.optimizers().iter().filter(|o| (key.read_by)(o)).collect();
        let by = readers.iter().map(|optimizer| optimizer.name).collect::<Vec<_>>().join(", ");
        let by = if readers.len() == names.len() { String::new() } else { format!(" ({by})") };
        property(key.name, format!("{}{by}.", key.about), key.kind);
    }
    for key in registry.optimizers().iter().flat_map(|optimizer| optimizer.keys) {
        let readers = registry.optimizers().iter().filter_map(|optimizer| {
            let own = optimizer.keys.iter().find(|other| other.name == key.name)?;
            Some(format!("{}: {}", optimizer.name, own.about))
        });
        property(key.name, readers.collect::<Vec<_>>().join("\n"), key.kind);
    }
    json_schema!({
        "description": "One entry of the grid.",
        "type": "object",
        "properties": properties,
        "required": ["optimizer"],
        "additionalProperties": false,
    })
}

fn one_or_many(one: Schema) -> Schema {
    let many = json_schema!({ "type": "array", "items": one });
    json_schema!({ "anyOf": [one, many] })
}
