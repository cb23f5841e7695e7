//! The suite that tuning writes: the profile with the chosen values, and where they come from.

use toml::{Table, Value};

use super::Suite;
use super::tuning::Choice;
use crate::error::{Error, Result};

/// Tables of which a profile replaces single keys; of the others, it replaces the whole.
const BY_KEY: [&str; 3] = ["data", "schedule", "claims"];

impl Suite {
    /// The text of an ordinary suite file: this profile with the chosen grid, headed by `provenance`, each entry by its own lines.
    /// What claims say of tuned keys is left out, since they have other values now.
    ///
    /// # Errors
    /// When this suite cannot be written as TOML.
    pub fn tuned(&self, profile: &str, choices: &[(Choice, Vec<String>)], provenance: &[String]) -> Result<String> {
        let wrong = |e: &dyn std::fmt::Display| Error::Suite { file: self.origin.clone(), message: e.to_string() };
        let file: Table = toml::from_str(&self.text).map_err(|e| wrong(&e))?;
        let table = |of: &Table, key: &str| of.get(key).and_then(Value::as_table).cloned().unwrap_or_default();
        let profiles = table(&file, "profiles");
        let mut settings = table(&profiles, profile);
        let description = settings.remove("description");
        while let Some(like) = settings.remove("like") {
            settings = over(settings, table(&profiles, like.as_str().unwrap_or_default()));
        }
        let mut claims = over(
            Table::from_iter([("claims".into(), Value::Table(table(&settings, "claims")))]),
            Table::from_iter([("claims".into(), Value::Table(table(&file, "claims")))]),
        );
        let mut base = over(settings, table(&file, "base"));
        for key in ["grid", "claims", "description"] {
            base.remove(key);
        }
        for arm in ["placebo", "active"] {
            let axes = claims.get_mut("claims").and_then(|claims| claims.get_mut(arm)).and_then(Value::as_table_mut);
            if let Some(axes) = axes {
                choices.iter().flat_map(|(choice, _)| &choice.tuned).for_each(|key| {
                    axes.remove(key);
                });
            }
        }
        let mut rest = claims;
        if rest.get("claims").and_then(Value::as_table).is_some_and(Table::is_empty) {
            rest.remove("claims");
        }
        rest.insert("base".into(), Value::Table(base));
        let of_profile = Table::from_iter(description.map(|text| ("description".to_string(), text)));
        rest.insert("profiles".into(), Value::Table(Table::from_iter([(profile.to_string(), Value::Table(of_profile))])));
        let mut text = String::new();
        let comment = |text: &mut String, lines: &[String]| lines.iter().for_each(|line| *text += &format!("# {line}\n"));
        comment(&mut text, provenance);
        text += &format!("name = \"{}-tuned\"\n", self.file.name);
        let description = format!("{}, tuned on validation samples", self.file.description);
        text += &format!("description = {}\n\n", Value::String(description));
        text += &toml::to_string(&rest).map_err(|e| wrong(&e))?;
        for (choice, lines) in choices {
            text += "\n";
            comment(&mut text, lines);
            text += &format!("[[base.grid]]\n{}\n", choice.entry.lines().join("\n"));
        }
        Suite::parse("the tuned suite".into(), &text)?;
        Ok(text)
    }
}

/// Settings over those that they replace.
fn over(own: Table, mut base: Table) -> Table {
    for (key, value) in own {
        match (value, base.get_mut(&key)) {
            (Value::Table(own), Some(Value::Table(base))) if BY_KEY.contains(&key.as_str()) => base.extend(own),
            (value, _) => {
                base.insert(key, value);
            }
        }
    }
    base
}
