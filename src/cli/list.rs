//! `sharpbench list`.

use std::process::ExitCode;

use crate::data::DATA_SETS;
use crate::error::Result;
use crate::registry::Registry;
use crate::suite::{Suite, embedded_names};
use crate::terminal::{self, wrapped};

/// Columns of the names.
const NAME: usize = 20;

pub(super) fn run(registry: &Registry) -> Result<ExitCode> {
    super::print(&text(registry)?)
}

fn text(registry: &Registry) -> Result<String> {
    let mut text = String::from("Suites\n");
    for name in embedded_names() {
        let suite = Suite::read(&name)?;
        line(&mut text, &name, &suite.file.description);
        for (profile, settings) in &suite.file.profiles {
            line(&mut text, &format!("  {profile}"), settings.description.as_deref().unwrap_or_default());
        }
    }
    text.push_str("Models\n");
    registry.models().iter().for_each(|m| line(&mut text, m.name, m.about));
    text.push_str("Data sets\n");
    DATA_SETS.iter().for_each(|d| line(&mut text, d.name, d.about));
    text.push_str("Optimizers\n");
    registry.optimizers().iter().for_each(|o| line(&mut text, o.name, o.about));
    Ok(text)
}

fn line(text: &mut String, name: &str, about: &str) {
    text.push_str(&wrapped(&format!("  {name:<NAME$}{about}"), terminal::width(), NAME + 2));
}
