//! Seeds until claims are decided: how many there are at each look, and which ones follow those that a suite lists.

use rand::Rng;

use super::Cell;
use crate::random::{Stream, stream};

/// Numbers of seeds at which claims are tested: those listed, then each time a third more, up to the most.
pub fn looks(listed: usize, most: usize) -> Vec<usize> {
    let mut looks = vec![listed];
    while let Some(seeds) = looks.last().copied().filter(|seeds| *seeds < most) {
        looks.push((seeds + seeds.div_ceil(3)).min(most));
    }
    looks
}

/// The first `n` seeds of a plan: those listed, and then numbers below 2^31 of a fixed random stream.
pub fn seeds(listed: &[u64], n: usize) -> Vec<u64> {
    let more = drawn(Stream::MoreSeeds, listed, n.saturating_sub(listed.len()));
    listed.iter().copied().chain(more).take(n).collect()
}

/// `n` different numbers below 2^31 of a random stream, none of them taken.
pub(super) fn drawn(of: Stream<'_>, taken: &[u64], n: usize) -> Vec<u64> {
    let mut rng = stream(0, of);
    let mut seeds = Vec::new();
    while seeds.len() < n {
        let seed = u64::from(rng.next_u32() >> 1);
        if !taken.contains(&seed) && !seeds.contains(&seed) {
            seeds.push(seed);
        }
    }
    seeds
}

/// Seeds of cells, in their order.
pub fn seeds_of<'c>(cells: impl IntoIterator<Item = &'c Cell>) -> Vec<u64> {
    let mut seeds = Vec::new();
    for cell in cells {
        if !seeds.contains(&cell.seed) {
            seeds.push(cell.seed);
        }
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_end_at_the_most_and_seeds_begin_with_those_listed() {
        assert_eq!(looks(3, 30), [3, 4, 6, 8, 11, 15, 20, 27, 30]);
        assert_eq!((looks(3, 3), looks(1, 2)), (vec![3], vec![1, 2]));
        let more = seeds(&[1234, 4321], 5);
        assert_eq!(more[..2], [1234, 4321]);
        assert_eq!(seeds(&more[..4], 5)[4], more[4], "the same stream from wherever it is continued");
        insta::assert_snapshot!(format!("{:?}", &more[2..]), @"[1679585098, 412463910, 1028401883]");
    }
}
