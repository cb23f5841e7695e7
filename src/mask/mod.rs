//! Masks: the scalars of the flat weight vector that a sparse ascent step perturbs. This module is
//! pure: it maps scores to masks and does not depend on training.

mod budget;
mod dynamic;
mod pattern;
mod refresh;
mod stored;

pub use budget::{StepCosts, TensorCost};
pub use dynamic::{DropAndGrow, death_rate};
pub use pattern::{GroupAxis, Pattern};
pub use refresh::{Amount, FisherMode, Grow, MaskScore, MaskSpec, Refresh, RefreshName, Score, When};
pub use sharpbench_kernels::top_k;

use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use crate::nn::{ParamLayout, ParamSpec};
use crate::random::sample;

/// One flag per scalar, in name order: perturbed (live) or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    live: Vec<bool>,
}

impl Mask {
    /// Mask that perturbs nothing.
    pub fn empty(n: usize) -> Self {
        Self { live: vec![false; n] }
    }

    /// Mask that perturbs everything.
    pub fn full(n: usize) -> Self {
        Self { live: vec![true; n] }
    }

    /// Creates a mask from its flags.
    pub fn from_flags(live: Vec<bool>) -> Self {
        Self { live }
    }

    /// Mask of the whole tensors that are live.
    pub fn of_tensors(layout: &ParamLayout, is_live: impl Fn(&ParamSpec) -> bool) -> Self {
        let mut mask = Self::empty(layout.len());
        layout.specs().iter().filter(|spec| is_live(spec)).for_each(|spec| mask.set(spec.range(), true));
        mask
    }

    /// Selects the `keep` largest scores; ties go to the lower index.
    pub fn top(scores: &[f32], keep: usize) -> Self {
        let mut mask = Self::empty(scores.len());
        let all: Vec<u32> = (0..scores.len() as u32).collect();
        top_k(all, keep, scores).into_iter().for_each(|i| mask.live[i as usize] = true);
        mask
    }

    /// Selects `keep` random scalars.
    pub fn random(n: usize, keep: usize, rng: &mut ChaCha8Rng) -> Self {
        let mut mask = Self::empty(n);
        sample(rng, n, keep).into_iter().for_each(|i| mask.live[i as usize] = true);
        mask
    }

    /// The flags.
    pub fn flags(&self) -> &[bool] {
        &self.live
    }

    /// Number of live scalars.
    pub fn live_count(&self) -> usize {
        self.live.iter().filter(|l| **l).count()
    }

    /// Sets a range live or dead.
    pub fn set(&mut self, range: Range<usize>, live: bool) {
        self.live[range].fill(live);
    }

    /// Live fraction of each tensor, by name.
    pub fn live_by_tensor<'l>(&self, layout: &'l ParamLayout) -> Vec<(&'l str, f64)> {
        let fraction = |flags: &[bool]| flags.iter().filter(|l| **l).count() as f64 / flags.len().max(1) as f64;
        layout.specs().iter().map(|spec| (spec.name.as_str(), fraction(&self.live[spec.range()]))).collect()
    }

    /// Fraction of the live scalars that were also live in `before`; `None` if nothing is live.
    pub fn overlap(&self, before: &Self) -> Option<f64> {
        let both = self.live.iter().zip(&before.live).filter(|(now, before)| **now && **before).count();
        let live = self.live_count();
        (live > 0).then(|| both as f64 / live as f64)
    }

    /// Fraction of the sum of `scores` held by live scalars; `None` if the sum is not a positive
    /// number.
    pub fn share_of(&self, scores: &[f32]) -> Option<f64> {
        let total: f64 = scores.iter().map(|s| f64::from(*s)).sum();
        let live = scores.iter().zip(&self.live).filter(|(_, live)| **live).map(|(s, _)| f64::from(*s));
        (total.is_finite() && total > 0.0).then(|| live.sum::<f64>() / total)
    }

    /// Fraction of scalars that are live.
    pub fn live_fraction(&self) -> f64 {
        if self.live.is_empty() { 0.0 } else { self.live_count() as f64 / self.live.len() as f64 }
    }
}

/// Live scalars of SSAM-F: floor(N (1 - s)) (Mi et al. 2022, code).
pub fn fisher_keep(n: usize, sparsity: f64) -> usize {
    floor(n as f64 * (1.0 - sparsity))
}

/// Initial live scalars of SSAM-D: N - ceil(N s) (Mi et al. 2022, code).
pub fn dynamic_keep(n: usize, sparsity: f64) -> usize {
    n - (n as f64 * sparsity - ROUNDING).ceil().max(0.0) as usize
}

/// Tolerance for products such as 10 * (1 - 0.9), which miss the intended integer by a rounding
/// error.
const ROUNDING: f64 = 1e-6;

fn floor(x: f64) -> usize {
    (x + ROUNDING).floor().max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::{Stream, stream};

    proptest! {
        /// Oracle: a full stable sort.
        #[test]
        fn top_k_equals_a_full_sort(scores in prop::collection::vec(-3i8..3, 0..60), k in 0usize..70) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let all: Vec<u32> = (0..scores.len() as u32).collect();
            let mut sorted = all.clone();
            sorted.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]));
            sorted.truncate(k);
            sorted.sort_unstable();
            let mut selected = top_k(all, k, &scores);
            selected.sort_unstable();
            prop_assert_eq!(selected, sorted);
        }
    }

    #[test]
    fn keep_counts_are_the_published_ones() {
        // ResNet18 for CIFAR-10 has 11,173,962 parameters.
        let n = 11_173_962;
        let kept: Vec<_> = [0.5, 0.8, 0.9, 0.95, 0.98, 0.99].iter().map(|s| fisher_keep(n, *s)).collect();
        assert_eq!(kept, [5_586_981, 2_234_792, 1_117_396, 558_698, 223_479, 111_739]);
        assert_eq!(fisher_keep(10, 0.9), 1);
        assert_eq!(dynamic_keep(10, 0.9), 1);
        assert_eq!((fisher_keep(7, 0.0), dynamic_keep(7, 0.0)), (7, 7));
        assert_eq!((fisher_keep(7, 1.0), dynamic_keep(7, 1.0)), (0, 0));
    }

    #[test]
    fn top_takes_the_largest_and_the_lower_index_of_a_tie() {
        let mask = Mask::top(&[1.0, 3.0, 2.0, 3.0, 2.0], 3);
        assert_eq!(mask.flags(), [false, true, true, true, false]);
    }

    #[test]
    fn statistics_are_their_definitions() {
        let before = Mask::from_flags(vec![true, true, false, false]);
        let now = Mask::from_flags(vec![true, false, true, false]);
        assert_eq!(now.overlap(&before), Some(0.5));
        assert_eq!(Mask::empty(4).overlap(&before), None);
        assert_eq!(now.share_of(&[1.0, 2.0, 3.0, 4.0]), Some(0.4));
        assert_eq!(now.share_of(&[0.0; 4]), None);
    }

    #[test]
    fn a_random_mask_has_the_asked_count() {
        let mask = Mask::random(1000, 100, &mut stream(1, Stream::Mask(0)));
        assert_eq!(mask.live_count(), 100);
        assert_eq!(mask.live_fraction(), 0.1);
    }
}
