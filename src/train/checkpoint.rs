//! A training on its way, as bytes: everything from which it goes on to the same weights and the same record.
//!
//! The bytes are a safetensors file. Its metadata hold the position and what was measured so far, as JSON, after a SHA-256 of that
//! and of all tensors: what was damaged on disk is not gone on with.

use std::collections::{BTreeMap, HashMap};
use std::time::UNIX_EPOCH;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::compute::Compute;
use crate::data::{DataSet, hex};
use crate::model::{self, Task};
use crate::record::{EdgeCheck, EpochMeasures, GradientNorm, MaskRefresh, Provenance, SharpnessCheck};
use crate::suite::Cell;

/// Version of the shape of the bytes.
const SCHEMA: u32 = 1;
/// Bytes that are kept of a parameter, at most: its weight, its momentum, a method's means, its mask, an eigenvector.
const BYTES_OF_PARAMETER: usize = 64;
/// Bytes of the metadata, at most: those of the longest record.
const BYTES_OF_MEASURES: u64 = 64 << 20;
/// Of the metadata: one key, for several would come in any order.
const KEY: &str = "sharpbench";

/// Where a training stands, and what it has measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// [`SCHEMA`].
    pub(super) schema: u32,
    /// What is trained, and by what: a checkpoint of anything else is not gone on with.
    pub(super) identity: String,
    pub(super) position: Position,
    pub(super) epochs: Vec<EpochMeasures>,
    pub(super) mask_seconds: f64,
    pub(super) flops_executed: u64,
    pub(super) gradient_norms: Vec<GradientNorm>,
    pub(super) edge: Vec<EdgeCheck>,
    pub(super) sharpness: Vec<SharpnessCheck>,
    pub(super) mask_refreshes: Vec<MaskRefresh>,
    pub(super) peak_memory_bytes: Option<u64>,
    /// Files that could not be read and were left out.
    pub(super) unreadable: Vec<String>,
    /// How often the training was gone on with before.
    pub(super) resumed: usize,
}

/// A place between two steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// Epoch, from 0.
    pub(super) epoch: usize,
    /// Batches of it that were drawn.
    pub(super) drawn: usize,
    /// Steps of it that were taken: all of those but where no sample of a batch could be read.
    pub(super) step: usize,
    /// Sum of their losses.
    pub(super) losses: f64,
    /// Learning rate of the last of them.
    pub(super) lr: f64,
    /// What they took, mask refreshes included.
    pub(super) seconds: f64,
}

/// A vector of one of the types that a training is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Vector {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Flags(Vec<bool>),
}

/// A training on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub(super) state: State,
    pub(super) vectors: BTreeMap<String, Vector>,
}

/// Decides when a training is kept or stopped, and keeps it.
pub trait Keeper {
    /// Whether the training is to stop as soon as it can be gone on with; asked after every step.
    fn stops(&self) -> bool;
    /// Whether it is to be kept after this epoch.
    fn is_due(&mut self, epoch: usize) -> bool;
    /// Keeps it.
    ///
    /// # Errors
    /// When it cannot be written; the training ends then.
    fn keep(&mut self, checkpoint: &Checkpoint) -> crate::Result<()>;
}

/// Keeps nothing and stops for nothing.
pub struct KeepNothing;

impl Keeper for KeepNothing {
    fn stops(&self) -> bool {
        false
    }

    fn is_due(&mut self, _: usize) -> bool {
        false
    }

    fn keep(&mut self, _: &Checkpoint) -> crate::Result<()> {
        Ok(())
    }
}

impl State {
    pub(super) const SCHEMA: u32 = SCHEMA;
}

impl Vector {
    fn parts(&self) -> (Dtype, usize, Vec<u8>) {
        match self {
            Self::F32(values) => (Dtype::F32, values.len(), values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Self::F64(values) => (Dtype::F64, values.len(), values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Self::Flags(flags) => (Dtype::U8, flags.len(), flags.iter().map(|flag| u8::from(*flag)).collect()),
        }
    }

    fn read(view: &TensorView<'_>) -> Option<Self> {
        let data = view.data();
        Some(match view.dtype() {
            Dtype::F32 => Self::F32(data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
            Dtype::F64 => Self::F64(data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()),
            Dtype::U8 => Self::Flags(data.iter().map(|flag| *flag != 0).collect()),
            _ => return None,
        })
    }
}

impl Checkpoint {
    /// The cell and program that it is of.
    pub fn identity(&self) -> &str {
        &self.state.identity
    }

    /// The epoch it stands in, and the steps of it that were taken; both from 0.
    pub fn position(&self) -> (usize, usize) {
        (self.state.position.epoch, self.state.position.step)
    }

    /// Bytes that no checkpoint of a cell exceeds: what is kept of each parameter and of each step, and what was measured.
    ///
    /// # Errors
    /// When its model cannot be built.
    pub fn most_bytes(cell: &Cell, data: &DataSet) -> crate::Result<u64> {
        let task = Task { input: data.input, classes: data.classes };
        let model = model::build(&cell.model, task).map_err(crate::Error::Usage)?;
        let steps = cell.epochs.saturating_mul(cell.steps_per_epoch());
        let vectors = BYTES_OF_PARAMETER.saturating_mul(model.layout().len()).saturating_add(steps.saturating_mul(8));
        Ok(BYTES_OF_MEASURES.saturating_add(vectors as u64))
    }

    /// As bytes.
    ///
    /// # Errors
    /// When it cannot be written as a safetensors file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let state = serde_json::to_string(&self.state).map_err(|e| e.to_string())?;
        let parts: Vec<_> = self.vectors.iter().map(|(name, vector)| (name.as_str(), vector.parts())).collect();
        let digest = digest(&state, parts.iter().map(|(name, (.., bytes))| (*name, bytes.as_slice())));
        let views = parts
            .iter()
            .map(|(name, (dtype, n, bytes))| Ok((*name, TensorView::new(*dtype, vec![*n], bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
        let metadata = HashMap::from([(KEY.to_string(), format!("{digest} {state}"))]);
        views.and_then(|views| safetensors::serialize(views, Some(metadata))).map_err(|e| e.to_string())
    }

    /// From bytes.
    ///
    /// # Errors
    /// Says why they are no whole checkpoint of this version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let text = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let (expected, state) =
            text.and_then(|text| text.split_once(' ')).ok_or("it is no checkpoint of a training")?;
        let mut views: Vec<(String, TensorView<'_>)> = tensors.tensors();
        views.sort_by(|(a, _), (b, _)| a.cmp(b));
        if digest(state, views.iter().map(|(name, view)| (name.as_str(), view.data()))) != expected {
            return Err("its contents do not have its digest".into());
        }
        let state: State = serde_json::from_str(state).map_err(|e| e.to_string())?;
        if state.schema != SCHEMA {
            return Err(format!("its schema is {}, this program reads {SCHEMA}", state.schema));
        }
        let read = |(name, view): (String, TensorView<'_>)| {
            let vector = Vector::read(&view).ok_or_else(|| format!("{name} is of type {:?}", view.dtype()))?;
            Ok((name, vector))
        };
        Ok(Self { state, vectors: views.into_iter().map(read).collect::<Result<_, String>>()? })
    }
}

/// What a checkpoint must be of to be gone on with: the cell, and a program on a type of machine that give the same bits.
pub fn identity(cell: &Cell, data: &DataSet, compute: &Compute) -> String {
    let program = Provenance::now();
    let clean = program.git_revision.filter(|revision| !revision.ends_with("+dirty"));
    // Sources of no known revision are told apart by the file that was built from them.
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

/// SHA-256 of the state and of all vectors with their names, in name order.
fn digest<'a>(state: &str, vectors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut sha = Sha256::new();
    sha.update(state.as_bytes());
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
    use super::*;

    fn checkpoint() -> Checkpoint {
        let state = State {
            schema: SCHEMA,
            identity: "a cell".into(),
            position: Position { epoch: 3, drawn: 8, step: 7, losses: 0.1 + 0.2, lr: 1e-3, seconds: 1.25 },
            epochs: Vec::new(),
            mask_seconds: 0.5,
            flops_executed: u64::MAX,
            gradient_norms: vec![GradientNorm { step: 1, squared: 1.0 / 3.0 }],
            edge: Vec::new(),
            sharpness: Vec::new(),
            mask_refreshes: Vec::new(),
            peak_memory_bytes: None,
            unreadable: vec!["a.png".into()],
            resumed: 2,
        };
        let vectors = [
            ("weights", Vector::F32(vec![1.0, f32::NAN, -0.0])),
            ("step_seconds", Vector::F64(vec![1.0 / 3.0])),
            ("mask", Vector::Flags(vec![true, false, true])),
            ("method.mean", Vector::F32(Vec::new())),
        ];
        Checkpoint { state, vectors: vectors.map(|(name, vector)| (name.to_string(), vector)).into() }
    }

    #[test]
    fn bytes_are_read_back_to_the_last_bit() {
        let before = checkpoint();
        let bytes = before.to_bytes().expect("bytes");
        let after = Checkpoint::from_bytes(&bytes).expect("a checkpoint");
        assert_eq!(after.state, before.state);
        // NaN is not equal to itself; its bits are.
        assert_eq!(after.to_bytes().expect("bytes"), bytes);
    }

    /// Whatever bit was changed and wherever the file was cut: it is refused, and nothing panics.
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
