//! Tuning: trains every method of a profile at the same points of the searched ranges, chooses the best point of each on validation
//! samples, and writes the choices as a suite.

use std::collections::HashMap;
use std::str::FromStr;

use super::file::{DataFile, Settings, SuiteFile};
use super::{Cell, ClaimsFile, GridEntry, Suite, combinations, expand, seeds};
use crate::error::{Error, Result};
use crate::optim::{BaseSpec, Kind, Value};
use crate::random::Stream;
use crate::stats::{Summary, summary};

/// Range of a key's values to try, evenly on a logarithmic scale, or on a linear one if the range begins at 0; or a single value.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// The key of grid entries.
    pub key: String,
    /// Smallest value.
    pub low: f64,
    /// Largest value.
    pub high: f64,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let form = || format!("{text} is not of the form key=low..high, such as rho=0.02..1, or key=value");
        let (key, values) = text.split_once('=').ok_or_else(form)?;
        let (low, high) = values.split_once("..").unwrap_or((values, values));
        let number = |text: &str| text.trim().parse::<f64>().map_err(|_| form());
        let (low, high) = (number(low)?, number(high)?);
        if !(low >= 0.0 && (low < high || !values.contains("..")) && high.is_finite()) {
            return Err(format!("the range of {key} must rise, from 0 or more"));
        }
        Ok(Self { key: key.trim().into(), low, high })
    }
}

impl Range {
    /// Whether it has several values.
    fn varies(&self) -> bool {
        self.low < self.high
    }

    /// The value at a fraction of the range, to three digits; a single value as it is.
    fn at(&self, part: f64, kind: Kind) -> Value {
        let value = match self.low {
            // A count that is none stays one, so that it is refused.
            low if !self.varies() && (low.fract() != 0.0 || !matches!(kind, Kind::Count(..))) => {
                return Value::Number(low);
            }
            low if low > 0.0 => (low.ln() + part * (self.high / low).ln()).exp(),
            _ => self.high * part,
        };
        match kind {
            Kind::Count(..) => Value::Count(value.round() as u64),
            _ => Value::Number(format!("{value:.2e}").parse().unwrap_or(value)),
        }
    }
}

/// How a profile is tuned.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// Points that each method is trained at.
    pub trials: usize,
    /// Seeds of each point.
    pub seeds: usize,
    /// Validation samples; a tenth of the training samples if neither this nor the profile says how many.
    pub validation: Option<usize>,
    /// Ranges to search; learning rates, radii and weight decays have defaults.
    pub ranges: Vec<Range>,
}

/// A method to tune: a row of the profile's grid without the tuned keys.
#[derive(Clone)]
struct Method {
    entry: GridEntry,
    /// Its tuned keys, as indices of the ranges.
    tuned: Vec<(usize, Kind)>,
}

/// A suite of all methods at all points, and the method of each of its entries.
pub struct TuningSuite {
    /// The suite; its only profile has the name of the tuned one.
    pub suite: Suite,
    /// The ranges that are searched.
    pub ranges: Vec<Range>,
    /// Number of validation samples.
    pub validation: usize,
    /// Keys of the ranges that some method reads.
    pub searched: Vec<String>,
    /// Methods, as places of the choices, that the claims name as placebo and active row.
    pub arms: [Option<usize>; 2],
    methods: Vec<Method>,
    /// For each grid entry, its method.
    entries: Vec<usize>,
}

/// The point chosen for a method.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The grid entry with the chosen values.
    pub entry: GridEntry,
    /// The keys that were tuned.
    pub tuned: Vec<String>,
    /// A cell with the chosen values.
    pub cell: Cell,
    /// Validation accuracy of the chosen point after the last epoch.
    pub accuracy: Summary,
    /// Mean validation accuracy of the next best point.
    pub next: Option<f64>,
    /// Number of points tried, and how many of them diverged.
    pub points: [usize; 2],
    /// Tuned keys whose chosen value is the smallest or largest tried: a better one may lie beyond.
    pub at_edge: Vec<String>,
}

/// Maximum number of points and of seeds of a tuning.
const MOST: usize = 1000;

impl Suite {
    /// The suite that tunes a profile: each of its methods at the same points, spread evenly over the ranges, with
    /// seeds that the profile does not use.
    ///
    /// # Errors
    /// Names the option, the value and the remedy.
    pub fn tuning(&self, profile: &str, tuning: &Tuning) -> Result<TuningSuite> {
        let usage = |message: String| Err(Error::Usage(message));
        for (option, n) in [("--trials", tuning.trials), ("--seeds", tuning.seeds)] {
            if !(1..=MOST).contains(&n) {
                return usage(format!("{option} {n} must be from 1 to {MOST}"));
            }
        }
        let settings = self.settings(profile)?;
        let grid = settings.grid.clone().unwrap_or_default();
        // Reports mistakes in the profile itself first.
        let plan = self.plan(profile, &self.data(profile)?.name)?;
        let data = plan.cells.first().map_or_else(String::new, |cell| cell.data.name.clone());
        let setting = |entry: &GridEntry| {
            let of_entry = Settings { grid: Some(vec![entry.clone()]), seeds: Some(vec![0]), ..settings.clone() };
            let cells = expand::cells(&of_entry, &data, &self.registry)?;
            if let [cell] = cells.as_slice() {
                Ok(cell.setting())
            } else {
                Err("it describes several rows".to_string())
            }
        };
        let ranges = self.ranges(&settings, &tuning.ranges);
        let named = settings.claims.clone().unwrap_or_default();
        let Methods { methods, arms, read } = self.methods(&grid, (&ranges, &tuning.ranges), &named, &setting)?;
        for (range, _) in ranges.iter().zip(&read).filter(|(_, read)| !**read) {
            if tuning.ranges.contains(range) {
                return usage(format!("--range {}: no row of the grid accepts such values of it", range.key));
            }
        }
        if let [Some(placebo), Some(active)] = arms
            && placebo == active
        {
            return usage(
                "what is tuned makes the rows that [claims] names the same; leave it out or name others".into(),
            );
        }
        let points = points(tuning.trials, ranges.iter().filter(|range| range.varies()).count());
        let (mut entries, mut of_entries): (Vec<GridEntry>, Vec<usize>) = (Vec::new(), Vec::new());
        for (index, method) in methods.iter().enumerate() {
            let mut tried: Vec<Cell> = Vec::new();
            for point in &points {
                let mut entry = method.entry.clone();
                let place = |i: usize| ranges[..i].iter().filter(|range| range.varies()).count();
                let part = |i: usize| point.get(place(i)).copied().unwrap_or_default();
                method.tuned.iter().for_each(|(i, kind)| entry.set(&ranges[*i].key, ranges[*i].at(part(*i), *kind)));
                let cell = setting(&entry).map_err(Error::Usage)?;
                // Counts are rounded, so points may coincide, and a method without a tuned key has a single point.
                if !tried.contains(&cell) {
                    tried.push(cell);
                    entries.push(entry);
                    of_entries.push(index);
                }
            }
        }
        let searched = ranges.iter().zip(read).filter(|(_, read)| *read).map(|(range, _)| range.key.clone()).collect();
        let listed = settings.seeds.clone().unwrap_or_default();
        let train = plan
            .cells
            .first()
            .map_or(0, |cell| cell.data.train + if cell.data.validation { cell.data.test } else { 0 });
        let validation = tuning.validation.or(settings.data.validation).unwrap_or(train / 10);
        self.check_name(&format!("{}-tuned", self.file.name))?;
        let name = format!("{}-tune", self.file.name);
        let base = Settings {
            data: DataFile { validation: Some(validation), ..settings.data.clone() },
            grid: Some(entries),
            // None of them is listed in the suite.
            seeds: Some(seeds::drawn(Stream::TuningSeeds, &listed, tuning.seeds)),
            claims: None,
            ..settings
        };
        let description = format!("tuning of {} {profile}", self.file.name);
        let profiles = [(profile.to_string(), Settings::default())].into();
        let file = SuiteFile { name, description, base, claims: Default::default(), profiles };
        let suite = Suite { origin: self.origin.clone(), file, text: String::new(), registry: self.registry.clone() };
        Ok(TuningSuite { suite, ranges, searched, validation, arms, methods, entries: of_entries })
    }

    /// The ranges to search: those stated, and defaults for the common keys.
    fn ranges(&self, settings: &Settings, stated: &[Range]) -> Vec<Range> {
        let lr = settings.schedule.lr.unwrap_or(0.1);
        let defaults = [("lr", lr / 4.0, 4.0 * lr), ("rho", 0.02, 1.0), ("weight_decay", 1e-4, 5e-3)];
        let defaults = defaults.map(|(key, low, high)| Range { key: key.into(), low, high });
        let mut ranges: Vec<Range> = defaults.into();
        for stated in stated {
            match ranges.iter_mut().find(|range| range.key == stated.key) {
                Some(range) => *range = stated.clone(),
                None => ranges.push(stated.clone()),
            }
        }
        ranges
    }

    /// The methods of a grid, given the setting that an entry describes: its rows, those that differ only in what is tuned being one.
    fn methods(
        &self,
        grid: &[GridEntry],
        (ranges, stated): (&[Range], &[Range]),
        named: &ClaimsFile,
        setting: &dyn Fn(&GridEntry) -> std::result::Result<Cell, String>,
    ) -> Result<Methods> {
        let mut found = Methods { methods: Vec::new(), arms: [None; 2], read: vec![false; ranges.len()] };
        // What makes methods the same: their settings in the middle of all ranges.
        let mut middles: Vec<Cell> = Vec::new();
        for entry in grid.iter().flat_map(|entry| entry.singles(&self.registry)) {
            let kinds = combinations::numeric_keys(&entry, &self.registry).map_err(Error::Usage)?;
            let (mut middle, mut tuned) = (entry.clone(), Vec::new());
            for (place, range) in ranges.iter().enumerate() {
                let Some((_, kind)) = kinds.iter().find(|(key, _)| *key == range.key) else { continue };
                // Default ranges are those of the profile's learning rate and of SGD's weight decay.
                let has_own = match range.key.as_str() {
                    "lr" => entry.get("lr").is_some(),
                    "weight_decay" => setting(&entry).is_ok_and(|cell| cell.optimizer.base != BaseSpec::Sgd),
                    _ => false,
                };
                if has_own && !stated.contains(range) {
                    continue;
                }
                let mut with = middle.clone();
                with.set(&range.key, range.at(0.5, *kind));
                // A key may not go with the entry's others, such as a sparsity with a pattern that fixes it.
                if setting(&with).is_ok() {
                    middle = with;
                    tuned.push((place, *kind));
                    found.read[place] = true;
                }
            }
            let at_middle = setting(&middle).map_err(Error::Usage)?;
            let index = middles.iter().position(|other| *other == at_middle).unwrap_or_else(|| {
                let entry = tuned.iter().fold(entry.clone(), |entry, (i, _)| entry.without(&ranges[*i].key));
                found.methods.push(Method { entry, tuned });
                middles.push(at_middle);
                found.methods.len() - 1
            });
            let original = setting(&entry).map_err(Error::Usage)?;
            for (arm, named) in found.arms.iter_mut().zip([&named.placebo, &named.active]) {
                if named.as_ref().is_some_and(|named| named.matches(&original)) {
                    *arm = Some(index);
                }
            }
        }
        Ok(found)
    }
}

/// The methods of a grid.
struct Methods {
    methods: Vec<Method>,
    /// Those that claims name as placebo and active row.
    arms: [Option<usize>; 2],
    /// For each range, whether some method reads it.
    read: Vec<bool>,
}

/// `n` points spread evenly over the unit cube. Each coordinate takes the middle of every n-th part once, so that no key is tried at
/// few values only, and no two coordinates go together: the points are the first of a lattice of prime size, by their order in each
/// coordinate, whose generators are chosen one after the other for points far apart in every pair of coordinates.
fn points(n: usize, dimensions: usize) -> Vec<Vec<f64>> {
    let size = (n + 1..).find(|size| (2..*size).all(|d| !size.is_multiple_of(d))).unwrap_or(n + 1);
    let mut generators: Vec<usize> = Vec::new();
    for _ in 0..dimensions {
        // Least squared distance on the torus in the plane of two coordinates.
        let gap = |a: usize, b: usize| {
            let length =
                |i: usize| [a, b].map(|h| i * h % size).map(|at| at.min(size - at).pow(2)).iter().sum::<usize>();
            (1..size).map(length).min().unwrap_or(0)
        };
        let least = |h: &usize| generators.iter().map(|other| gap(*other, *h)).min().unwrap_or(0);
        // Of equal ones the first.
        let next = (1..size).rev().max_by_key(least).unwrap_or(1);
        generators.push(next);
    }
    let places = generators.into_iter().map(|h| {
        let values: Vec<usize> = (1..=n).map(|i| i * h % size).collect();
        values.iter().map(|value| values.iter().filter(|other| *other < value).count()).collect::<Vec<usize>>()
    });
    let places: Vec<Vec<usize>> = places.collect();
    (0..n).map(|i| places.iter().map(|of| (of[i] as f64 + 0.5) / n as f64).collect()).collect()
}

impl TuningSuite {
    /// Chooses the best point of each method, given the cells of the suite's plan and the validation accuracies by id, which are
    /// `None` for trainings that diverged.
    ///
    /// # Errors
    /// When every point of a method diverged.
    pub fn choose(&self, cells: &[Cell], accuracies: &HashMap<String, Option<f64>>) -> Result<Vec<Choice>> {
        let grid = self.suite.file.base.grid.as_deref().unwrap_or_default();
        let per_seed = grid.len();
        if per_seed == 0 || !cells.len().is_multiple_of(per_seed) {
            return Err(Error::Usage(
                "the run's plan is not that of this tuning; use another --out, or --fresh".into(),
            ));
        }
        // Accuracy of an entry over its seeds; `None` if any of them diverged.
        let of_entry = |entry: usize| {
            let of =
                cells.iter().skip(entry).step_by(per_seed).map(|cell| accuracies.get(&cell.id()).copied().flatten());
            summary(&of.collect::<Option<Vec<f64>>>()?)
        };
        let choice = |index: usize| {
            let method = &self.methods[index];
            let entries: Vec<usize> = (0..per_seed).filter(|entry| self.entries[*entry] == index).collect();
            let mut found: Vec<(usize, Summary)> = entries.iter().filter_map(|e| Some((*e, of_entry(*e)?))).collect();
            found.sort_by(|(_, a), (_, b)| b.mean.total_cmp(&a.mean));
            let Some((best, accuracy)) = found.first().copied() else {
                return Err(Error::Usage(format!(
                    "{} diverged at every point; narrow the ranges with --range",
                    method.entry.untuned(&[])
                )));
            };
            let number = |entry: usize, key: &str| grid[entry].value(key).and_then(Value::number);
            let is_at_edge = |key: &String| {
                let chosen = number(best, key);
                let all = || entries.iter().filter_map(|entry| number(*entry, key));
                let ends = [all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max)];
                entries.len() > 2 && ends[0] < ends[1] && chosen.is_some_and(|chosen| ends.contains(&chosen))
            };
            let tuned: Vec<String> = method.tuned.iter().map(|(i, _)| self.ranges[*i].key.clone()).collect();
            Ok(Choice {
                entry: grid[best].clone(),
                cell: cells[best].clone(),
                accuracy,
                next: found.get(1).map(|(_, next)| next.mean),
                points: [entries.len(), entries.len() - found.len()],
                at_edge: tuned.iter().filter(|key| is_at_edge(key)).cloned().collect(),
                tuned,
            })
        };
        (0..self.methods.len()).map(choice).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::{Bounds, Most};

    #[test]
    fn a_range_may_be_a_value_which_is_kept_as_it_is() {
        let at = |text: &str, kind| text.parse::<Range>().expect("a range").at(0.3, kind);
        let (number, count) = (Kind::Number(Bounds::Positive), Kind::Count(1, Most::Fixed(100)));
        assert_eq!(at("lr=0.12345", number), Value::Number(0.12345));
        assert_eq!(at("lr=0.1..0.1234", number), Value::Number(0.107));
        assert_eq!(at("sam_interval=3", count), Value::Count(3));
        assert_eq!(at("sam_interval=2.5", count), Value::Number(2.5), "refused when the entry is expanded");
        assert!("lr=0.1..0.1".parse::<Range>().is_err());
    }

    /// Every coordinate takes as many values as there are points, evenly, and in every pair of coordinates no two points are close.
    #[test]
    fn points_are_spread_in_each_coordinate_and_in_each_pair() {
        for (n, dimensions) in [(1, 3), (2, 1), (7, 2), (8, 3), (10, 3), (12, 3), (12, 4), (16, 3), (24, 4), (100, 4)] {
            let points = points(n, dimensions);
            for d in 0..dimensions {
                let mut values: Vec<f64> = points.iter().map(|point| point[d] * n as f64).collect();
                values.sort_by(f64::total_cmp);
                let even = values.iter().enumerate().all(|(i, value)| (value - (i as f64 + 0.5)).abs() < 1e-9);
                assert!(even, "{n} {dimensions}: {values:?}");
            }
            for (d, e) in (0..dimensions).flat_map(|d| (0..d).map(move |e| (d, e))) {
                let distance = |i: usize, j: usize| {
                    [d, e].map(|d| points[i][d] - points[j][d]).iter().map(|gap| gap.powi(2)).sum::<f64>().sqrt()
                };
                let pairs = (0..n).flat_map(|i| (0..i).map(move |j| (i, j)));
                let least = pairs.map(|(i, j)| distance(i, j)).fold(f64::INFINITY, f64::min);
                assert!(n == 1 || least >= 0.5 / (n as f64).sqrt(), "{n} {dimensions}, {e} and {d}: {least}");
            }
        }
    }
}
