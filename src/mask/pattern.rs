//! Mask granularities, and the selection of the best units of each.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use rand_chacha::ChaCha8Rng;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Mask, top_k};
use crate::nn::{ParamLayout, ParamSpec};
use crate::random::sample;

/// Granularity of a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// Single scalars, selected over the whole network.
    Unstructured,
    /// Whole parameter tensors (called structured in Mi et al. 2025).
    Tensor,
    /// Slices along a tensor's first axis: output channels (filters) of a convolution, rows of a
    /// linear layer, scalars of a one-dimensional tensor.
    Channel,
    /// `live` of every `of` consecutive scalars, along the output channels of a convolution or an
    /// axis of a matrix. An incomplete last group of r has ceil(r live / of). One-dimensional
    /// tensors are entirely live.
    LiveOf {
        /// Live scalars per group.
        live: usize,
        /// Scalars per group.
        of: usize,
        /// Axis of a matrix.
        axis: GroupAxis,
    },
}

/// Axis of a matrix, such as a linear layer's weight [d_out, d_in], along which the scalars of a group follow one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GroupAxis {
    /// Along d_in: groups within a row.
    #[default]
    Input,
    /// Along d_out: groups within a column, which sparse hardware can use in the input gradient W^T dY.
    Output,
}

impl Pattern {
    /// One example of each pattern, two of groups.
    pub const EXAMPLES: [Self; 5] = [
        Self::Unstructured,
        Self::Tensor,
        Self::Channel,
        Self::LiveOf { live: 2, of: 4, axis: GroupAxis::Input },
        Self::LiveOf { live: 1, of: 2, axis: GroupAxis::Input },
    ];

    /// The pattern with its groups along `axis`, if it has groups.
    #[must_use]
    pub fn along(self, axis: GroupAxis) -> Self {
        if let Self::LiveOf { live, of, .. } = self { Self::LiveOf { live, of, axis } } else { self }
    }

    /// Axis of its groups, if it has groups.
    pub fn group_axis(self) -> Option<GroupAxis> {
        if let Self::LiveOf { axis, .. } = self { Some(axis) } else { None }
    }

    /// Fraction of scalars not perturbed, if the pattern fixes it.
    pub fn fixed_sparsity(self) -> Option<f64> {
        if let Self::LiveOf { live, of, .. } = self { Some(1.0 - live as f64 / of as f64) } else { None }
    }

    /// Selects the units with the best `scores`, or random ones without scores. A unit's score is
    /// the mean of its scalars' scores; ties go to the lower index. Whole units are taken, best
    /// first, until `keep` scalars are live.
    pub fn choose(self, layout: &ParamLayout, keep: usize, scores: Option<&[f32]>, rng: &mut ChaCha8Rng) -> Mask {
        let n = layout.len();
        match (self, scores) {
            (Self::Unstructured, Some(scores)) => Mask::top(scores, keep),
            (Self::Unstructured, None) => Mask::random(n, keep, rng),
            (Self::LiveOf { live, of, axis }, _) => of_groups(layout, (live, of, axis), scores, rng),
            _ => {
                let units = self.units(layout);
                let mut mask = Mask::empty(n);
                take(&mut mask, &units, ranked((0..units.len()).collect(), &units, scores, rng), (0, keep));
                mask
            }
        }
    }

    /// Names of the patterns.
    fn words() -> Vec<String> {
        let named = Self::EXAMPLES.iter().filter(|pattern| !matches!(pattern, Self::LiveOf { .. }));
        named.map(ToString::to_string).collect()
    }

    /// Units of a pattern of whole units, in order.
    pub(super) fn units(self, layout: &ParamLayout) -> Vec<Range<usize>> {
        let unit = |spec: &ParamSpec| match self {
            Self::Tensor => spec.len(),
            Self::Channel => spec.len() / spec.shape.first().copied().unwrap_or(1),
            Self::Unstructured | Self::LiveOf { .. } => 1,
        };
        let units = layout.specs().iter().flat_map(|spec| {
            let size = unit(spec).max(1);
            spec.range().step_by(size).map(move |start| start..start + size)
        });
        units.collect()
    }
}

/// Makes whole units live in the given order until the live count, initially `from`, reaches
/// `until`; returns the count.
pub(super) fn take(mask: &mut Mask, units: &[Range<usize>], order: Vec<usize>, (from, until): (usize, usize)) -> usize {
    let mut count = from;
    for unit in order {
        if count >= until {
            break;
        }
        count += units[unit].len();
        mask.set(units[unit].clone(), true);
    }
    count
}

/// Sorts candidates, best first, by mean score, or randomly without scores.
pub(super) fn ranked(
    mut candidates: Vec<usize>,
    units: &[Range<usize>],
    scores: Option<&[f32]>,
    rng: &mut ChaCha8Rng,
) -> Vec<usize> {
    match scores {
        None => {
            let order = sample(rng, candidates.len(), candidates.len());
            order.into_iter().map(|i| candidates[i as usize]).collect()
        }
        Some(scores) => {
            let mean = |unit: &Range<usize>| {
                scores[unit.clone()].iter().map(|s| f64::from(*s)).sum::<f64>() / unit.len() as f64
            };
            let means: Vec<f64> = units.iter().map(mean).collect();
            candidates.sort_by(|a, b| means[*b].total_cmp(&means[*a]));
            candidates
        }
    }
}

/// Mask in which the best `live` of every `of` scalars in a group are live.
fn of_groups(
    layout: &ParamLayout,
    (live, of, axis): (usize, usize, GroupAxis),
    scores: Option<&[f32]>,
    rng: &mut ChaCha8Rng,
) -> Mask {
    let mut mask = Mask::empty(layout.len());
    for spec in layout.specs() {
        if spec.shape.len() < 2 {
            mask.set(spec.range(), true);
            continue;
        }
        // Groups run along an axis of this length, whose neighbours are `stride` apart.
        let (length, stride) = match (spec.shape.as_slice(), axis) {
            (&[_, inputs], GroupAxis::Input) => (inputs, 1),
            _ => (spec.shape[0], spec.len() / spec.shape[0]),
        };
        let lines = spec.len() / length;
        for line in 0..lines {
            let start = spec.offset + line % stride + line / stride * length * stride;
            for first in (0..length).step_by(of) {
                let size = of.min(length - first);
                let places: Vec<u32> = (0..size).map(|i| (start + (first + i) * stride) as u32).collect();
                let keep = (size * live).div_ceil(of);
                let chosen = match scores {
                    Some(scores) => top_k(places, keep, scores),
                    None => sample(rng, size, keep).into_iter().map(|i| places[i as usize]).collect(),
                };
                chosen.into_iter().for_each(|place| mask.live[place as usize] = true);
            }
        }
    }
    mask
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unstructured => f.pad("unstructured"),
            Self::Tensor => f.pad("tensor"),
            Self::Channel => f.pad("channel"),
            Self::LiveOf { live, of, .. } => f.pad(&format!("{live}:{of}")),
        }
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let groups = || {
            let (live, of) = text.split_once(':')?;
            let (live, of) = (live.parse().ok()?, of.parse().ok()?);
            (0 < live && live < of && of <= 64).then_some(Self::LiveOf { live, of, axis: GroupAxis::Input })
        };
        let example = Self::EXAMPLES.into_iter().find(|pattern| pattern.to_string() == text);
        example.or_else(groups).ok_or_else(|| {
            let words = Self::words().join(", ");
            format!("unknown pattern \"{text}\"; use {words} or N:M with N < M <= 64, such as 2:4")
        })
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Pattern {
    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words = Self::words();
        let about = format!("Granularity of a mask: {}, or N of every M consecutive, such as 2:4.", words.join(", "));
        json_schema!({
            "description": about,
            "type": "string",
            "pattern": format!("^({}|[0-9]+:[0-9]+)$", words.join("|"))
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_nn::Init;
    use proptest::prelude::*;

    use super::*;
    use crate::nn::ParamsBuilder;
    use crate::random::{Stream, normal_pair, stream, unit};

    fn layout() -> ParamLayout {
        let mut params = ParamsBuilder::default();
        params.param("bn.weight", &[6], Init::Const(0.0));
        params.param("conv.weight", &[6, 3, 3, 3], Init::Const(0.0));
        params.param("fc.weight", &[5, 10], Init::Const(0.0));
        params.build()
    }

    fn random_scores(n: usize, seed: u64) -> Vec<f32> {
        let rng = &mut stream(seed, Stream::Mask(1));
        (0..n).map(|_| unit(rng)).collect()
    }

    #[test]
    fn tensors_are_taken_whole_and_best_first() {
        let layout = layout();
        let mut scores = vec![0.1f32; layout.len()];
        scores[layout.specs()[0].range()].fill(0.9);
        scores[layout.specs()[2].range()].fill(0.5);
        let choose = |keep| Pattern::Tensor.choose(&layout, keep, Some(&scores), &mut stream(1, Stream::Mask(0)));
        assert_eq!(choose(0).live_count(), 0);
        assert_eq!(choose(6).live_count(), 6);
        let mask = choose(7);
        assert_eq!(mask.live_by_tensor(&layout), [("bn.weight", 1.0), ("conv.weight", 0.0), ("fc.weight", 1.0)]);
        assert_eq!(choose(layout.len()), Mask::full(layout.len()));
    }

    #[test]
    fn groups_of_a_convolution_run_along_its_output_channels() {
        let layout = layout();
        let conv = &layout.specs()[1];
        // In each group of four output channels the second and fourth are best; the last group is
        // incomplete.
        let mut scores = vec![0f32; layout.len()];
        for (i, score) in scores[conv.range()].iter_mut().enumerate() {
            *score = (i / 27 % 2) as f32;
        }
        let pattern: Pattern = "2:4".parse().expect("a pattern");
        let mask = pattern.choose(&layout, 0, Some(&scores), &mut stream(1, Stream::Mask(0)));
        for (i, live) in mask.flags()[conv.range()].iter().enumerate() {
            assert_eq!(*live, i / 27 % 2 == 1, "channel {}", i / 27);
        }
        // 10 = 4 + 4 + 2: two, two and one of a row.
        let fc = &mask.flags()[layout.specs()[2].range()];
        assert!(fc.chunks(10).all(|row| row.iter().filter(|l| **l).count() == 5));
        assert!(mask.flags()[layout.specs()[0].range()].iter().all(|l| *l), "one axis: always live");
    }

    #[test]
    fn groups_of_a_matrix_run_along_the_chosen_axis() {
        let layout = layout();
        let fc = &layout.specs()[2];
        let scores = random_scores(layout.len(), 7);
        let pattern: Pattern = "2:4".parse().expect("a pattern");
        let choose = |axis| pattern.along(axis).choose(&layout, 0, Some(&scores), &mut stream(1, Stream::Mask(0)));
        let (input, output) = (choose(GroupAxis::Input), choose(GroupAxis::Output));
        assert_eq!(&input.flags()[..fc.offset], &output.flags()[..fc.offset], "convolutions are alike");
        let flags = &output.flags()[fc.range()];
        for column in 0..10 {
            let of = |row: usize| row * 10 + column;
            // Five rows: a group of four, and one scalar left.
            let live: Vec<usize> = (0..4).filter(|row| flags[of(*row)]).collect();
            let mut best: Vec<usize> = (0..4).collect();
            best.sort_by(|a, b| scores[fc.offset + of(*b)].total_cmp(&scores[fc.offset + of(*a)]));
            best.truncate(2);
            best.sort_unstable();
            assert_eq!(live, best, "column {column}");
            assert!(flags[of(4)]);
        }
    }

    /// Oracle: for squares of normal numbers, the two largest of four hold E = .7 or so of the sum
    /// by definition. A mask that takes any two holds half (the result of the mistake in public
    /// code).
    #[test]
    fn two_of_four_keep_most_of_random_fisher_mass() {
        let mut params = ParamsBuilder::default();
        params.param("conv.weight", &[64, 64, 3, 3], Init::Const(0.0));
        let layout = params.build();
        let rng = &mut stream(3, Stream::Mask(0));
        // A Fisher score is a sum over many samples, so exponential numbers (sums of two squares)
        // approximate it.
        let scores: Vec<f32> = (0..layout.len())
            .map(|_| {
                let (a, b) = normal_pair(rng);
                (a * a + b * b) as f32
            })
            .collect();
        let pattern = Pattern::LiveOf { live: 2, of: 4, axis: GroupAxis::Input };
        let kept = |scores: Option<&[f32]>, rng: &mut _| pattern.choose(&layout, 0, scores, rng);
        let best = kept(Some(&scores), rng).share_of(&scores).expect("a share");
        let random = kept(None, rng).share_of(&scores).expect("a share");
        // The two largest of four exponential numbers hold (25/12 + 13/12) / 4 = .7917.
        assert!((best - 0.7917).abs() < 0.01, "{best}");
        assert!((random - 0.5).abs() < 0.01, "{random}");
        // For four uniform numbers, (4 + 3) / (1 + 2 + 3 + 4) = .7.
        let scores = random_scores(layout.len(), 4);
        let best = kept(Some(&scores), rng).share_of(&scores).expect("a share");
        assert!((best - 0.7).abs() < 0.01, "{best}");
    }

    #[test]
    fn patterns_are_read_and_written_as_words() {
        for (pattern, word) in Pattern::EXAMPLES.into_iter().zip(["unstructured", "tensor", "channel", "2:4", "1:2"]) {
            assert_eq!((pattern.to_string().as_str(), word.parse()), (word, Ok(pattern)));
        }
        assert_eq!("3:8".parse(), Ok(Pattern::LiveOf { live: 3, of: 8, axis: GroupAxis::Input }));
        for wrong in ["4:2", "2:2", "0:4", "1:100", "filter", "1:2:3"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
        assert_eq!(Pattern::LiveOf { live: 1, of: 4, axis: GroupAxis::Output }.fixed_sparsity(), Some(0.75));
    }

    proptest! {
        /// Every pattern must reach the count and exceed it by less than one unit; s = 0 keeps
        /// everything, s = 1 nothing.
        #[test]
        fn counts_are_reached_by_whole_units(percent in 0usize..101, seed in 0u64..50, random: bool, channel: bool) {
            let layout = layout();
            let pattern = if channel { Pattern::Channel } else { Pattern::Tensor };
            let keep = crate::mask::fisher_keep(layout.len(), percent as f64 / 100.0);
            let scores = random_scores(layout.len(), seed);
            let rng = &mut stream(seed, Stream::Mask(0));
            let mask = pattern.choose(&layout, keep, (!random).then_some(scores.as_slice()), rng);
            let largest = pattern.units(&layout).iter().map(|u| u.len()).max().unwrap_or(0);
            prop_assert!((keep..keep + largest).contains(&mask.live_count()));
            for unit in pattern.units(&layout) {
                let live = mask.flags()[unit.clone()].iter().filter(|l| **l).count();
                prop_assert!(live == 0 || live == unit.len());
            }
        }
    }
}
