//! The rules of a gate.

use serde::Deserialize;

use crate::error::{Error, Result};

/// A gate as its file has it: sections and keys that are not given keep their defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GateFile {
    exact: ExactFile,
    accuracy: NoisyFile,
    time: NoisyFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ExactFile {
    fingerprint: Option<bool>,
    counts: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NoisyFile {
    judge: Option<bool>,
    margin: Option<f64>,
    level: Option<f64>,
}

/// How runs are judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// Whether final weights must be the same bits.
    pub fingerprint: bool,
    /// Whether parameters, FLOPs and live weights must be the same.
    pub counts: bool,
    /// Accuracies; the margin is a fraction.
    pub accuracy: Option<Rule>,
    /// Step times; the margin is a part of the baseline's.
    pub time: Option<Rule>,
}

/// How a noisy metric is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// A change within it does not matter.
    pub margin: f64,
    /// The probability at which a change beyond it is called one.
    pub level: f64,
}

/// Units of a file's margins: points, percent.
const HUNDRED: f64 = 100.0;

impl Default for Gate {
    /// Everything is judged; .5 points, 15%, at .05.
    fn default() -> Self {
        Self {
            fingerprint: true,
            counts: true,
            accuracy: Some(Rule { margin: 0.005, level: 0.05 }),
            time: Some(Rule { margin: 0.15, level: 0.05 }),
        }
    }
}

impl Gate {
    /// From the text of a TOML file; `name` is told in errors.
    ///
    /// # Errors
    /// When it has a key that is not known or a value that makes no sense.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let wrong = |message: String| Error::Usage(format!("gate {name}: {message}"));
        let file: GateFile = toml::from_str(text).map_err(|e| wrong(e.to_string().trim_end().to_string()))?;
        let gate = Self::default();
        Ok(Self {
            fingerprint: file.exact.fingerprint.unwrap_or(gate.fingerprint),
            counts: file.exact.counts.unwrap_or(gate.counts),
            accuracy: file.accuracy.rule("accuracy", gate.accuracy).map_err(wrong)?,
            time: file.time.rule("time", gate.time).map_err(wrong)?,
        })
    }
}

impl NoisyFile {
    fn rule(&self, section: &str, default: Option<Rule>) -> std::result::Result<Option<Rule>, String> {
        let Some(default) = default.filter(|_| self.judge.unwrap_or(true)) else { return Ok(None) };
        let rule = Rule {
            margin: self.margin.map_or(default.margin, |margin| margin / HUNDRED),
            level: self.level.unwrap_or(default.level),
        };
        if !(0.0..=1.0).contains(&rule.margin) {
            return Err(format!("{section}.margin = {} must lie between 0 and 100", rule.margin * HUNDRED));
        }
        if !(1e-6..=0.5).contains(&rule.level) {
            return Err(format!("{section}.level = {} must lie between 0.000001 and 0.5", rule.level));
        }
        Ok(Some(rule))
    }
}
