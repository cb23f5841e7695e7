//! Claims of a suite about its rows, stated before any of them is trained.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::choices::Checked;
use super::{Cell, Filter};

/// `[claims]` as written by the user; every key has a default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimsFile {
    /// Axes of the row that others must beat, such as `{ optimizer = "sgd", weight_decay = 1e-3 }`; by default the row with
    /// SAM's settings except the ascent step, or else the first SGD row (AdamW row, if that is SAM's base step).
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
        for (key, arm) in [("placebo", &claims.placebo), ("active", &claims.active)] {
            if let Some(arm) = arm {
                one_setting(key, arm, cells)?;
            }
        }
        let settings = settings_of(cells.iter());
        let named =
            claims.placebo.is_some() && (claims.active.is_some() || settings.iter().any(|s| s.optimizer.name == "sam"));
        if named && claims.arms(&settings.iter().collect::<Vec<_>>())[1].is_none() {
            return Err(
                "claims.placebo and the active row (claims.active, or the first SAM row) are the same; name two".into(),
            );
        }
        Ok(Some(claims))
    }
}

impl Claims {
    /// Maximum seeds of a suite.
    pub(crate) const MOST_SEEDS: usize = 10_000;

    /// Places, among the settings of a plan, of the placebo and the active row: those named, or else the first SAM, and the SGD with
    /// its settings (learning rate, weight decay, epochs and so on) but for the ascent step, so that the difference is the ascent
    /// step's; without such a one, the first SGD. They are never the same row.
    pub(crate) fn arms(&self, settings: &[&Cell]) -> [Option<usize>; 2] {
        let find = |is: &dyn Fn(&Cell) -> bool| settings.iter().position(|setting| is(setting));
        let active = match &self.active {
            Some(arm) => find(&|setting| arm.matches(setting)),
            None => find(&|setting| setting.optimizer.name == "sam"),
        };
        let placebo = match &self.placebo {
            Some(arm) => find(&|setting| arm.matches(setting)),
            None => {
                let is_other = |setting: &Cell| active.is_none_or(|active| settings[active] != setting);
                let without_ascent = active.map(|active| settings[active].without_ascent());
                let same = without_ascent.and_then(|cell| find(&|setting| *setting == cell && is_other(setting)));
                let base = active.map(|active| settings[active].optimizer.base.name());
                let is_plain = |setting: &Cell| setting.optimizer.ascent.is_none() && is_other(setting);
                let has_base = |setting: &Cell| base.is_none_or(|base| setting.optimizer.base.name() == base);
                same.or_else(|| find(&|setting| is_plain(setting) && has_base(setting))).or_else(|| find(&is_plain))
            }
        };
        [placebo, active.filter(|active| placebo != Some(*active))]
    }

    /// Checks the numbers, given how many seeds are listed.
    ///
    /// # Errors
    /// Names the key, the value and the remedy.
    pub fn check(&self, seeds: usize) -> Checked<()> {
        let numbers = [("margin", self.margin, 100.0), ("retain", self.retain, 1.0), ("alpha", self.alpha, 0.5)];
        if let Some((key, value, most)) = numbers.into_iter().find(|(_, value, most)| !(*value > 0.0 && value <= most))
        {
            return Err(format!("claims.{key} = {value} must be above 0 and at most {most}"));
        }
        if self.max_seeds < seeds || self.max_seeds > Self::MOST_SEEDS {
            return Err(format!(
                "claims.max_seeds = {} must be from the number of seeds listed, {seeds}, to {}",
                self.max_seeds,
                Self::MOST_SEEDS
            ));
        }
        Ok(())
    }
}

/// The setting that the axes of an arm describe.
fn one_setting(key: &str, arm: &Filter, cells: &[Cell]) -> Checked<Cell> {
    arm.check(cells).map_err(|e| format!("claims.{key}: {e}"))?;
    let found = settings_of(cells.iter().filter(|cell| arm.matches(cell)));
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

/// The different settings of cells, in their order.
fn settings_of<'c>(cells: impl Iterator<Item = &'c Cell>) -> Vec<Cell> {
    let mut settings: Vec<Cell> = Vec::new();
    for setting in cells.map(Cell::setting) {
        if !settings.contains(&setting) {
            settings.push(setting);
        }
    }
    settings
}
