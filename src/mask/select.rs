//! Exact global selection on the host (candle's sort fails on long rows on CUDA).

use std::cmp::Ordering;

/// The `k` of `candidates` with the largest score; ties go to the lower index. Order of the result is
/// unspecified. Linear time on average.
pub fn top_k(mut candidates: Vec<u32>, k: usize, score: impl Fn(u32) -> f32) -> Vec<u32> {
    if k == 0 {
        return Vec::new();
    }
    if k < candidates.len() {
        let best_first = |a: &u32, b: &u32| -> Ordering { score(*b).total_cmp(&score(*a)).then(a.cmp(b)) };
        candidates.select_nth_unstable_by(k - 1, best_first);
        candidates.truncate(k);
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Oracle: a full stable sort.
        #[test]
        fn equals_a_full_sort(scores in prop::collection::vec(-3i8..3, 0..60), k in 0usize..70) {
            let score = |i: u32| f32::from(scores[i as usize]);
            let all: Vec<u32> = (0..scores.len() as u32).collect();
            let mut sorted = all.clone();
            sorted.sort_by(|a, b| score(*b).total_cmp(&score(*a)));
            sorted.truncate(k);
            sorted.sort_unstable();
            let mut selected = top_k(all, k, score);
            selected.sort_unstable();
            prop_assert_eq!(selected, sorted);
        }
    }
}
