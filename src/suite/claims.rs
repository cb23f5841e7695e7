//! Claims of a suite about its rows, stated before any of them is trained.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::choices::Checked;
use super::{Cell, Filter};

/// `[claims]` as written by the user; every key has a default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimsFile {
    /// Axes of the row that others must beat, such as `{ optimizer = "sgd", weight_decay = 1e-3 }`; by default the SGD row with
    /// SAM's settings except the ascent step, or else the first SGD row.
    pub placebo: Option<Filter>,
    /// Axes of the row whose gain is to be kept; by default the first SAM row.
    pub active: Option<Filter>,
    /// Loss of accuracy that "no loss" allows, in points (default 0.3).
    pub margin: Option<f64>,
    /// Share of the active row's gain that "keeps" requires (default 0.5).
    pub retain: Option<f64>,
    /// Probability of any false conclusion of one kind over all rows (default 0.05).
    pub alpha: Option<f64>,
    /// Maximum number of seeds of a row for `suite --until decided` (default 30).
    pub max_seeds: Option<usize>,
}

/// The claims of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Axes of the row that others must beat, if it is not the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placebo: Option<Filter>,
    /// Axes of the row whose gain is to be kept, if it is not the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<Filter>,
    /// Loss of accuracy that "no loss" allows, in points.
    pub margin: f64,
    /// Share of the active row's gain that "keeps" requires.
    pub retain: f64,
    /// Probability of any false conclusion of one kind over all rows.
    pub alpha: f64,
    /// Maximum number of seeds of a row.
    pub max_seeds: usize,
}

impl Default for Claims {
    fn default() -> Self {
        Self { placebo: None, active: None, margin: 0.3, retain: 0.5, alpha: 0.05, max_seeds: 30 }
    }
}

impl ClaimsFile {
    /// Overrides `base` with these claims.
    pub(super) fn over(self, base: &Self) -> Self {
        let base = base.clone();
        Self {
            placebo: self.placebo.or(base.placebo),
            active: self.active.or(base.active),
            margin: self.margin.or(base.margin),
            retain: self.retain.or(base.retain),
            alpha: self.alpha.or(base.alpha),
            max_seeds: self.max_seeds.or(base.max_seeds),
        }
    }

    /// The claims about a plan of these cells; `None` if nothing is stated.
    ///
    /// # Errors
    /// Names the key, the value and the remedy.
    pub(super) fn resolve(&self, cells: &[Cell], seeds: usize) -> Checked<Option<Claims>> {
        if *self == Self::default() {
            return Ok(None);
        }
        let default = Claims::default();
        let claims = Claims {
            placebo: self.placebo.clone(),
            active: self.active.clone(),
            margin: self.margin.unwrap_or(default.margin),
            retain: self.retain.unwrap_or(default.retain),
            alpha: self.alpha.unwrap_or(default.alpha),
            max_seeds: self.max_seeds.unwrap_or(default.max_seeds.max(seeds)),
        };
        claims.check(seeds)?;
        let arms = [("placebo", &claims.placebo), ("active", &claims.active)];
        let [placebo, active] = arms.map(|(key, arm)| arm.as_ref().map(|arm| one_setting(key, arm, cells)).transpose());
        if let (Some(placebo), Some(active)) = (placebo?, active?)
            && placebo == active
        {
            return Err("claims.placebo and claims.active are the same row; name two".into());
        }
        Ok(Some(claims))
    }
}

impl Claims {
    /// Checks the numbers, given how many seeds are listed.
    ///
    /// # Errors
    /// Names the key, the value and the remedy.
    pub fn check(&self, seeds: usize) -> Checked<()> {
        let numbers = [("margin", self.margin, 100.0), ("retain", self.retain, 1.0), ("alpha", self.alpha, 0.5)];
        if let Some((key, value, most)) = numbers.into_iter().find(|(_, value, most)| !(*value > 0.0 && value <= most)) {
            return Err(format!("claims.{key} = {value} must be above 0 and at most {most}"));
        }
        if self.max_seeds < seeds || self.max_seeds > MOST_SEEDS {
            return Err(format!(
                "claims.max_seeds = {} must be from the number of seeds listed, {seeds}, to {MOST_SEEDS}",
                self.max_seeds
            ));
        }
        Ok(())
    }
}

/// Upper bound of `max_seeds`.
const MOST_SEEDS: usize = 10_000;

/// The setting that the axes of an arm describe.
fn one_setting(key: &str, arm: &Filter, cells: &[Cell]) -> Checked<Cell> {
    arm.check(cells).map_err(|e| format!("claims.{key}: {e}"))?;
    let mut found: Vec<Cell> = Vec::new();
    for setting in cells.iter().filter(|cell| arm.matches(cell)).map(Cell::setting) {
        if !found.contains(&setting) {
            found.push(setting);
        }
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(format!("claims.{key} = {arm} describes no row of the grid; change it or add the row")),
        several => Err(format!(
            "claims.{key} = {arm} describes {} rows ({}); add axes until it describes one",
            several.len(),
            several.iter().map(Cell::setting_label).collect::<Vec<_>>().join("; ")
        )),
    }
}
