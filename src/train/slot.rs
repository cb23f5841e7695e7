//! Vectors of a training that a checkpoint stores as tensors. Slots copy and restore them in the
//! same way.

use std::collections::BTreeMap;

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::masks::MaskState;
use crate::little_endian;
use crate::mask::Mask;

/// Access to a vector or number of a training, to copy it into a checkpoint or restore it from one.
pub(super) enum Slot<'a, 'c> {
    /// One value per parameter or channel; empty until a method creates it.
    F32(&'a mut Vec<f32>),
    /// One value per parameter; empty until known.
    F64(&'a mut Vec<f64>),
    /// Duration of each step.
    StepSeconds(&'a mut Vec<f64>),
    /// A single number.
    Number(&'a mut f64),
    /// Current mask.
    Mask(&'a mut MaskState<'c>),
}

/// A vector stored in a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum StoredVector {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Flags(Vec<bool>),
}

/// Stored vectors by name.
pub(super) type StoredVectors = BTreeMap<String, StoredVector>;

impl Slot<'_, '_> {
    /// Copies the slot's contents.
    pub(super) fn copy(&self) -> StoredVector {
        match self {
            Self::F32(values) => StoredVector::F32(values.to_vec()),
            Self::F64(values) | Self::StepSeconds(values) => StoredVector::F64(values.to_vec()),
            Self::Number(number) => StoredVector::F64(vec![**number]),
            Self::Mask(masks) => StoredVector::Flags(masks.mask().flags().to_vec()),
        }
    }

    /// Restores the copy of the slot called `name`, in a training with `parameters` parameters.
    ///
    /// # Errors
    /// When nothing was stored, or a value of another type or length.
    pub(super) fn fill(self, name: &str, stored: Option<StoredVector>, parameters: usize) -> Result<(), String> {
        // A vector that is still empty here may already exist in the checkpoint.
        let fits = |own: usize, found: usize| found == own || (own == 0 && found == parameters);
        match (self, stored) {
            (Self::F32(own), Some(StoredVector::F32(found))) if fits(own.len(), found.len()) => *own = found,
            (Self::F64(own), Some(StoredVector::F64(found))) if fits(own.len(), found.len()) => *own = found,
            (Self::StepSeconds(own), Some(StoredVector::F64(found))) => *own = found,
            (Self::Number(own), Some(StoredVector::F64(found))) if found.len() == 1 => *own = found[0],
            (Self::Mask(own), Some(StoredVector::Flags(found))) if found.len() == parameters => {
                own.restore(Mask::from_flags(found));
            }
            (Self::F32(_), _) => return Err(format!("it has no {name} of the model's length")),
            (Self::F64(_) | Self::Mask(_), _) => return Err(format!("its {name} is not of the model's length")),
            (Self::StepSeconds(_), _) => return Err("it has no step times".into()),
            (Self::Number(_), _) => return Err(format!("it has no number {name}")),
        }
        Ok(())
    }
}

impl StoredVector {
    /// Type, length and bytes of the tensor.
    pub(super) fn parts(&self) -> (Dtype, usize, &[u8]) {
        match self {
            Self::F32(values) => (Dtype::F32, values.len(), little_endian::bytes(values)),
            Self::F64(values) => (Dtype::F64, values.len(), little_endian::bytes(values)),
            Self::Flags(flags) => (Dtype::U8, flags.len(), little_endian::bytes(flags)),
        }
    }

    /// Reads a tensor; `None` if its type is not supported.
    pub(super) fn read(view: &TensorView<'_>) -> Option<Self> {
        let data = view.data();
        Some(match view.dtype() {
            Dtype::F32 => Self::F32(little_endian::values(data)),
            Dtype::F64 => Self::F64(little_endian::values(data)),
            Dtype::U8 => Self::Flags(data.iter().map(|flag| *flag != 0).collect()),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Copies must be restored. Missing values and those of another type or length must be rejected
    /// by name.
    #[test]
    fn slots_take_back_what_was_copied_and_nothing_else() {
        let (mut f32s, mut f64s, mut number, mut seconds) = (vec![1.5f32, -0.0], vec![0.1], 0.1 + 0.2, vec![0.25]);
        let copies = [
            Slot::F32(&mut f32s).copy(),
            Slot::F64(&mut f64s).copy(),
            Slot::Number(&mut number).copy(),
            Slot::StepSeconds(&mut seconds).copy(),
        ];
        let n = f32s.len();
        let [of_f32, of_f64, of_number, of_seconds] = copies.map(Some);

        let mut own = vec![0f32; n];
        Slot::F32(&mut own).fill("weights", of_f32.clone(), n).expect("as many");
        assert_eq!(own, f32s);
        let mut unmade = Vec::new();
        Slot::F32(&mut unmade).fill("method.mean", of_f32.clone(), n).expect("made since");
        assert_eq!(unmade, f32s);
        let error = Slot::F32(&mut vec![0.0; 3]).fill("weights", of_f32.clone(), n).expect_err("two of three");
        assert_eq!(error, "it has no weights of the model's length");
        let error = Slot::F32(&mut own).fill("weights", of_f64.clone(), n).expect_err("another type");
        assert_eq!(error, "it has no weights of the model's length");

        let error = Slot::F64(&mut Vec::new()).fill("eigenvector", of_f64.clone(), n).expect_err("one of two");
        assert_eq!(error, "its eigenvector is not of the model's length");

        let mut back = 0.0;
        Slot::Number(&mut back).fill("norm", of_number, n).expect("a number");
        assert_eq!(back, number);
        let error = Slot::Number(&mut back).fill("norm", None, n).expect_err("none");
        assert_eq!(error, "it has no number norm");

        let mut back = Vec::new();
        Slot::StepSeconds(&mut back).fill("step_seconds", of_seconds, n).expect("any length");
        assert_eq!(back, seconds);
        let error = Slot::StepSeconds(&mut back).fill("step_seconds", of_f32, n).expect_err("another type");
        assert_eq!(error, "it has no step times");
    }
}
