//! LookSAM (Liu et al. 2022): SAM every few steps; the part of its gradient that is orthogonal to the plain one changes
//! slowly and is used again in the steps between.

use super::ascent::{combine, dot, norm, ratio};
use super::entry::{Key, KeyDefault, OptimizerEntry};
use super::method::{Ask, Context, Iterate, Kept, Landscape, Method};
use super::sam::Ascent;
use super::value::{Bounds, Kind, Most};
use crate::error::Result;
use crate::flops::StepCost;

pub(super) const ENTRY: OptimizerEntry = OptimizerEntry {
    keys: &[
        Key {
            name: "alpha",
            about: "Weight of the orthogonal part that is used again",
            kind: Kind::Number(Bounds::NonNegative),
            default: KeyDefault::Number(0.7),
        },
        Key {
            name: "sam_interval",
            about: "Steps from one SAM gradient to the next",
            kind: Kind::Count(1, Most::Fixed(100_000)),
            default: KeyDefault::Count(5),
        },
    ],
    cost: |ascent| Ok(StepCost::every_nth(ascent.count("sam_interval")?)),
    ..OptimizerEntry::new(
        "looksam",
        "SAM every few steps, its sharp part used again between (Liu et al. 2022)",
        |ascent, _| Ok(Box::new(LookSam::new(ascent.rho, ascent.number("alpha")?, ascent.count("sam_interval")?))),
    )
};

/// Every `interval`-th step SAM's; between them `g + alpha ||g|| / ||gv|| gv`, gv being the last SAM gradient's part that is
/// orthogonal to g.
#[derive(Clone, Debug)]
pub struct LookSam {
    /// Radius.
    pub rho: f64,
    /// Weight of the kept part.
    pub alpha: f64,
    /// Steps from one SAM gradient to the next.
    pub interval: usize,
    gradient: Vec<f32>,
    orthogonal: Vec<f32>,
    ascent: Ascent,
}

impl LookSam {
    /// With nothing allocated yet.
    pub fn new(rho: f64, alpha: f64, interval: usize) -> Self {
        Self { rho, alpha, interval, gradient: Vec::new(), orthogonal: Vec::new(), ascent: Ascent::default() }
    }
}

impl Method for LookSam {
    fn kept(&mut self) -> Kept<'_> {
        Kept { vectors: vec![("orthogonal".into(), &mut self.orthogonal)], ..Kept::default() }
    }

    fn direction(
        &mut self,
        Iterate { weights, .. }: Iterate<'_>,
        batch: &mut dyn Landscape,
        context: &mut Context<'_>,
        direction: &mut Vec<f32>,
    ) -> Result<f64> {
        let loss = batch.gradient(weights, Ask::FIRST, &mut self.gradient)?.mean;
        let g = &self.gradient;
        if context.step.is_multiple_of(self.interval) {
            self.ascent.gradient((weights, g), self.rho * context.rho_factor, batch, direction)?;
            let along = ratio(dot(g, direction), dot(g, g)) as f32;
            combine([1.0, -along], direction, g, &mut self.orthogonal);
        } else {
            let scale = (self.alpha * ratio(norm(g), norm(&self.orthogonal))) as f32;
            combine([1.0, scale], g, &self.orthogonal, direction);
        }
        Ok(loss)
    }
}
