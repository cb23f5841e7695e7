//! How the time of a step grows with one setting at a time: threads, batch size, width.

use rayon::ThreadPoolBuilder;
use serde::Serialize;

use super::{Bench, BenchReport, build};
use crate::error::{Error, Result};
use crate::model::ModelSpec;
use crate::registry::Registry;

const BATCH_SIZES: [usize; 6] = [16, 32, 64, 128, 256, 512];
/// Of models that have a width; those that a model cannot have (whose heads do not divide them) are left out.
const WIDTHS: [usize; 5] = [8, 16, 32, 64, 128];

/// Step times over the values of one setting.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// The setting.
    pub varied: Varied,
    /// A measurement for each value, in ascending order.
    pub points: Vec<SweepPoint>,
}

/// A setting that is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Varied {
    /// Compute threads.
    Threads,
    /// Samples per step.
    BatchSize,
    /// Width of the model.
    Width,
}

impl Varied {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::BatchSize => "batch size",
            Self::Width => "width",
        }
    }
}

/// The measurement at one value.
#[derive(Clone, Debug, Serialize)]
pub struct SweepPoint {
    /// Value of the varied setting.
    pub value: usize,
    /// What was measured.
    #[serde(flatten)]
    pub report: BenchReport,
}

impl SweepPoint {
    /// Median step time in seconds.
    pub fn seconds(&self) -> f64 {
        self.report.own.step_seconds.map_or(f64::NAN, |seconds| seconds.median)
    }

    /// Executed FLOPs per second and thread, or of the GPU.
    fn rate(&self) -> f64 {
        let threads = if self.report.gpu.is_some() { 1 } else { self.report.threads };
        self.report.own.flops_executed / self.seconds() / threads as f64
    }
}

impl Sweep {
    /// Step times in seconds, were every point as fast per FLOP and thread as the fastest of the sweep.
    pub fn at_best_rate(&self) -> Vec<f64> {
        let best = self.points.iter().map(SweepPoint::rate).fold(0.0, f64::max);
        self.points.iter().map(|p| p.seconds() * p.rate() / best).collect()
    }
}

impl Bench {
    /// Measures step times over threads (1 up to those of the current pool; not on a GPU), batch sizes (16 to 512) and widths (8 to
    /// 128). What is not varied is as in this benchmark. Calls `started` with the setting and the value before each measurement.
    ///
    /// # Errors
    /// When a model cannot be built, or a tensor operation fails.
    pub fn scaling(&self, registry: &Registry, mut started: impl FnMut(Varied, usize)) -> Result<Vec<Sweep>> {
        let all = rayon::current_num_threads();
        let threads = match self.compute.gpu() {
            Some(_) => Vec::new(),
            None => (0..usize::BITS).map(|power| 1 << power).take_while(|n| *n < all).chain([all]).collect(),
        };
        let mut widths = WIDTHS.to_vec();
        let has_width = build(&self.model, self.input, registry)?.spec().width.is_some();
        widths.retain(|width| has_width && build(&self.of_width(*width).model, self.input, registry).is_ok());
        let settings = [(Varied::Threads, threads), (Varied::BatchSize, BATCH_SIZES.to_vec()), (Varied::Width, widths)];
        let mut sweep = |(varied, values): (Varied, Vec<usize>)| {
            let point = |value| {
                started(varied, value);
                let (bench, pool_size) = match varied {
                    Varied::Threads => (self.clone(), value),
                    Varied::BatchSize => (Self { batch_size: value, ..self.clone() }, all),
                    Varied::Width => (self.of_width(value), all),
                };
                let pool = ThreadPoolBuilder::new().num_threads(pool_size).build();
                let pool = pool.map_err(|e| Error::Usage(format!("{pool_size} threads cannot be started: {e}")))?;
                let report = pool.install(|| bench.run(registry))?;
                // The process's peak is that of an earlier point, if that was larger.
                Ok(SweepPoint { value, report: BenchReport { peak_memory_bytes: None, ..report } })
            };
            Ok(Sweep { varied, points: values.into_iter().map(point).collect::<Result<_>>()? })
        };
        settings.into_iter().filter(|(_, values)| !values.is_empty()).map(&mut sweep).collect()
    }

    fn of_width(&self, width: usize) -> Self {
        let model = ModelSpec { width: Some(width), ..self.model.clone() };
        Self { model, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Compute;
    use crate::data::Input;
    use crate::optim::{BaseSpec, OptimizerSpec};
    use crate::stats::median;

    #[test]
    fn the_best_rate_is_per_flop_and_thread() {
        let model = ModelSpec { name: "mlp".into(), hidden: Some(vec![8]), ..ModelSpec::default() };
        let (name, base, ascent) = ("sgd".into(), BaseSpec::Sgd, None);
        let optimizer = OptimizerSpec { name, base, momentum: 0.9, nesterov: false, weight_decay: 0.0, ascent };
        let compute = Compute::CPU.clone();
        let bench = Bench {
            model,
            input: Input::Image([1, 4, 4]),
            batch_size: 4,
            optimizer,
            against: None,
            seed: 1,
            compute,
            steps: 1,
            warmup: 0,
        };
        let report = bench.run(&Registry::standard()).expect("a bench");
        let point = |value, seconds, flops, threads| {
            let mut report = report.clone();
            (report.threads, report.own.flops_executed, report.own.step_seconds) = (threads, flops, median(&[seconds]));
            SweepPoint { value, report }
        };
        // 10, 5 and 4 FLOPs a second and thread.
        let points = vec![point(1, 1.0, 10.0, 1), point(2, 1.0, 10.0, 2), point(4, 2.5, 40.0, 4)];
        let sweep = Sweep { varied: Varied::Threads, points };
        assert_eq!(sweep.at_best_rate(), [1.0, 0.5, 1.0]);
    }
}
