//! Plan of a run, as stored in its folder.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SCHEMA;
use super::parse::other_schema;
use crate::data;
use crate::stats::Finding;
use crate::suite::{Cell, Claims, Plan, is_plain, seeds_of};
use crate::word::LONGEST_NAME;

/// Description of a run, sufficient to resume and report it without the suite file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunManifest {
    /// Version of the folder's format.
    pub schema: u32,
    /// Suite name.
    pub suite: String,
    /// Profile name.
    pub profile: String,
    /// Data set actually used.
    pub data: String,
    /// Whether the data set is a stand-in for the suite's own.
    pub stand_in: bool,
    /// SHA-256 of its samples.
    pub data_sha256: String,
    /// Hash of the whole profile's plan.
    pub suite_hash: String,
    /// Number of cells in the whole profile, of which a filter may have selected some.
    #[serde(default)]
    pub profile_cells: Option<usize>,
    /// What the suite claims about its rows, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<Claims>,
    /// When claims are tested, in a run whose seeds are trained until they are decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looks: Option<RunLooks>,
    /// Cells of the run, in order.
    pub cells: Vec<Cell>,
}

/// When the claims of a run are tested while its seeds are trained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunLooks {
    /// Seeds of a row at each look, rising.
    pub seeds: Vec<usize>,
    /// Looks whose cells are planned.
    pub planned: usize,
    /// What was found before the cells of the last planned look were added, by the id of a row's setting. Findings stand.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub findings: BTreeMap<String, RowFindings>,
}

/// What was found about a row's claims, whether or not what they presume is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowFindings {
    /// It is more accurate than the placebo.
    pub gain: Finding,
    /// It loses less than the margin against the active row.
    pub no_loss: Finding,
    /// It keeps the claimed share of the active row's gain.
    pub retention: Finding,
}

/// Most looks: with so many, even those of ten thousand seeds are few.
const MOST_LOOKS: usize = 40;

impl RunLooks {
    /// Whether these can be the looks of a run.
    fn is_sound(&self) -> bool {
        let rising = self.seeds.first().is_some_and(|first| *first > 0) && self.seeds.is_sorted_by(|a, b| a < b);
        let few = self.seeds.len() <= MOST_LOOKS && self.seeds.last().is_some_and(|most| *most <= Claims::MOST_SEEDS);
        rising && few && (1..=self.seeds.len()).contains(&self.planned)
    }
}

impl RunManifest {
    /// Creates the plan of a whole profile, on data that may stand in for the suite's own.
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
            claims: profile.claims,
            looks: None,
            cells: profile.cells,
        }
    }

    /// The look that a cell is trained for, from 1, if seeds are trained until claims are decided.
    pub fn look_of(&self, cell: &Cell) -> Option<usize> {
        let looks = self.looks.as_ref()?;
        let place = seeds_of(&self.cells).iter().position(|seed| *seed == cell.seed)?;
        Some(1 + looks.seeds.iter().position(|seeds| place < *seeds)?)
    }

    /// Parses a `run.json`.
    ///
    /// # Errors
    /// Says why the text is not a plan of this schema.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        if let Some(other) = other_schema(text.as_bytes()) {
            return Err(other);
        }
        let manifest: Self = serde_json::from_str(text).map_err(|e| format!("damaged ({e})"))?;
        // These become parts of file names, which must not lead elsewhere.
        let own = [&manifest.suite, &manifest.profile, &manifest.data];
        if let Some(name) = own.into_iter().chain(manifest.cells.iter().map(|c| &c.data.name)).find(|n| !is_plain(n)) {
            return Err(format!(
                "the name {name:?} does not consist of letters, digits, - and _, at most {LONGEST_NAME}"
            ));
        }
        if let Some(claims) = &manifest.claims {
            claims.check(0)?;
        }
        if manifest.looks.as_ref().is_some_and(|looks| !looks.is_sound()) {
            return Err("its looks are not rising numbers of seeds".into());
        }
        Ok(manifest)
    }
}
