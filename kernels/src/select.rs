//! Exact global selection (candle's sort fails on long rows on CUDA).

use std::cmp::Ordering;

/// Returns the `k` of `candidates` (indices into `scores`) with the largest scores; ties go to the
/// lower index. The result is unordered. Linear time on average.
pub fn top_k(mut candidates: Vec<u32>, k: usize, scores: &[f32]) -> Vec<u32> {
    if k == 0 {
        return Vec::new();
    }
    if k < candidates.len() {
        let score = |i: u32| scores[i as usize];
        let best_first = |a: &u32, b: &u32| -> Ordering { score(*b).total_cmp(&score(*a)).then(a.cmp(b)) };
        candidates.select_nth_unstable_by(k - 1, best_first);
        candidates.truncate(k);
    }
    candidates
}
