//! Families of settings. Each has a colour that colour-blind readers can tell from the others, and a shape of its own, the same in
//! every chart.

use maud::{Markup, html};

use super::axis::tenth;
use crate::report::Row;

/// What a setting's perturbation is made of, in the order of charts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::report) enum Family {
    /// No ascent step.
    Descent,
    /// SAM with all weights.
    Sam,
    /// Sparse, by Fisher scores.
    Fisher,
    /// Sparse, by gradients.
    Gradient,
    /// Sparse, at random.
    Random,
    /// Sparse, by other scores.
    OtherMask,
    /// Other methods with an ascent step.
    OtherMethod,
}

impl Family {
    /// The family of a row.
    pub(in crate::report) fn of(row: &Row) -> Self {
        match row.axis("mask") {
            Some("fisher") => Self::Fisher,
            Some("gradient") => Self::Gradient,
            Some("random") => Self::Random,
            Some(_) => Self::OtherMask,
            None if row.axis("rho").is_none() => Self::Descent,
            None if row.setting.optimizer == "sam" => Self::Sam,
            None => Self::OtherMethod,
        }
    }

    /// Its name in legends.
    pub(in crate::report) fn name(self) -> &'static str {
        match self {
            Self::Descent => "SGD",
            Self::Sam => "SAM",
            Self::Fisher => "sparse, Fisher mask",
            Self::Gradient => "sparse, gradient mask",
            Self::Random => "sparse, random mask",
            Self::OtherMask => "sparse, other masks",
            Self::OtherMethod => "other methods",
        }
    }

    /// Its class in the style sheet, which sets the colour.
    pub(in crate::report) fn class(self) -> &'static str {
        match self {
            Self::Descent => "descent",
            Self::Sam => "sam",
            Self::Fisher => "fisher",
            Self::Gradient => "gradient",
            Self::Random => "random",
            Self::OtherMask => "other-mask",
            Self::OtherMethod => "other-method",
        }
    }

    /// Corners of its shape, as multiples of the radius; none for a circle.
    fn corners(self) -> &'static [(f64, f64)] {
        match self {
            Self::Descent => &[],
            Self::Sam => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
            Self::Fisher => &[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)],
            Self::Gradient => &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
            Self::Random => &[(0.0, 1.2), (1.1, -0.8), (-1.1, -0.8)],
            Self::OtherMask => &[(0.0, -1.2), (1.15, -0.35), (0.7, 1.0), (-0.7, 1.0), (-1.15, -0.35)],
            Self::OtherMethod => &[
                (-0.4, -1.2),
                (0.4, -1.2),
                (0.4, -0.4),
                (1.2, -0.4),
                (1.2, 0.4),
                (0.4, 0.4),
                (0.4, 1.2),
                (-0.4, 1.2),
                (-0.4, 0.4),
                (-1.2, 0.4),
                (-1.2, -0.4),
                (-0.4, -0.4),
            ],
        }
    }

    /// Its shape around a point.
    pub(in crate::report) fn mark(self, x: f64, y: f64) -> Markup {
        const RADIUS: f64 = 4.5;
        let corner = |(dx, dy): &(f64, f64)| format!("{},{}", tenth(x + RADIUS * dx), tenth(y + RADIUS * dy));
        let corners: Vec<String> = self.corners().iter().map(corner).collect();
        html! {
            @if corners.is_empty() {
                circle class={ "mark " (self.class()) } cx=(tenth(x)) cy=(tenth(y)) r=(RADIUS) {}
            } @else {
                polygon class={ "mark " (self.class()) } points=(corners.join(" ")) {}
            }
        }
    }
}
