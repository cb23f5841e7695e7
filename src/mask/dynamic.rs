//! Drop and grow: the dynamic sparse training of SSAM-D (Mi et al. 2022, algorithm 3).

use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use super::pattern::{ranked, take};
use super::{Mask, Pattern, fisher_keep, floor, top_k};
use crate::nn::ParamLayout;
use crate::random::sample;

/// Death rate d in an epoch: `drop_rate (1 + cos(pi epoch / epochs)) / 2`.
pub fn death_rate(drop_rate: f64, epoch: usize, epochs: usize) -> f64 {
    drop_rate * (1.0 + libm::cos(std::f64::consts::PI * epoch as f64 / epochs as f64)) / 2.0
}

/// An update of a dynamic mask. A score of `None` means a random choice.
pub struct DropAndGrow<'a> {
    /// Fraction of scalars not perturbed.
    pub sparsity: f64,
    /// Fraction of the live scalars to drop.
    pub death_rate: f64,
    /// Live scalars with the largest score stay (SSAM-D: |g|, so the flattest are dropped).
    pub keep_score: Option<&'a [f32]>,
    /// Dead scalars with the largest score come alive (SSAM-D: random).
    pub grow_score: Option<&'a [f32]>,
}

impl DropAndGrow<'_> {
    /// Computes the next mask, of single scalars or of whole units.
    ///
    /// # Panics
    /// For group patterns, which cannot drop and grow.
    pub fn update(&self, pattern: Pattern, layout: &ParamLayout, mask: &Mask, rng: &mut ChaCha8Rng) -> Mask {
        match pattern {
            Pattern::Unstructured => self.scalars(mask, rng),
            Pattern::LiveOf { .. } => panic!("{pattern} fixes how many of a group are live"),
            _ => self.units(&pattern.units(layout), mask, rng),
        }
    }

    /// Keeps the best floor(N (1-s)(1-d)) live scalars, then revives floor(min(N (1-s) d, N s)) of
    /// the scalars that were dead. If there are too few dead scalars (s < d (1-s)), drops only as
    /// many as can be grown, so the live count is constant.
    fn scalars(&self, mask: &Mask, rng: &mut ChaCha8Rng) -> Mask {
        let n = mask.live.len() as f64;
        let moving = n * (1.0 - self.sparsity) * self.death_rate;
        let (live, dead): (Vec<u32>, Vec<u32>) = (0..mask.live.len() as u32).partition(|i| mask.live[*i as usize]);
        let (keep, grow) = if moving <= n * self.sparsity {
            (floor(n * (1.0 - self.sparsity) * (1.0 - self.death_rate)), floor(moving))
        } else {
            let grow = floor(n * self.sparsity).min(dead.len());
            (live.len() - grow, grow)
        };
        let kept = choose(live, keep, self.keep_score, rng);
        let grown = choose(dead, grow, self.grow_score, rng);
        let mut next = Mask::empty(mask.live.len());
        kept.into_iter().chain(grown).for_each(|i| next.live[i as usize] = true);
        next
    }

    /// Keeps the best live units until they hold floor(N (1-s)(1-d)) scalars, then revives dead
    /// units until floor(N (1-s)) scalars are live. Units are not split: if the kept units already
    /// reach the second count, none is revived. With d = 0 nothing changes.
    fn units(&self, units: &[Range<usize>], mask: &Mask, rng: &mut ChaCha8Rng) -> Mask {
        if self.death_rate <= 0.0 {
            return mask.clone();
        }
        let n = mask.live.len();
        let target = fisher_keep(n, self.sparsity);
        let (live, dead): (Vec<usize>, Vec<usize>) = (0..units.len()).partition(|u| mask.live[units[*u].start]);
        // Drops no more than dead units can replace.
        let can_grow = n - mask.live_count();
        let least =
            floor(n as f64 * (1.0 - self.sparsity) * (1.0 - self.death_rate)).max(target.saturating_sub(can_grow));
        let mut next = Mask::empty(n);
        let count = take(&mut next, units, ranked(live, units, self.keep_score, rng), (0, least));
        take(&mut next, units, ranked(dead, units, self.grow_score, rng), (count, target));
        next
    }
}

fn choose(candidates: Vec<u32>, k: usize, score: Option<&[f32]>, rng: &mut ChaCha8Rng) -> Vec<u32> {
    match score {
        Some(score) => top_k(candidates, k, score),
        None => sample(rng, candidates.len(), k).into_iter().map(|j| candidates[j as usize]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use candle_nn::Init;
    use proptest::prelude::*;

    use super::*;
    use crate::mask::dynamic_keep;
    use crate::nn::ParamsBuilder;
    use crate::random::{Stream, stream};

    #[test]
    fn death_rates_are_the_published_ones() {
        let d: Vec<f64> = [0, 50, 100, 150, 200].iter().map(|e| death_rate(0.5, *e, 200)).collect();
        for (found, expected) in d.iter().zip([0.5, 0.42678, 0.25, 0.07322, 0.0]) {
            assert!((found - expected).abs() < 1e-5, "{found} against {expected}");
        }
    }

    #[test]
    fn keeps_the_steepest_and_grows_only_dead_ones() {
        let mask = Mask::from_flags([vec![true; 10], vec![false; 10]].concat());
        let gradient: Vec<f32> = (0..20).map(|i| i as f32).collect();
        let step = DropAndGrow { sparsity: 0.5, death_rate: 0.5, keep_score: Some(&gradient), grow_score: None };
        let next = step.scalars(&mask, &mut stream(1, Stream::Mask(0)));
        assert_eq!(next.flags()[..10], [[false; 5], [true; 5]].concat());
        assert_eq!(next.flags()[10..].iter().filter(|l| **l).count(), 5);
    }

    proptest! {
        #[test]
        fn live_count_moves_by_at_most_one(n in 1usize..400, percent in 0usize..101, death in 0.0f64..0.5, seed in 0u64..9) {
            let sparsity = percent as f64 / 100.0;
            let rng = &mut stream(seed, Stream::Mask(0));
            let mask = Mask::random(n, dynamic_keep(n, sparsity), rng);
            let step = DropAndGrow { sparsity, death_rate: death, keep_score: None, grow_score: None };
            let next = step.scalars(&mask, rng);
            prop_assert!(next.live_count().abs_diff(mask.live_count()) <= 1, "{} -> {}", mask.live_count(), next.live_count());
        }

        /// With whole units, the live count must stay within one unit above its target after any
        /// number of updates, and with d = 0 nothing may change.
        #[test]
        fn live_units_reach_their_target(percent in 1usize..100, death in 0.01f64..0.5, seed in 0u64..9, channel: bool) {
            let mut params = ParamsBuilder::default();
            for (i, shape) in [vec![7, 5, 3, 3], vec![11], vec![6, 20], vec![4, 4]].into_iter().enumerate() {
                params.param(&format!("p{i}"), &shape, Init::Const(0.0));
            }
            let layout = params.build();
            let pattern = if channel { Pattern::Channel } else { Pattern::Tensor };
            let (sparsity, n) = (percent as f64 / 100.0, layout.len());
            let largest = pattern.units(&layout).iter().map(Range::len).max().unwrap_or(0);
            let rng = &mut stream(seed, Stream::Mask(0));
            let mut mask = pattern.choose(&layout, dynamic_keep(n, sparsity), None, rng);
            let mut step = DropAndGrow { sparsity, death_rate: death, keep_score: None, grow_score: None };
            for _ in 0..4 {
                mask = step.update(pattern, &layout, &mask, rng);
                let target = floor(n as f64 * (1.0 - sparsity));
                prop_assert!((target..target + largest).contains(&mask.live_count()));
            }
            step.death_rate = 0.0;
            prop_assert_eq!(step.update(pattern, &layout, &mask, rng), mask);
        }
    }
}
