//! An interval of numbers.

use serde::Serialize;

/// An interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether `value` lies in the interval.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// The interval of the negated value.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { low: -self.high, high: -self.low }
    }
}
