//! LookSAM (Liu et al. 2022): a SAM step every few steps. The component of its gradient orthogonal
//! to the plain gradient changes slowly and is reused in between.

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
            about: "Weight of the orthogonal part that is reused",
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
    cost: |ascent, _| Ok(StepCost::every_nth(ascent.count("sam_interval")?)),
    ..OptimizerEntry::new(
        "looksam",
        "SAM every few steps, its sharp part reused in between (Liu et al. 2022)",
        |ascent, _| Ok(Box::new(LookSam::new(ascent.rho, ascent.number("alpha")?, ascent.count("sam_interval")?))),
    )
};

/// Takes a SAM step every `interval` steps. In between it uses `g + alpha ||g|| / ||gv|| gv`, where
/// gv is the component of the last SAM gradient orthogonal to g.
#[derive(Clone, Debug)]
pub struct LookSam {
    /// Radius.
    pub rho: f64,
    /// Weight of the reused component.
    pub alpha: f64,
    /// Steps between SAM gradients.
    pub interval: usize,
    gradient: Vec<f32>,
    orthogonal: Vec<f32>,
    ascent: Ascent,
}

impl LookSam {
    /// Creates the method with empty buffers.
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
