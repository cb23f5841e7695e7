//! A run that another process has begun, opened by one that trains cells of it.

use std::ffi::OsString;

use crate::compute::DeviceChoice;
use crate::data::{self, DataSet, DataSource, Fetch};
use crate::error::{Error, Result};
use crate::record::{RunFolder, RunManifest};

/// What whoever begins a run tells those that train its cells.
#[derive(clap::Args)]
pub(super) struct Opening {
    /// Where samples come from: auto (cache, hub, stand-in), stand-in, hub, or a directory.
    #[arg(long, default_value = "auto", value_name = "SOURCE")]
    pub(super) data: DataSource,
    /// Never use the network.
    #[arg(long)]
    pub(super) offline: bool,
    /// Save the final weights.
    #[arg(long)]
    pub(super) save_weights: bool,
    /// Device to train on: auto (a GPU that this program was built for, if there is one), cpu, cuda:N or metal.
    #[arg(long, default_value = "auto")]
    pub(super) device: DeviceChoice,
    /// Epochs between checkpoints of a running cell, 0 for none [default: about once a minute].
    #[arg(long, value_name = "N")]
    pub(super) checkpoint: Option<usize>,
}

impl Opening {
    /// As arguments.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut arguments = vec!["--data".into(), self.data.argument()];
        arguments.extend(["--device".into(), self.device.to_string().into()]);
        arguments.extend(self.offline.then(|| "--offline".into()));
        arguments.extend(self.save_weights.then(|| "--save-weights".into()));
        arguments.extend(self.checkpoint.iter().flat_map(|every| ["--checkpoint".into(), every.to_string().into()]));
        arguments
    }

    /// The data that the run was begun with.
    ///
    /// # Errors
    /// When they cannot be had here, or those here are others.
    pub(super) fn load(&self, folder: &RunFolder, manifest: &RunManifest) -> Result<DataSet> {
        let wrong = |message: String| Error::Run { path: folder.path().into(), message };
        let wanted = manifest.cells.first().ok_or_else(|| wrong("its plan is empty".into()))?;
        // What the plan names is what was used, a stand-in by its own name.
        let source = if manifest.stand_in { &DataSource::StandIn } else { &self.data };
        let fetch = Fetch { offline: self.offline, bar: false, say: &|_| {}, warn: &|_| {} };
        let data = data::load(&wanted.data, source, &fetch)?;
        if data.provenance.sha256 != manifest.data_sha256 {
            return Err(wrong(format!(
                "its data have the SHA-256 {}, those here {}; use the data that the run was started with",
                manifest.data_sha256, data.provenance.sha256
            )));
        }
        Ok(data)
    }
}

/// What a folder says its run is.
///
/// # Errors
/// When it holds none, or one that cannot be read.
pub(super) fn manifest(folder: &RunFolder) -> Result<RunManifest> {
    let missing = || Error::Run { path: folder.path().into(), message: "it holds no run (no run.json)".into() };
    folder.manifest()?.ok_or_else(missing)
}
