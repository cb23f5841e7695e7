//! The plan of a run, as its folder keeps it.

use serde::{Deserialize, Serialize};

use super::SCHEMA;
use super::parse::other_schema;
use crate::data;
use crate::suite::{Cell, Plan, is_plain};

/// What a run is: enough to resume and to report without the suite file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunManifest {
    /// Version of the folder's shape.
    pub schema: u32,
    /// Suite name.
    pub suite: String,
    /// Profile name.
    pub profile: String,
    /// The data set really used.
    pub data: String,
    /// Whether that is a stand-in for the suite's own.
    pub stand_in: bool,
    /// SHA-256 of its images and labels.
    pub data_sha256: String,
    /// Hash of the whole profile's plan.
    pub suite_hash: String,
    /// Cells of the whole profile, of which a filter may have selected a part.
    #[serde(default)]
    pub profile_cells: Option<usize>,
    /// Cells of the run, in order.
    pub cells: Vec<Cell>,
}

impl RunManifest {
    /// Of the plan of a whole profile on data that may stand in for the suite's own.
    pub fn new(profile: Plan, data: &data::Provenance, stand_in: bool) -> Self {
        Self {
            schema: SCHEMA,
            suite_hash: profile.hash(),
            suite: profile.suite,
            profile: profile.profile,
            data: data.name.clone(),
            stand_in,
            data_sha256: data.sha256.clone(),
            profile_cells: Some(profile.cells.len()),
            cells: profile.cells,
        }
    }

    /// From the text of a `run.json`.
    ///
    /// # Errors
    /// Says why it is no plan of this schema.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        if let Some(other) = other_schema(text.as_bytes()) {
            return Err(other);
        }
        let manifest: Self = serde_json::from_str(text).map_err(|e| format!("damaged ({e})"))?;
        // They become parts of file names, which must not lead elsewhere.
        let own = [&manifest.suite, &manifest.profile, &manifest.data];
        if let Some(name) = own.into_iter().chain(manifest.cells.iter().map(|c| &c.data.name)).find(|n| !is_plain(n)) {
            return Err(format!("the name {name:?} does not consist of letters, digits, - and _"));
        }
        Ok(manifest)
    }
}
