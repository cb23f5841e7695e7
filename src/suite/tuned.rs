//! The suite that tuning writes: the profile with the chosen values, and where they come from.

use std::borrow::Cow;

use toml::{Table, Value};

use super::tuning::Choice;
use super::{Cell, Suite};
use crate::error::{Error, Result};
use crate::optim::Value as Setting;

/// Tables of which a profile replaces single keys; of the others, it replaces the whole.
const BY_KEY: [&str; 3] = ["data", "schedule", "claims"];

impl Suite {
    /// The text of an ordinary suite file: this profile with the chosen grid, headed by `provenance`, each entry by its own lines.
    /// The rows that claims name are named by what now tells them apart; `arms` are their places among the choices. Samples that were
    /// held out for tuning are trained on.
    ///
    /// # Errors
    /// When this suite cannot be written as TOML, or the tuned one would not be valid.
    pub fn tuned(
        &self,
        (profile, data): (&str, &str),
        choices: &[(Choice, Vec<String>)],
        arms: [Option<usize>; 2],
        provenance: &[String],
    ) -> Result<String> {
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
        if let Some(data) = base.get_mut("data").and_then(Value::as_table_mut) {
            data.remove("validation");
        }
        let claims_table = claims.entry("claims").or_insert_with(|| Value::Table(Table::new()));
        for (key, arm) in ["placebo", "active"].into_iter().zip(arms) {
            let cells: Vec<&Cell> = choices.iter().map(|(choice, _)| &choice.cell).collect();
            if let (Some(arm), Some(table)) = (arm, claims_table.as_table_mut()) {
                table.insert(key.into(), Value::Table(axes_of(cells[arm], &cells)));
            }
        }
        let mut rest = claims;
        if rest.get("claims").and_then(Value::as_table).is_some_and(Table::is_empty) {
            rest.remove("claims");
        }
        rest.insert("base".into(), Value::Table(base));
        let of_profile = Table::from_iter(description.map(|text| ("description".to_string(), text)));
        rest.insert(
            "profiles".into(),
            Value::Table(Table::from_iter([(profile.to_string(), Value::Table(of_profile))])),
        );
        let mut text = String::new();
        let comment =
            |text: &mut String, lines: &[String]| lines.iter().for_each(|line| *text += &format!("# {line}\n"));
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
        Suite::parse("the tuned suite".into(), &text)?.with(&self.registry).plan(profile, data)?;
        Ok(text)
    }
}

/// The optimizer of a cell, and the axes on which the cells differ, with its values.
fn axes_of(cell: &Cell, cells: &[&Cell]) -> Table {
    let others: Vec<_> = cells.iter().map(|other| other.axes()).collect();
    let varies = |name: &str, value: &Setting| {
        let of = |axes: &Vec<(Cow<'static, str>, Setting)>| {
            axes.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
        };
        others.iter().any(|axes| of(axes).is_some_and(|other| other != *value))
    };
    let toml = |value: Setting| match value {
        Setting::Flag(flag) => Value::Boolean(flag),
        Setting::Count(n) => i64::try_from(n).map_or_else(|_| Value::String(n.to_string()), Value::Integer),
        Setting::Number(n) => Value::Float(n),
        Setting::Word(_) | Setting::Numbers(_) | Setting::Words(_) => Value::String(value.to_string()),
    };
    let named =
        cell.axes().into_iter().filter(|(name, value)| name != "seed" && (name == "optimizer" || varies(name, value)));
    named.map(|(name, value)| (name.into_owned(), toml(value))).collect()
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
