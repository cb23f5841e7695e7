//! Counts the floating-point operations that the kernels execute.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// FLOP counter of the convolutions and matrix products that receive it. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct FlopCount(Arc<AtomicU64>);

impl FlopCount {
    /// Adds `flops` FLOPs; a multiply-add counts as 2.
    pub fn add(&self, flops: usize) {
        self.0.fetch_add(flops as u64, Ordering::Relaxed);
    }

    /// FLOPs executed so far.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
