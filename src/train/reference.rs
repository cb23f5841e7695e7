//! Current speed of the machine, measured by a fixed training step.

use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};

use super::{Optimizer, Problem, Trainer};
use crate::compute::Compute;
use crate::data::Input;
use crate::data::loader::Batch;
use crate::error::{Error, Result};
use crate::model::{self, Model, ModelSpec, Task};
use crate::nn::RunningStats;
use crate::optim::{BaseStep, Context, Sgd};
use crate::random::{Stream, stream, unit};
use crate::record::StepSeconds;

/// Shape of its images, as in CIFAR-10.
const SHAPE: [usize; 3] = [3, 32, 32];
const CLASSES: usize = 10;
const BATCH: usize = 32;
const STEPS: usize = 18;
const LR: f64 = 1e-3;
/// How long a measurement stays valid, so that cells of milliseconds need not wait for one each.
const VALID: Duration = Duration::from_secs(1);

/// SGD step of a small ResNet-8 on synthetic images. Step times relative to it are comparable
/// between runs on one type of machine. Its own time shows whether the machine has slowed down.
pub struct ReferenceStep {
    model: Box<dyn Model>,
    batch: Batch,
    device: Option<Device>,
    last: Option<(Instant, StepSeconds)>,
}

impl ReferenceStep {
    /// Creates the step on this device, without measuring it.
    ///
    /// # Errors
    /// When its tensors cannot be created.
    pub fn new(compute: &Compute) -> Result<Self> {
        let spec = ModelSpec { name: "resnet8".into(), width: Some(8), ..ModelSpec::default() };
        let model = model::build(&spec, Task { input: Input::Image(SHAPE), classes: CLASSES }).map_err(Error::Usage)?;
        let mut rng = stream(0, Stream::Synthetic("reference step"));
        let pixels: Vec<f32> = (0..BATCH * SHAPE.iter().product::<usize>()).map(|_| unit(&mut rng)).collect();
        let [channels, height, width] = SHAPE;
        let input = Tensor::from_vec(pixels, (BATCH, channels, height, width), &Device::Cpu)?;
        let labels = (0..BATCH).map(|i| (i % CLASSES) as u32).collect();
        let batch = Batch { input, labels, dropout: None };
        Ok(Self { model, batch, device: compute.device().cloned(), last: None })
    }

    /// Current duration, measured at most once per second.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn seconds(&mut self) -> Result<Option<StepSeconds>> {
        if let Some((at, seconds)) = self.last
            && at.elapsed() < VALID
        {
            return Ok(Some(seconds));
        }
        let layout = self.model.layout();
        let problem = Problem { device: self.device.as_ref(), ..(&*self.model).into() };
        let sgd = Optimizer::plain(BaseStep::Sgd(Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 }));
        let mut trainer = Trainer::new(problem, sgd, layout.init(0), RunningStats::new(layout));
        let mut seconds = Vec::with_capacity(STEPS);
        for step in 0..STEPS {
            let start = Instant::now();
            trainer.step(&self.batch, LR, &mut Context::new(step, STEPS))?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        let measured = StepSeconds::of(&seconds);
        self.last = measured.map(|measured| (Instant::now(), measured));
        Ok(measured)
    }
}
