//! m-SAM (Foret et al. 2021, section 4.1; Andriushchenko and Flammarion 2022): each shard of m
//! samples takes its own ascent step, as if it were on a separate device.

use sharpbench_kernels as kernels;

use super::entry::{Key, KeyDefault, OptimizerEntry};
use super::method::{Ask, Context, Iterate, Landscape, Method};
use super::sam::Ascent;
use super::value::{Kind, Most};
use crate::error::Result;

pub(super) const ENTRY: OptimizerEntry = OptimizerEntry {
    keys: &[Key {
        name: "shard",
        about: "Samples per shard; must divide the batch size",
        kind: Kind::Count(1, Most::BatchSize),
        default: KeyDefault::Required("32"),
    }],
    check: |ascent, shape| {
        let shard = ascent.count("shard")?;
        if !shape.batch_size.is_multiple_of(shard) {
            return Err(format!("shard = {shard} must divide schedule.batch_size = {}", shape.batch_size));
        }
        if !shape.last_batch.is_multiple_of(shard) {
            return Err(format!(
                "shard = {shard} must divide the last batch of {} samples too; remove schedule.drop_last = false",
                shape.last_batch
            ));
        }
        Ok(())
    },
    ..OptimizerEntry::new("m-sam", "a perturbation for each shard of m samples (Foret et al. 2021)", |ascent, _| {
        Ok(Box::new(MSam::new(ascent.rho, ascent.count("shard")?)))
    })
};

/// Mean of the SAM gradients of the batch's shards.
#[derive(Clone, Debug)]
pub struct MSam {
    /// Radius.
    pub rho: f64,
    /// Samples per shard; must divide the batch size.
    pub shard: usize,
    gradient: Vec<f32>,
    second: Vec<f32>,
    ascent: Ascent,
}

impl MSam {
    /// Creates the method with empty buffers.
    pub fn new(rho: f64, shard: usize) -> Self {
        Self { rho, shard, gradient: Vec::new(), second: Vec::new(), ascent: Ascent::default() }
    }
}

impl Method for MSam {
    fn direction(
        &mut self,
        Iterate { weights, .. }: Iterate<'_>,
        batch: &mut dyn Landscape,
        context: &mut Context<'_>,
        direction: &mut Vec<f32>,
    ) -> Result<f64> {
        let samples: Vec<usize> = (0..batch.samples()).collect();
        let mut loss = 0.0;
        direction.clear();
        direction.resize(weights.len(), 0.0);
        for shard in samples.chunks(self.shard) {
            // Fraction of the batch; the last shard may be smaller.
            let part = shard.len() as f64 / samples.len() as f64;
            let samples = Some(shard);
            loss += part * batch.gradient(weights, Ask { samples, ..Ask::FIRST }, &mut self.gradient)?.mean;
            let (rho, ask) = (self.rho * context.rho_factor, Ask { samples, ..Ask::SECOND });
            self.ascent.ask((weights, &self.gradient), rho, batch, ask, &mut self.second)?;
            kernels::accumulate_scaled(direction, &self.second, part as f32);
        }
        Ok(loss)
    }
}
