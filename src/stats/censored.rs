//! Times to a goal that some trainings never reach.

use serde::Serialize;

use super::median_of_sorted;

/// Times to a goal. A training that does not reach it is censored: its time counts as longer than any observed one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Censored {
    /// Number of trainings.
    pub n: usize,
    /// Number of trainings that reach the goal.
    pub reached: usize,
    /// Median over all trainings; `None` if it is a censored time.
    pub median: Option<f64>,
    /// Shortest time.
    pub min: Option<f64>,
    /// Longest time of the trainings that reach the goal.
    pub max: Option<f64>,
}

impl Censored {
    /// Summarises times, which are `None` for trainings that do not reach the goal. `None` without trainings.
    pub fn new(times: &[Option<f64>]) -> Option<Self> {
        let mut sorted: Vec<f64> = times.iter().map(|time| time.unwrap_or(f64::INFINITY)).collect();
        sorted.sort_by(f64::total_cmp);
        let finite = |time: f64| time.is_finite().then_some(time);
        let reached: Vec<f64> = sorted.iter().copied().filter(|time| time.is_finite()).collect();
        Some(Self {
            n: times.len(),
            reached: reached.len(),
            median: if sorted.is_empty() { return None } else { finite(median_of_sorted(&sorted)) },
            min: reached.first().copied(),
            max: reached.last().copied(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_arrive_is_slower_than_all_who_do() {
        let median = |times: &[Option<f64>]| Censored::new(times).and_then(|found| found.median);
        assert_eq!(median(&[Some(3.0), None, Some(1.0)]), Some(3.0));
        assert_eq!(median(&[Some(3.0), None, None]), None);
        assert_eq!(median(&[Some(3.0), None]), None);
        let found = Censored::new(&[Some(3.0), None, Some(1.0)]).expect("trainings");
        assert_eq!((found.n, found.reached, found.min, found.max), (3, 2, Some(1.0), Some(3.0)));
        assert_eq!(Censored::new(&[]), None);
    }
}
