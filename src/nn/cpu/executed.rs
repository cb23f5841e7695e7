//! Counts the floating-point operations that the kernels execute, over all threads of the process.

use std::sync::atomic::{AtomicU64, Ordering};

static FLOPS: AtomicU64 = AtomicU64::new(0);

/// Adds `flops` FLOPs; a multiply-add has 2.
pub(in crate::nn) fn count_flops(flops: usize) {
    FLOPS.fetch_add(flops as u64, Ordering::Relaxed);
}

/// FLOPs of convolutions and matrix products executed by this process so far. Differences of it measure a piece of work
/// while nothing else computes.
pub fn executed_flops() -> u64 {
    FLOPS.load(Ordering::Relaxed)
}
