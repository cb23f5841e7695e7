//! Saving a training to a checkpoint and restoring it.

use super::Session;
use crate::optim::Kept;
use crate::train::checkpoint::{Checkpoint, identity};
use crate::train::slot::Slot;
use crate::train::state::TrainingState;

impl<'a> Session<'a> {
    /// Copies the current state of the training, between two steps.
    pub(super) fn checkpoint(&mut self) -> Checkpoint {
        self.note_process();
        let vectors = self.slots().into_iter().map(|(name, slot)| (name, slot.copy())).collect();
        Checkpoint::new(identity(self.cell, self.data, self.compute), self.state.clone(), vectors)
    }

    /// Restores the training from a checkpoint.
    pub(super) fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), String> {
        if checkpoint.identity() != identity(self.cell, self.data, self.compute) {
            return Err(format!("it belongs to {}", checkpoint.identity()));
        }
        let (state, mut vectors) = checkpoint.into_parts();
        self.state = TrainingState { resumed: state.resumed + 1, ..state };
        let parameters = self.trainer.weights().len();
        for (name, slot) in self.slots() {
            slot.fill(&name, vectors.remove(&name), parameters)?;
        }
        vectors
            .keys()
            .next()
            .map_or(Ok(()), |name| Err(format!("it contains {name}, which this training does not have")))
    }

    /// Returns a slot for everything a checkpoint stores as a tensor, by name.
    fn slots(&mut self) -> Vec<(String, Slot<'_, 'a>)> {
        let Kept { vectors, numbers } = self.trainer.kept();
        let vectors = vectors.into_iter().map(|(name, vector)| (name, Slot::F32(vector)));
        let numbers = numbers.into_iter().map(|(name, number)| (name, Slot::Number(number)));
        let own = [
            ("step_seconds".into(), Slot::StepSeconds(&mut self.state.step_seconds)),
            ("eigenvector".into(), Slot::F64(self.edge.eigenvector())),
        ];
        let mask = self.masks.as_mut().map(|masks| ("mask".into(), Slot::Mask(masks)));
        vectors.chain(numbers).chain(own).chain(mask).collect()
    }
}
