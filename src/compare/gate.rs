//! Rules of a gate.

use serde::Deserialize;

use crate::error::{Error, Result};

/// Contents of a gate file. Missing sections and keys keep their defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GateFile {
    undecided: Undecided,
    exact: ExactFile,
    accuracy: AccuracyFile,
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
struct AccuracyFile {
    judge: Option<bool>,
    margin: Option<f64>,
    level: Option<f64>,
    floor: Option<f64>,
    detectable: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NoisyFile {
    judge: Option<bool>,
    each: Option<bool>,
    margin: Option<f64>,
    level: Option<f64>,
    detectable: Option<f64>,
}

/// What undecided figures mean for the gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undecided {
    /// They pass.
    #[default]
    Pass,
    /// They pass with a warning.
    Warn,
    /// They fail.
    Fail,
}

/// Rules by which runs are judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// What undecided figures mean.
    pub undecided: Undecided,
    /// Whether final weights must be bit-identical.
    pub fingerprint: bool,
    /// Whether parameters, FLOPs and live weights must be equal.
    pub counts: bool,
    /// Rule for accuracies; the margin is a fraction.
    pub accuracy: Option<Rule>,
    /// Fraction of the baseline's mean accuracy over all changed cells that the run's must reach, whatever the noise.
    pub floor: f64,
    /// Rule for step times; the margin is relative to the baseline.
    pub time: Option<Rule>,
}

/// Rule for a noisy metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Largest change that does not matter.
    pub margin: f64,
    /// Significance level at which a larger change counts.
    pub level: f64,
    /// Whether each setting is judged, not only all of them together.
    pub each: bool,
    /// The gate fails unless a loss (or slow-down) of this size would be called a regression.
    pub detectable: Option<f64>,
}

/// Factor of the margins in a file, which are in points or percent.
const HUNDRED: f64 = 100.0;

impl Default for Gate {
    /// Judges everything, with margins of .5 points and 15%, at level .05, and a floor of half the accuracy.
    fn default() -> Self {
        Self {
            undecided: Undecided::Pass,
            fingerprint: true,
            counts: true,
            accuracy: Some(Rule { margin: 0.005, level: 0.05, each: true, detectable: None }),
            floor: 0.5,
            time: Some(Rule { margin: 0.15, level: 0.05, each: true, detectable: None }),
        }
    }
}

impl Gate {
    /// Parses a TOML file; `name` appears in errors.
    ///
    /// # Errors
    /// When it has an unknown key or an invalid value.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let wrong = |message: String| Error::Usage(format!("gate {name}: {message}"));
        let file: GateFile = toml::from_str(text).map_err(|e| wrong(e.to_string().trim_end().to_string()))?;
        let gate = Self::default();
        Ok(Self {
            undecided: file.undecided,
            fingerprint: file.exact.fingerprint.unwrap_or(gate.fingerprint),
            counts: file.exact.counts.unwrap_or(gate.counts),
            floor: file.accuracy.floor(gate.floor).map_err(wrong)?,
            accuracy: file.accuracy.noisy().rule("accuracy", gate.accuracy).map_err(wrong)?,
            time: file.time.rule("time", gate.time).map_err(wrong)?,
        })
    }
}

impl AccuracyFile {
    fn noisy(&self) -> NoisyFile {
        NoisyFile { judge: self.judge, each: None, margin: self.margin, level: self.level, detectable: self.detectable }
    }

    fn floor(&self, default: f64) -> std::result::Result<f64, String> {
        hundredths("accuracy.floor", self.floor, default)
    }
}

/// A number of points or percent in a file as a fraction.
fn hundredths(key: &str, given: Option<f64>, default: f64) -> std::result::Result<f64, String> {
    let fraction = given.map_or(default, |given| given / HUNDRED);
    if (0.0..=1.0).contains(&fraction) {
        return Ok(fraction);
    }
    Err(format!("{key} = {} must lie between 0 and 100", fraction * HUNDRED))
}

impl NoisyFile {
    fn rule(&self, section: &str, default: Option<Rule>) -> std::result::Result<Option<Rule>, String> {
        let Some(default) = default.filter(|_| self.judge.unwrap_or(true)) else { return Ok(None) };
        let rule = Rule {
            margin: hundredths(&format!("{section}.margin"), self.margin, default.margin)?,
            level: self.level.unwrap_or(default.level),
            each: self.each.unwrap_or(default.each),
            detectable: match self.detectable {
                Some(size) => Some(hundredths(&format!("{section}.detectable"), Some(size), size)?),
                None => default.detectable,
            },
        };
        if rule.detectable.is_some_and(|size| size <= rule.margin) {
            return Err(format!("{section}.detectable must exceed {section}.margin: smaller changes do not count"));
        }
        if !(1e-6..=0.5).contains(&rule.level) {
            return Err(format!("{section}.level = {} must lie between 0.000001 and 0.5", rule.level));
        }
        Ok(Some(rule))
    }
}
