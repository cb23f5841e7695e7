//! From a suite file to a plan of cells: the user's settings ([`mod@file`]) are validated,
//! completed, and turned into what the program runs ([`Suite`], [`Cell`]).

mod axes;
pub mod cell;
mod choices;
mod claims;
mod combinations;
mod embedded;
mod expand;
pub mod file;
pub mod filter;
mod grid;
pub(crate) mod names;
mod seeds;
mod template;
mod tuned;
mod tuning;

use std::fmt;
use std::path::Path;

pub use axes::{Column, axis_names, columns};
pub use cell::Cell;
pub use claims::{Claims, ClaimsFile};
pub use combinations::one_optimizer;
pub use embedded::{embedded_names, embedded_text};
pub use filter::Filter;
pub use grid::{Given, GridEntry};
pub(crate) use names::Names;
pub use seeds::{looks, seeds, seeds_of};
pub use template::template;
pub use tuning::{Choice, Range, Tuning, TuningSuite};

use crate::bounded;
use crate::data::DataSpec;
use crate::error::{Error, Result};
use crate::registry::Registry;
use crate::word::LONGEST_NAME;
pub use crate::word::is_plain;
use file::SuiteFile;

/// Maximum bytes of a suite file.
const LONGEST: u64 = 1 << 20;

/// Profile used by default.
pub const DEFAULT_PROFILE: &str = "quick";

/// A suite in the user's form, with its origin.
pub struct Suite {
    /// Origin, for messages.
    pub origin: String,
    /// Contents of the file.
    pub file: SuiteFile,
    /// Its text.
    text: String,
    /// Optimizers that its grid may name.
    registry: Registry,
}

/// All cells of a suite's profile in execution order: seed by seed, so that an unfinished run
/// already has paired results.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the suite.
    pub suite: String,
    /// Name of the profile.
    pub profile: String,
    /// The cells.
    pub cells: Vec<Cell>,
    /// What it claims about its rows, if the suite says so.
    pub claims: Option<Claims>,
    /// Epochs between checkpoints of a running training, 0 for never; `None` for about once a
    /// minute.
    pub checkpoint: Option<usize>,
    source: Source,
}

/// Origin of a plan: a profile's settings, the optimizers they may name, and a data set.
#[derive(Clone)]
struct Source {
    origin: String,
    settings: file::Settings,
    registry: Registry,
    data: String,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.origin, self.data)
    }
}

impl Suite {
    /// Reads the embedded suite `name`, or the file at a path that ends in `.toml`.
    ///
    /// # Errors
    /// Names the file, the key, the value and the remedy.
    pub fn read(name_or_path: &str) -> Result<Self> {
        let path = Path::new(name_or_path);
        let (origin, text) = if path.extension().is_some_and(|e| e == "toml") {
            (name_or_path.to_string(), bounded::read_to_string(path, LONGEST).map_err(Error::io("read", path))?)
        } else if let Some(text) = embedded_text(name_or_path) {
            (format!("suites/{name_or_path}.toml"), text.to_string())
        } else {
            return Err(Error::Suite {
                file: name_or_path.into(),
                message: format!(
                    "there is no such suite; use {} or the path of a .toml file",
                    embedded_names().join(", ")
                ),
            });
        };
        Self::parse(origin, &text)
    }

    /// Parses the text of a suite file; `origin` appears in errors.
    ///
    /// # Errors
    /// Names the origin, the key, the value and the remedy.
    pub fn parse(origin: String, text: &str) -> Result<Self> {
        let file = toml::from_str(text)
            .map_err(|e| Error::Suite { file: origin.clone(), message: e.to_string().trim_end().to_string() })?;
        let suite = Self { origin, file, text: text.into(), registry: Registry::standard() };
        for name in std::iter::once(suite.file.name.as_str()).chain(suite.profiles()) {
            suite.check_name(name)?;
        }
        Ok(suite)
    }

    /// Replaces the optimizers that its grid may name.
    #[must_use]
    pub fn with(self, registry: &Registry) -> Self {
        Self { registry: registry.clone(), ..self }
    }

    /// Names of the profiles.
    pub fn profiles(&self) -> Vec<&str> {
        self.file.profiles.keys().map(String::as_str).collect()
    }

    /// Data set of the profile.
    ///
    /// # Errors
    /// When the profile does not exist or has no data set.
    pub fn data(&self, profile: &str) -> Result<DataSpec> {
        let settings = self.settings(profile)?;
        expand::data(&settings).map_err(|message| self.error(profile, message))
    }

    /// Name of the embedded set that stands in for the profile's data set.
    ///
    /// # Errors
    /// As [`Suite::data`], and if that set is not embedded.
    pub fn stand_in(&self, profile: &str) -> Result<&'static str> {
        let settings = self.settings(profile)?;
        expand::stand_in(&settings).map_err(|message| self.error(profile, message))
    }

    /// Expands a profile into its cells, trained on the data set `data` (the suite's, or its stand-in).
    ///
    /// # Errors
    /// Names the file, the key, the value and the remedy.
    pub fn plan(&self, profile: &str, data: &str) -> Result<Plan> {
        self.check_keys()?;
        let settings = self.settings(profile)?;
        let cells = expand::cells(&settings, data, &self.registry).map_err(|message| self.error(profile, message))?;
        let claims = expand::claims(&settings, &cells).map_err(|message| self.error(profile, message))?;
        let (suite, profile, checkpoint) = (self.file.name.clone(), profile.into(), settings.checkpoint);
        let (origin, registry) = (self.origin.clone(), self.registry.clone());
        let source = Source { origin, settings, registry, data: data.into() };
        Ok(Plan { suite, profile, cells, claims, checkpoint, source })
    }

    /// Rejects keys of grid entries that no optimizer reads, in all profiles, so that misspelt keys
    /// are found before their profile is run.
    fn check_keys(&self) -> Result<()> {
        let profiles = self.file.profiles.iter().map(|(name, settings)| (format!("profile {name}"), settings));
        for (place, settings) in std::iter::once(("base".to_string(), &self.file.base)).chain(profiles) {
            for (index, entry) in settings.grid.iter().flatten().enumerate() {
                if let Err(message) = combinations::check_keys(entry, &self.registry) {
                    let message = format!("{place}: grid[{index}].{message}");
                    return Err(Error::Suite { file: self.origin.clone(), message });
                }
            }
        }
        Ok(())
    }

    /// Names become folder names, so they must not lead elsewhere.
    fn check_name(&self, name: &str) -> Result<()> {
        check_name(name).map_err(|message| Error::Suite { file: self.origin.clone(), message })
    }

    fn settings(&self, profile: &str) -> Result<file::Settings> {
        let mut settings = self.profile(profile)?.clone();
        let mut seen = vec![profile.to_string()];
        while let Some(like) = settings.like.take() {
            if seen.contains(&like) {
                return Err(self.error(profile, format!("like = \"{like}\" forms a cycle; remove one like")));
            }
            settings = settings.over(self.profile(&like)?);
            seen.push(like);
        }
        if self.file.base.like.is_some() {
            return Err(self.error(profile, "like belongs to a profile, not to base; remove it".into()));
        }
        if self.file.base.claims.is_some() {
            return Err(self.error(profile, "claims of all profiles belong in [claims], not in base; move them".into()));
        }
        let claims = settings.claims.take().unwrap_or_default().over(&self.file.claims);
        Ok(file::Settings { claims: Some(claims), ..settings.over(&self.file.base) })
    }

    fn profile(&self, name: &str) -> Result<&file::Settings> {
        self.file.profiles.get(name).ok_or_else(|| Error::Suite {
            file: self.origin.clone(),
            message: format!("there is no profile {name}; use one of {}", self.profiles().join(", ")),
        })
    }

    fn error(&self, profile: &str, message: String) -> Error {
        profile_error(&self.origin, profile, &message)
    }
}

/// Checks a name that becomes a folder's.
fn check_name(name: &str) -> std::result::Result<(), String> {
    if is_plain(name) {
        return Ok(());
    }
    Err(format!(
        "the name {name:?} must consist of letters, digits, - and _, at most {LONGEST_NAME} (it names a folder)"
    ))
}

fn profile_error(origin: &str, profile: &str, message: &str) -> Error {
    Error::Suite { file: origin.into(), message: format!("profile {profile}: {message}") }
}

impl Plan {
    /// Moves the plan to the data set `data`: the suite's own, or its stand-in. Does nothing if the
    /// plan is already on it. Otherwise the plan has all cells of the profile again, so a filter
    /// must be applied afterwards.
    ///
    /// # Errors
    /// Names the file, the key, the value and the remedy if the profile cannot be trained on that
    /// data set.
    pub fn on(mut self, data: &str) -> Result<Self> {
        if data != self.source.data {
            let Source { origin, settings, registry, .. } = &self.source;
            let cells = expand::cells(settings, data, registry);
            self.cells = cells.map_err(|message| profile_error(origin, &self.profile, &message))?;
            self.source.data = data.into();
        }
        Ok(self)
    }

    /// SHA-256 over the ids of all cells, and what is claimed about them. Runs with equal hashes are comparable.
    pub fn hash(&self) -> String {
        let claims = self.claims.iter().map(|claims| serde_json::to_string(claims).unwrap_or_default());
        let parts: Vec<String> = self.cells.iter().map(Cell::id).chain(claims).collect();
        crate::digest::sha256_text(&parts.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_moves_onto_a_stand_in_as_if_planned_for_it() {
        let suite = Suite::read("cifar10").expect("an embedded suite");
        let plan = |data| suite.plan("smoke", data).expect("a plan");
        for data in ["cifar10", "photo-patches"] {
            let moved = plan("cifar10").on(data).expect("a plan");
            assert_eq!((&moved.cells, moved.hash()), (&plan(data).cells, plan(data).hash()));
        }
        assert_eq!(suite.stand_in("smoke").expect("a stand-in"), "photo-patches");
        let error = plan("cifar10").on("cifar11").expect_err("no data set").to_string();
        assert_eq!(error, suite.plan("smoke", "cifar11").expect_err("no data set").to_string());
    }

    #[test]
    fn a_profile_may_name_another_stand_in() {
        let suite = Suite::read("cifar10").expect("an embedded suite");
        assert_eq!(suite.stand_in("quick").expect("a stand-in"), "mnist-5k");
        let plan = suite.plan("quick", "mnist-5k").expect("a plan");
        let data = &plan.cells[0].data;
        assert_eq!((data.train, data.test), (512, 1000), "all test samples that it has");

        let with = |data: &str| {
            let text = format!("name = \"s\"\ndescription = \"d\"\n[base]\ndata = {{ {data} }}\n[profiles.quick]\n");
            Suite::parse("s.toml".into(), &text).expect("a suite").stand_in("quick").expect_err("refused").to_string()
        };
        let of_cifar = with("name = \"cifar10\", stand_in = \"cifar100\"");
        assert!(
            of_cifar
                .contains("data.stand_in = \"cifar100\" is not an embedded set; use one of photo-patches, mnist-5k")
        );
        let of_embedded = with("name = \"mnist-5k\", stand_in = \"photo-patches\"");
        assert!(of_embedded.contains("data.stand_in does not apply to mnist-5k, which is embedded; remove it"));
    }
}
