//! Differences of rows to the reference SGD, to the reference SAM and to SGD of equal FLOPs, with a spread that rows share.

use std::collections::HashMap;

use super::rows::Reference;
use crate::stats::{BySeed, Comparison, Difference, Interval, LEVEL, holm, moderated, over_samples};

/// Columns of differences: to SGD, to SAM, to SGD of equal FLOPs.
pub(super) const COLUMNS: usize = 3;

/// `a - b` for the seeds that both have, in the order of `a`.
pub(super) fn differences(a: &BySeed, b: &BySeed) -> BySeed {
    a.iter().filter_map(|(seed, a)| Some((*seed, a - b.iter().find(|(other, _)| other == seed)?.1))).collect()
}

/// The differences of each row, given the places of what it is compared with. A pair of rows is compared once, from whichever
/// side, with the first column that has it.
pub(super) fn comparisons(
    rows: &[Reference],
    compared: &[[Option<usize>; COLUMNS]],
) -> Vec<[Option<Comparison>; COLUMNS]> {
    let step = rows.iter().map(|row| row.setting.accuracy_step()).fold(0.0, f64::max);
    // By places, of the first minus the second.
    let mut known: HashMap<[usize; 2], Option<Comparison>> = HashMap::new();
    for column in 0..COLUMNS {
        let pairs = compared.iter().enumerate().filter_map(|(row, others)| Some([row, others[column]?]));
        let pairs: Vec<[usize; 2]> = pairs
            .filter(|[row, other]| !known.contains_key(&[*row, *other]) && !known.contains_key(&[*other, *row]))
            .collect();
        let all: Vec<BySeed> =
            pairs.iter().map(|[row, other]| differences(&rows[*row].accuracies, &rows[*other].accuracies)).collect();
        let shared = moderated(&all, step);
        for ((pair, of), shared) in pairs.into_iter().zip(&all).zip(shared) {
            let found = Comparison::new(of, shared);
            let interval = shared.and_then(|shared| over_samples_of(pair.map(|place| &rows[place]), of, &shared));
            known.insert(pair, found.map(|found| found.with_samples(interval)));
        }
    }
    correct(&mut known);
    let find = |row: usize, other: usize| match known.get(&[row, other]) {
        Some(found) => *found,
        None => known.get(&[other, row]).copied().flatten().map(Comparison::reversed),
    };
    compared.iter().enumerate().map(|(row, others)| others.map(|other| find(row, other?))).collect()
}

/// The interval of a difference for other test samples too, where the predictions of all of its seeds are known.
fn over_samples_of([a, b]: [&Reference; 2], differences: &BySeed, known: &Difference) -> Option<Interval> {
    let pair = |seed: &u64| Some([a.correct.get(seed)?.as_slice(), b.correct.get(seed)?.as_slice()]);
    let pairs: Option<Vec<[&[bool]; 2]>> = differences.iter().map(|(seed, _)| pair(seed)).collect();
    over_samples(&pairs?, known, LEVEL)
}

/// Corrects the p of all comparisons for there being so many.
fn correct(known: &mut HashMap<[usize; 2], Option<Comparison>>) {
    let mut with_p: Vec<&mut Comparison> = known.values_mut().flatten().filter(|c| c.p.is_some()).collect();
    let p: Vec<f64> = with_p.iter().filter_map(|c| c.p).collect();
    for (comparison, corrected) in with_p.iter_mut().zip(holm(&p)) {
        comparison.p_corrected = Some(corrected);
    }
}
