//! Parameters by name: their layout as one flat vector in name order, initialisation, running statistics.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::Init;
use candle_nn::init::NormalOrUniform;
use rand_chacha::ChaCha8Rng;

use super::scalar::Scalar;
use crate::error::Result;
use crate::random::{Stream, normal_pair, stream, unit};

/// Running statistics move by this fraction per batch (PyTorch's default).
const BATCH_NORM_MOMENTUM: f32 = 0.1;

/// Handle of a parameter (its place in name order).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamId(pub(super) usize);

/// Handle of a BatchNorm layer's running statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunningId(pub(super) usize);

/// One trainable tensor.
#[derive(Clone, Debug)]
pub struct ParamSpec {
    /// PyTorch-like name, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Initial value.
    pub init: Init,
    /// Whether it scales or shifts the output of a normalisation.
    pub normalisation: bool,
    /// Where it starts in the flat vector.
    pub offset: usize,
}

impl ParamSpec {
    /// Number of scalars.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its place in the flat vector.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// All trainable tensors of a model, in name order.
#[derive(Debug)]
pub struct ParamLayout {
    specs: Vec<ParamSpec>,
    running: Vec<(String, usize)>,
}

/// What a model declares before it can be built: names must be known before handles, since handles follow name
/// order.
#[derive(Default)]
pub struct ParamsBuilder {
    params: BTreeMap<String, ParamSpec>,
    running: BTreeMap<String, usize>,
}

impl ParamsBuilder {
    /// Declares a trainable tensor.
    pub fn param(&mut self, name: &str, shape: &[usize], init: Init) {
        let spec = ParamSpec { name: name.into(), shape: shape.into(), init, normalisation: false, offset: 0 };
        self.params.insert(name.into(), spec);
    }

    /// Declares the scale `name.weight` (1) and the shift `name.bias` (0) of a normalisation, both `[features]`.
    pub fn normalisation(&mut self, name: &str, features: usize) {
        for (part, value) in [("weight", 1.0), ("bias", 0.0)] {
            let (name, init) = (format!("{name}.{part}"), Init::Const(value));
            let spec = ParamSpec { name: name.clone(), shape: vec![features], init, normalisation: true, offset: 0 };
            self.params.insert(name, spec);
        }
    }

    /// Declares the running mean and variance of the BatchNorm layer `name`.
    pub fn running(&mut self, name: &str, channels: usize) {
        self.running.insert(name.to_string(), channels);
    }

    /// The finished layout.
    pub fn build(self) -> ParamLayout {
        let mut offset = 0;
        let specs = self.params.into_values().map(|spec| {
            let spec = ParamSpec { offset, ..spec };
            offset += spec.len();
            spec
        });
        ParamLayout { specs: specs.collect(), running: self.running.into_iter().collect() }
    }
}

impl ParamLayout {
    /// The tensors, in name order.
    pub fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// Names and channel counts of the BatchNorm layers, in name order.
    pub fn running(&self) -> &[(String, usize)] {
        &self.running
    }

    /// N: the number of trainable scalars.
    pub fn len(&self) -> usize {
        self.specs.last().map_or(0, |s| s.range().end)
    }

    /// Whether there is nothing to train.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The handle of a declared parameter.
    ///
    /// # Panics
    /// When no such parameter was declared (an error of the model's file).
    pub fn id(&self, name: &str) -> ParamId {
        let found = self.specs.binary_search_by(|s| s.name.as_str().cmp(name));
        ParamId(found.unwrap_or_else(|_| panic!("parameter {name} was not declared")))
    }

    /// The handle of a declared BatchNorm layer's statistics.
    ///
    /// # Panics
    /// When no such layer was declared (an error of the model's file).
    pub fn running_id(&self, name: &str) -> RunningId {
        let found = self.running.binary_search_by(|(n, _)| n.as_str().cmp(name));
        RunningId(found.unwrap_or_else(|_| panic!("running statistics of {name} were not declared")))
    }

    /// Initial weights: each tensor from its own stream of `seed`, so they do not depend on one another.
    pub fn init(&self, seed: u64) -> Vec<f32> {
        let mut flat = Vec::with_capacity(self.len());
        for spec in &self.specs {
            let mut rng = stream(seed, Stream::Init(&spec.name));
            flat.extend((0..spec.len()).map(|_| draw(&spec.init, &spec.shape, &mut rng)));
        }
        flat
    }
}

/// PyTorch's default for convolutions, linear layers and their biases: uniform within 1/sqrt(fan_in), which is
/// Kaiming uniform with a = sqrt 5.
pub(crate) fn default_init(fan_in: usize) -> Init {
    let up = 1.0 / (fan_in as f64).sqrt();
    Init::Uniform { lo: -up, up }
}

/// One value of an initial distribution, from our own stream (candle's initialisers cannot be seeded on a CPU).
fn draw(init: &Init, shape: &[usize], rng: &mut ChaCha8Rng) -> f32 {
    let uniform = |lo: f64, up: f64, rng: &mut ChaCha8Rng| lo as f32 + (up - lo) as f32 * unit(rng);
    let normal = |mean: f64, stdev: f64, rng: &mut ChaCha8Rng| (mean + stdev * normal_pair(rng).0) as f32;
    match *init {
        Init::Const(value) => value as f32,
        Init::Randn { mean, stdev } => normal(mean, stdev, rng),
        Init::Uniform { lo, up } => uniform(lo, up, rng),
        Init::Kaiming { dist, fan, non_linearity } => {
            let stdev = non_linearity.gain() / (fan.for_shape(&Shape::from(shape)) as f64).sqrt();
            match dist {
                NormalOrUniform::Normal => normal(0.0, stdev, rng),
                NormalOrUniform::Uniform => uniform(-stdev * 3f64.sqrt(), stdev * 3f64.sqrt(), rng),
            }
        }
    }
}

/// Weights as the layers read them: a flat vector in name order, borrowed, of f32 for training or f64 for gradient checks.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    layout: &'a ParamLayout,
    bytes: &'a [u8],
    dtype: DType,
}

impl<'a> Weights<'a> {
    /// Weights in `flat`.
    ///
    /// # Panics
    /// When the vector has another length than the layout.
    pub fn new<T: Scalar>(layout: &'a ParamLayout, flat: &'a [T]) -> Self {
        assert_eq!(flat.len(), layout.len(), "as many weights as the layout has");
        Self { layout, bytes: bytemuck::cast_slice(flat), dtype: T::DTYPE }
    }

    /// The layout.
    pub fn layout(&self) -> &'a ParamLayout {
        self.layout
    }

    /// Their type.
    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The values of a parameter.
    ///
    /// # Panics
    /// When the weights are of another type.
    pub(super) fn get<T: Scalar>(&self, id: ParamId) -> &'a [T] {
        assert_eq!(self.dtype, T::DTYPE, "layers compute in the type of the weights");
        &bytemuck::cast_slice(self.bytes)[self.layout.specs[id.0].range()]
    }

    /// A parameter as a tensor on `device`.
    pub(super) fn to_device(self, id: ParamId, device: &Device) -> Result<Tensor> {
        let shape = self.layout.specs[id.0].shape.as_slice();
        Ok(match self.dtype {
            DType::F64 => Tensor::from_slice(self.get::<f64>(id), shape, device)?,
            _ => Tensor::from_slice(self.get::<f32>(id), shape, device)?,
        })
    }

    /// The values of a parameter by channel, for sums in f64.
    pub(super) fn get_f64<T: Scalar>(&self, id: ParamId) -> Vec<f64> {
        self.get::<T>(id).iter().map(|v| v.to_f64()).collect()
    }
}

/// Running mean and (unbiased) variance of every BatchNorm layer; not trained, used in evaluation.
#[derive(Clone, Debug)]
pub struct RunningStats {
    layout: Arc<ParamLayout>,
    /// Means by layer and channel.
    pub mean: Vec<Vec<f32>>,
    /// Variances by layer and channel.
    pub variance: Vec<Vec<f32>>,
}

impl PartialEq for RunningStats {
    fn eq(&self, other: &Self) -> bool {
        (&self.mean, &self.variance) == (&other.mean, &other.variance)
    }
}

impl RunningStats {
    /// Mean 0 and variance 1.
    pub fn new(layout: &Arc<ParamLayout>) -> Self {
        let filled = |value| layout.running.iter().map(|(_, channels)| vec![value; *channels]).collect();
        Self { layout: layout.clone(), mean: filled(0.0), variance: filled(1.0) }
    }

    /// Moves a layer's statistics towards the means and unbiased variances of a batch.
    pub(super) fn learn(&mut self, id: RunningId, statistics: &[[f32; 2]]) {
        let running = self.mean[id.0].iter_mut().zip(&mut self.variance[id.0]);
        for ((mean, variance), [batch_mean, batch_variance]) in running.zip(statistics) {
            *mean += BATCH_NORM_MOMENTUM * (batch_mean - *mean);
            *variance += BATCH_NORM_MOMENTUM * (batch_variance - *variance);
        }
    }

    /// Tensors under PyTorch's names (`bn1.running_mean`, `bn1.running_var`).
    pub fn named(&self) -> impl Iterator<Item = (String, &[f32])> {
        self.layout.running.iter().enumerate().flat_map(|(i, (name, _))| {
            [
                (format!("{name}.running_mean"), self.mean[i].as_slice()),
                (format!("{name}.running_var"), self.variance[i].as_slice()),
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_nn::init::{DEFAULT_KAIMING_NORMAL, DEFAULT_KAIMING_UNIFORM};

    use super::*;

    /// Every initialiser has the moments its definition gives: Kaiming's variance is gain^2 / fan_in, ReLU's gain
    /// sqrt 2.
    #[test]
    fn initial_values_have_the_moments_of_their_distribution() {
        let shape = [50, 40];
        for (init, mean, variance) in [
            (Init::Const(3.0), 3.0, 0.0),
            (Init::Randn { mean: 1.0, stdev: 0.5 }, 1.0, 0.25),
            (Init::Uniform { lo: -1.0, up: 3.0 }, 1.0, 16.0 / 12.0),
            (default_init(100), 0.0, 4e-2 / 12.0),
            (DEFAULT_KAIMING_NORMAL, 0.0, 2.0 / 40.0),
            (DEFAULT_KAIMING_UNIFORM, 0.0, 2.0 / 40.0),
        ] {
            let rng = &mut stream(1, Stream::Init("weight"));
            let values: Vec<f64> = (0..20_000).map(|_| f64::from(draw(&init, &shape, rng))).collect();
            let m = values.iter().sum::<f64>() / 20_000.0;
            let v = values.iter().map(|x| (x - m).powi(2)).sum::<f64>() / 20_000.0;
            assert!(
                (m - mean).abs() < 0.02 * (1.0 + variance) && (v - variance).abs() <= 0.04 * variance,
                "{init:?}: {m} {v}"
            );
        }
    }
}
