//! The suite that `new` writes.

use super::{check_name, embedded_names};

const TEMPLATE: &str = include_str!("template.toml");

/// A commented suite of this name, which validates and trains offline in about a minute.
///
/// # Errors
/// When the name cannot be a suite's, or is that of an embedded one.
pub fn template(name: &str) -> Result<String, String> {
    check_name(name)?;
    if name.starts_with('-') {
        return Err(format!("the name {name} would be an option on the command line; begin it with a letter"));
    }
    if embedded_names().iter().any(|embedded| embedded == name) {
        return Err(format!("{name} is a suite of this program; choose another name"));
    }
    Ok(TEMPLATE.replace("{name}", name))
}
