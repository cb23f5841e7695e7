//! Cost-aware masks: the tensors that hold the most score, for a budget of FLOPs.
//!
//! What an ascent step of some tensors costs has two parts. Every live tensor needs its own weight gradient. And the first of them in the
//! network decides how far the first backward pass must go, and from which layer on the second forward pass must be computed anew. So
//! for each possible first tensor, the others are chosen as the items of a knapsack.

use rand_chacha::ChaCha8Rng;

use super::Mask;
use crate::nn::ParamLayout;
use crate::random::sample;

/// Parts into which the knapsack divides its capacity. Costs are rounded up to whole parts, so the budget is kept.
const PARTS: usize = 4096;

/// FLOPs of steps whose ascent step perturbs whole tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct StepCosts {
    /// A step without an ascent step.
    pub plain: f64,
    /// What each tensor adds, in name order.
    pub tensors: Vec<TensorCost>,
}

/// What perturbing a tensor adds to a step, in FLOPs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorCost {
    /// Its own weight gradient.
    pub gradient: f64,
    /// Everything else: the first backward pass down to its layer, and the second forward pass from there. Of several tensors only
    /// the largest counts, because layers follow one another.
    pub reach: f64,
}

impl StepCosts {
    /// FLOPs of a step that perturbs the tensors at these places in name order.
    pub fn of(&self, live: impl IntoIterator<Item = usize> + Clone) -> f64 {
        let costs = || live.clone().into_iter().map(|place| self.tensors[place]);
        self.plain + costs().map(|cost| cost.reach).fold(0.0, f64::max) + costs().map(|cost| cost.gradient).sum::<f64>()
    }

    /// FLOPs of the cheapest step that perturbs something, over those of a plain one.
    pub fn least(&self) -> f64 {
        let added = self.tensors.iter().map(|cost| cost.reach + cost.gradient).fold(f64::INFINITY, f64::min);
        1.0 + added / self.plain
    }

    /// Mask of the tensors that hold the most of the sum of `scores` among those whose steps cost at most `budget` plain ones; without
    /// scores, of tensors taken in random order, as far as they fit.
    pub fn choose(&self, layout: &ParamLayout, budget: f64, scores: Option<&[f32]>, rng: &mut ChaCha8Rng) -> Mask {
        let chosen = match scores {
            Some(scores) => {
                let sum = |of: &[f32]| of.iter().map(|score| f64::from(*score)).sum();
                let worth: Vec<f64> = layout.specs().iter().map(|spec| sum(&scores[spec.range()])).collect();
                self.best((budget - 1.0) * self.plain, &worth)
            }
            None => {
                let mut chosen: Vec<usize> = Vec::new();
                for place in sample(rng, self.tensors.len(), self.tensors.len()) {
                    let with = chosen.iter().copied().chain([place as usize]);
                    if self.of(with) <= budget * self.plain {
                        chosen.push(place as usize);
                    }
                }
                chosen
            }
        };
        let mut mask = Mask::empty(layout.len());
        chosen.into_iter().for_each(|place| mask.set(layout.specs()[place].range(), true));
        mask
    }

    /// Places of the tensors of the largest total worth that add at most `most` FLOPs.
    fn best(&self, most: f64, worth: &[f64]) -> Vec<usize> {
        let mut reaches: Vec<f64> = self.tensors.iter().map(|cost| cost.reach).filter(|reach| *reach <= most).collect();
        reaches.sort_by(f64::total_cmp);
        reaches.dedup();
        let found = reaches.into_iter().map(|reach| {
            let within = (0..self.tensors.len()).filter(|place| self.tensors[*place].reach <= reach);
            let items: Vec<(usize, f64, f64)> =
                within.map(|place| (place, self.tensors[place].gradient, worth[place])).collect();
            knapsack(&items, most - reach)
        });
        let total = |chosen: &Vec<usize>| chosen.iter().map(|place| worth[*place]).sum::<f64>();
        found.max_by(|a, b| total(a).total_cmp(&total(b))).unwrap_or_default()
    }
}

/// Places of the items (place, cost, worth) of the largest total worth whose total cost is at most `capacity`.
fn knapsack(items: &[(usize, f64, f64)], capacity: f64) -> Vec<usize> {
    let parts = |cost: f64| if capacity > 0.0 { (cost / capacity * PARTS as f64 - 1e-9).ceil() } else { f64::INFINITY };
    let (free, costly): (Vec<_>, Vec<_>) = items.iter().copied().partition(|(_, cost, _)| *cost == 0.0);
    let costly: Vec<(usize, usize, f64)> = costly
        .into_iter()
        .map(|(place, cost, worth)| (place, parts(cost), worth))
        .filter(|(_, parts, _)| *parts <= PARTS as f64)
        .map(|(place, parts, worth)| (place, parts as usize, worth))
        .collect();
    // The largest worth for each number of parts, and whether it takes the item.
    let mut best = vec![0f64; PARTS + 1];
    let mut taken = vec![false; costly.len() * (PARTS + 1)];
    for (item, (_, parts, worth)) in costly.iter().enumerate() {
        for room in (*parts..=PARTS).rev() {
            let with = best[room - parts] + worth;
            if with > best[room] {
                best[room] = with;
                taken[item * (PARTS + 1) + room] = true;
            }
        }
    }
    let mut room = PARTS;
    let mut chosen: Vec<usize> =
        free.into_iter().filter(|(_, _, worth)| *worth > 0.0).map(|(place, ..)| place).collect();
    for (item, (place, parts, _)) in costly.iter().enumerate().rev() {
        if taken[item * (PARTS + 1) + room] {
            chosen.push(*place);
            room -= parts;
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn costs(tensors: &[(u32, u32)], plain: f64) -> StepCosts {
        let cost =
            |(gradient, reach): &(u32, u32)| TensorCost { gradient: f64::from(*gradient), reach: f64::from(*reach) };
        StepCosts { plain, tensors: tensors.iter().map(cost).collect() }
    }

    proptest! {
        /// Oracle: every subset. Costs are whole parts of the capacity where the reach is 0, else rounding up may leave out a set
        /// that just fits.
        #[test]
        fn the_best_set_within_the_budget_is_found(
            tensors in prop::collection::vec((0u32..20, 0u32..20, 0u32..10), 1..9),
            most in 0u32..64,
        ) {
            let worth: Vec<f64> = tensors.iter().map(|(_, _, worth)| f64::from(*worth)).collect();
            let costs =
                costs(&tensors.iter().map(|(gradient, reach, _)| (*gradient, *reach)).collect::<Vec<_>>(), 100.0);
            let total = |chosen: &[usize]| chosen.iter().map(|place| worth[*place]).sum::<f64>();
            let most = f64::from(most);
            let best = |most: f64| {
                let sets = (0u32..1 << tensors.len())
                    .map(|bits| (0..tensors.len()).filter(|place| bits >> place & 1 == 1).collect::<Vec<usize>>());
                let fitting = sets.filter(|set| set.is_empty() || costs.of(set.iter().copied()) <= costs.plain + most);
                fitting.map(|set| total(&set)).fold(0.0, f64::max)
            };
            let found = costs.best(most, &worth);
            prop_assert!(found.is_empty() || costs.of(found.iter().copied()) <= costs.plain + most + 1e-9);
            // Up to eight items are rounded up by a part each.
            prop_assert!(total(&found) >= best(most * (1.0 - 8.0 / PARTS as f64)));
            prop_assert!(total(&found) <= best(most));
        }
    }

    #[test]
    fn what_costs_nothing_is_live_from_the_first_layer_on() {
        // A deep layer with its normalisation, then a shallow one: reaching it costs 50.
        let costs = costs(&[(10, 5), (0, 5), (10, 50), (0, 50)], 100.0);
        let found = |most, worth: [f64; 4]| {
            let mut found = costs.best(most, &worth);
            found.sort_unstable();
            found
        };
        assert_eq!(found(15.0, [1.0, 1.0, 9.0, 9.0]), [0, 1]);
        assert_eq!(found(5.0, [1.0; 4]), [1]);
        assert_eq!(found(60.0, [1.0, 1.0, 9.0, 9.0]), [1, 2, 3]);
        assert_eq!(found(70.0, [1.0; 4]), [0, 1, 2, 3]);
        assert!(found(4.0, [1.0; 4]).is_empty());
    }
}
