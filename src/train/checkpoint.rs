//! Checkpoints: a training in progress as bytes, from which it resumes to the same weights and the
//! same record.
//!
//! The bytes are a safetensors file. Its metadata hold the training state as JSON, preceded by a
//! SHA-256 of the state and of all tensors. A checkpoint damaged on disk is not resumed.

use std::collections::HashMap;
use std::time::UNIX_EPOCH;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::slot::{StoredVector, StoredVectors};
use super::state::TrainingState;
use crate::compute::Compute;
use crate::data::{DataSet, hex};
use crate::model::Task;
use crate::record::TrainingProvenance;
use crate::registry::Registry;
use crate::suite::Cell;

/// Version of the format.
const SCHEMA: u32 = 2;
/// Maximum bytes stored per parameter: weight, momentum, a method's means, mask, and an
/// eigenvector.
const BYTES_OF_PARAMETER: usize = 64;
/// Maximum bytes of the metadata: those of the longest record.
const BYTES_OF_MEASURES: u64 = 64 << 20;
/// Metadata key. There is only one, because several would be written in arbitrary order.
const KEY: &str = "sharpbench";

/// Contents of a checkpoint besides its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// Equals [`SCHEMA`].
    schema: u32,
    /// Identity of the training and the program. A checkpoint with another identity is not resumed.
    identity: String,
    state: TrainingState,
}

/// Part of a header that every version has.
#[derive(Deserialize)]
struct Versioned {
    schema: u32,
}

/// A training in progress, between two steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    header: Header,
    vectors: StoredVectors,
}

impl Checkpoint {
    pub(super) fn new(identity: String, state: TrainingState, vectors: StoredVectors) -> Self {
        Self { header: Header { schema: SCHEMA, identity, state }, vectors }
    }

    /// Returns the state and the tensors.
    pub(super) fn into_parts(self) -> (TrainingState, StoredVectors) {
        (self.header.state, self.vectors)
    }

    /// Identity of the cell and the program.
    pub fn identity(&self) -> &str {
        &self.header.identity
    }

    /// Current epoch and the steps taken in it, both from 0.
    pub fn position(&self) -> (usize, usize) {
        let position = self.header.state.position;
        (position.epoch, position.step)
    }

    /// Upper bound on the bytes of a cell's checkpoint: what is stored per parameter and per step,
    /// and the measures.
    ///
    /// # Errors
    /// When the cell's model cannot be built.
    pub fn most_bytes(cell: &Cell, data: &DataSet, registry: &Registry) -> crate::Result<u64> {
        let task = Task { input: data.input, classes: data.classes };
        let model = registry.model(&cell.model, task).map_err(crate::Error::Usage)?;
        let steps = cell.epochs.saturating_mul(cell.steps_per_epoch());
        let vectors = BYTES_OF_PARAMETER.saturating_mul(model.layout().len()).saturating_add(steps.saturating_mul(8));
        Ok(BYTES_OF_MEASURES.saturating_add(vectors as u64))
    }

    /// Serialises the checkpoint.
    ///
    /// # Errors
    /// When it cannot be written as a safetensors file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let header = serde_json::to_string(&self.header).map_err(|e| e.to_string())?;
        let parts: Vec<_> = self.vectors.iter().map(|(name, vector)| (name.as_str(), vector.parts())).collect();
        let digest = digest(&header, parts.iter().map(|(name, (.., bytes))| (*name, *bytes)));
        let views = parts
            .iter()
            .map(|(name, (dtype, n, bytes))| Ok((*name, TensorView::new(*dtype, vec![*n], bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
        let metadata = HashMap::from([(KEY.to_string(), format!("{digest} {header}"))]);
        views.and_then(|views| safetensors::serialize(views, Some(metadata))).map_err(|e| e.to_string())
    }

    /// Deserialises a checkpoint.
    ///
    /// # Errors
    /// Says why the bytes are not a complete checkpoint of this version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let text = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let (expected, header) =
            text.and_then(|text| text.split_once(' ')).ok_or("it is not a checkpoint of a training")?;
        let mut views: Vec<(String, TensorView<'_>)> = tensors.tensors();
        views.sort_by(|(a, _), (b, _)| a.cmp(b));
        if digest(header, views.iter().map(|(name, view)| (name.as_str(), view.data()))) != expected {
            return Err("its digest does not match its contents".into());
        }
        let Versioned { schema } = serde_json::from_str(header).map_err(|e| e.to_string())?;
        if schema != SCHEMA {
            return Err(format!("its schema is {schema}, this program reads {SCHEMA}"));
        }
        let header: Header = serde_json::from_str(header).map_err(|e| e.to_string())?;
        let read = |(name, view): (String, TensorView<'_>)| {
            let vector = StoredVector::read(&view).ok_or_else(|| format!("{name} is of type {:?}", view.dtype()))?;
            Ok((name, vector))
        };
        Ok(Self { header, vectors: views.into_iter().map(read).collect::<Result<_, String>>()? })
    }
}

/// Identity that a checkpoint must match to be resumed: the cell, and a program and machine type
/// that produce the same bits.
pub fn identity(cell: &Cell, data: &DataSet, compute: &Compute) -> String {
    let program = TrainingProvenance::now();
    let clean = program.git_revision.filter(|revision| !revision.ends_with("+dirty"));
    // Without a clean revision, the executable file identifies the sources.
    let revision = clean.unwrap_or_else(|| {
        let file = std::env::current_exe().and_then(std::fs::metadata).ok();
        let built = file.and_then(|f| Some((f.len(), f.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_millis())));
        built.map_or("unknown".into(), |(bytes, time)| format!("{bytes} bytes of {time}"))
    });
    format!(
        "{} on {}, sharpbench {} ({revision}), {}{}",
        cell.id(),
        data.provenance.sha256,
        program.sharpbench,
        compute.gpu().map_or_else(String::new, |gpu| format!("{gpu}, ")),
        program.machine.kind()
    )
}

/// SHA-256 of the header and of all vectors with their names, in name order.
fn digest<'a>(header: &str, vectors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut sha = Sha256::new();
    sha.update(header.as_bytes());
    for (name, bytes) in vectors {
        sha.update([0]);
        sha.update(name.as_bytes());
        sha.update((bytes.len() as u64).to_le_bytes());
        sha.update(bytes);
    }
    hex(&sha.finalize())
}

#[cfg(test)]
mod tests {
    use super::super::state::Position;
    use super::*;
    use crate::record::GradientNorm;

    fn checkpoint() -> Checkpoint {
        let state = TrainingState {
            position: Position { epoch: 3, drawn: 8, step: 7, left_out: 1, losses: 0.1 + 0.2, lr: 1e-3, seconds: 1.25 },
            mask_seconds: 0.5,
            flops_executed: u64::MAX,
            gradient_norms: vec![GradientNorm { step: 1, squared: 1.0 / 3.0 }],
            unreadable: vec!["a.png".into()],
            resumed: 2,
            ..TrainingState::default()
        };
        let vectors = [
            ("weights", StoredVector::F32(vec![1.0, f32::NAN, -0.0])),
            ("step_seconds", StoredVector::F64(vec![1.0 / 3.0])),
            ("mask", StoredVector::Flags(vec![true, false, true])),
            ("method.mean", StoredVector::F32(Vec::new())),
        ];
        Checkpoint::new("a cell".into(), state, vectors.map(|(name, vector)| (name.to_string(), vector)).into())
    }

    #[test]
    fn bytes_are_read_back_to_the_last_bit() {
        let before = checkpoint();
        let bytes = before.to_bytes().expect("bytes");
        let after = Checkpoint::from_bytes(&bytes).expect("a checkpoint");
        assert_eq!(after.header, before.header);
        // NaN does not equal itself, but its bytes do.
        assert_eq!(after.to_bytes().expect("bytes"), bytes);
    }

    /// Earlier checkpoints had the fields of the state in the header.
    #[test]
    fn another_schema_is_named() {
        let header = r#"{"schema":1,"identity":"a cell","resumed":0}"#;
        let text = format!("{} {header}", digest(header, std::iter::empty()));
        let metadata = HashMap::from([(KEY.to_string(), text)]);
        let views: [(&str, TensorView<'_>); 0] = [];
        let bytes = safetensors::serialize(views, Some(metadata)).expect("bytes");
        let error = Checkpoint::from_bytes(&bytes).expect_err("another shape");
        assert_eq!(error, "its schema is 1, this program reads 2");
    }

    /// Any flipped bit and any truncation must be rejected without a panic.
    #[test]
    fn no_damaged_byte_is_read_as_good() {
        let bytes = checkpoint().to_bytes().expect("bytes");
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << (place % 8);
            assert!(Checkpoint::from_bytes(&damaged).is_err_and(|e| !e.is_empty()), "byte {place}");
            assert!(Checkpoint::from_bytes(&bytes[..place]).is_err(), "cut at {place}");
        }
    }
}
