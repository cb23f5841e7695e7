//! Named parameters, declared once by a model's layers and laid out as one flat vector in name
//! order.

use std::ops::{Index, IndexMut};

use candle_nn::Init;
use candle_nn::init::{FanInOut, NonLinearity, NormalOrUniform};

use super::init::draw;
use crate::random::{Stream, stream};

/// Handle of a parameter. Handles follow the order of declaration while tensors are in name order.
/// A [`ParamLayout`] maps between them, so nothing else may index by a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParamId(usize);

/// Handle of a BatchNorm layer's running statistics, also in order of declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunningId(usize);

/// A trainable tensor.
#[derive(Clone, Debug)]
pub struct ParamSpec {
    /// Handle of the tensor.
    pub id: ParamId,
    /// PyTorch-like name, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Initial value.
    pub init: Init,
    /// Whether it scales or shifts the output of a normalisation.
    pub normalisation: bool,
    /// Start in the flat vector.
    pub offset: usize,
}

impl ParamSpec {
    /// Number of scalars.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Range in the flat vector.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// Collects what a model's layers declare on construction: parameters, running statistics,
/// multiply-adds.
#[derive(Debug, Default)]
pub struct ParamsBuilder {
    params: Vec<ParamSpec>,
    running: Vec<(String, usize)>,
    forward_macs: u64,
}

impl ParamsBuilder {
    /// Declares a trainable tensor.
    pub fn param(&mut self, name: &str, shape: &[usize], init: Init) -> ParamId {
        self.declare(name.into(), shape, init, false)
    }

    /// Declares the scale `name.weight` (1) and the shift `name.bias` (0) of a normalisation, both `[features]`.
    pub fn normalisation(&mut self, name: &str, features: usize) -> [ParamId; 2] {
        [("weight", 1.0), ("bias", 0.0)]
            .map(|(part, value)| self.declare(format!("{name}.{part}"), &[features], Init::Const(value), true))
    }

    fn declare(&mut self, name: String, shape: &[usize], init: Init, normalisation: bool) -> ParamId {
        let id = ParamId(self.params.len());
        self.params.push(ParamSpec { id, name, shape: shape.into(), init, normalisation, offset: 0 });
        id
    }

    /// Declares the running mean and variance of the BatchNorm layer `name`.
    pub fn running(&mut self, name: &str, channels: usize) -> RunningId {
        self.running.push((name.into(), channels));
        RunningId(self.running.len() - 1)
    }

    /// Counts multiply-adds of the forward pass on one sample.
    pub fn count_macs(&mut self, macs: u64) {
        self.forward_macs += macs;
    }

    /// Multiply-adds counted so far.
    pub fn forward_macs(&self) -> u64 {
        self.forward_macs
    }

    /// Replaces the initial values of convolutions by N(0, 2 / (k^2 c_out)) and of biases by 0.
    pub(crate) fn kaiming_fan_out(&mut self) {
        for spec in self.params.iter_mut().filter(|spec| !spec.normalisation) {
            match spec.shape.len() {
                4 => {
                    let (dist, fan, non_linearity) = (NormalOrUniform::Normal, FanInOut::FanOut, NonLinearity::ReLU);
                    spec.init = Init::Kaiming { dist, fan, non_linearity };
                }
                1 => spec.init = Init::Const(0.0),
                _ => {}
            }
        }
    }

    /// Finishes the layout.
    ///
    /// # Panics
    /// When a name was declared twice (an error of the model's file).
    pub fn build(self) -> ParamLayout {
        let (mut specs, places) = by_name(self.params, |spec| &spec.name);
        let mut offset = 0;
        for spec in &mut specs {
            spec.offset = offset;
            offset += spec.len();
        }
        let (running, running_places) = by_name(self.running, |(name, _)| name);
        ParamLayout { specs, places, running, running_places }
    }
}

/// Sorts declarations by name, and returns each one's new index by its old one.
fn by_name<T>(declared: Vec<T>, name: impl Fn(&T) -> &str) -> (Vec<T>, Vec<usize>) {
    let mut sorted: Vec<(usize, T)> = declared.into_iter().enumerate().collect();
    sorted.sort_by(|(_, a), (_, b)| name(a).cmp(name(b)));
    for pair in sorted.windows(2) {
        assert!(name(&pair[0].1) != name(&pair[1].1), "{} was declared twice", name(&pair[0].1));
    }
    let mut places = vec![0; sorted.len()];
    sorted.iter().enumerate().for_each(|(place, (declaration, _))| places[*declaration] = place);
    (sorted.into_iter().map(|(_, declared)| declared).collect(), places)
}

/// Trainable tensors of a model, in name order.
#[derive(Debug)]
pub struct ParamLayout {
    specs: Vec<ParamSpec>,
    /// Index in `specs` by handle.
    places: Vec<usize>,
    running: Vec<(String, usize)>,
    /// Index in `running` by handle.
    running_places: Vec<usize>,
}

impl ParamLayout {
    /// The tensors, in name order.
    pub fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// Whether any tensor belongs to a normalisation layer.
    pub fn normalises(&self) -> bool {
        self.specs.iter().any(|spec| spec.normalisation)
    }

    /// Checks that the name of a parameter starts with `prefix`, which a suite gives for `key`.
    ///
    /// # Errors
    /// Lists the names.
    pub(crate) fn check_prefix(&self, key: &str, prefix: &str) -> Result<(), String> {
        let names = || self.specs.iter().map(|spec| spec.name.as_str());
        if prefix.is_empty() {
            return Err(format!("{key} has an empty name, with which every parameter starts; remove it"));
        }
        if names().any(|name| name.starts_with(prefix)) {
            return Ok(());
        }
        let names: Vec<&str> = names().collect();
        Err(format!("{key} names {prefix:?}, but no parameter starts with it; the parameters are {}", names.join(", ")))
    }

    /// Tensor with this handle.
    pub(super) fn spec(&self, id: ParamId) -> &ParamSpec {
        &self.specs[self.places[id.0]]
    }

    /// Computes a value for each tensor.
    pub(super) fn by_param<T>(&self, value: impl Fn(&ParamSpec) -> T) -> ByParam<T> {
        ByParam(self.places.iter().map(|place| value(&self.specs[*place])).collect())
    }

    /// Names and channel counts of the BatchNorm layers, in name order.
    pub fn running(&self) -> &[(String, usize)] {
        &self.running
    }

    /// Index of a layer's running statistics in name order.
    pub(super) fn running_place(&self, id: RunningId) -> usize {
        self.running_places[id.0]
    }

    /// Number of trainable scalars, N.
    pub fn len(&self) -> usize {
        self.specs.last().map_or(0, |s| s.range().end)
    }

    /// Whether there is nothing to train.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Initial weights. Each tensor has its own stream of `seed`, so tensors do not depend on one
    /// another.
    pub fn init(&self, seed: u64) -> Vec<f32> {
        let mut flat = Vec::with_capacity(self.len());
        for spec in &self.specs {
            let mut rng = stream(seed, Stream::Init(&spec.name));
            flat.extend((0..spec.len()).map(|_| draw(&spec.init, &spec.shape, &mut rng)));
        }
        flat
    }
}

/// One value per parameter, indexed by handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ByParam<T>(Vec<T>);

impl<T> ByParam<T> {
    /// Maps each value.
    pub(super) fn map<U>(&self, f: impl Fn(&T) -> U) -> ByParam<U> {
        ByParam(self.0.iter().map(f).collect())
    }
}

impl<T> Index<ParamId> for ByParam<T> {
    type Output = T;

    fn index(&self, id: ParamId) -> &T {
        &self.0[id.0]
    }
}

impl<T> IndexMut<ParamId> for ByParam<T> {
    fn index_mut(&mut self, id: ParamId) -> &mut T {
        &mut self.0[id.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that handles in order of declaration map to tensors in name order.
    #[test]
    fn handles_lead_to_their_tensors() {
        let mut params = ParamsBuilder::default();
        let fc = params.param("fc", &[2, 3], Init::Const(0.0));
        let [weight, bias] = params.normalisation("bn", 4);
        let running = ["z", "a"].map(|name| params.running(name, 1));
        let layout = params.build();
        let names: Vec<_> = layout.specs().iter().map(|spec| (spec.name.as_str(), spec.offset)).collect();
        assert_eq!(names, [("bn.bias", 0), ("bn.weight", 4), ("fc", 8)]);
        assert_eq!(layout.len(), 14);
        let by_param = layout.by_param(|spec| spec.name.clone());
        for (id, name) in [(fc, "fc"), (weight, "bn.weight"), (bias, "bn.bias")] {
            assert_eq!((layout.spec(id).name.as_str(), by_param[id].as_str(), layout.spec(id).id), (name, name, id));
        }
        assert_eq!(running.map(|id| layout.running()[layout.running_place(id)].0.as_str()), ["z", "a"]);
    }

    #[test]
    #[should_panic(expected = "fc was declared twice")]
    fn a_name_is_declared_once() {
        let mut params = ParamsBuilder::default();
        params.param("fc", &[1], Init::Const(0.0));
        params.param("fc", &[2], Init::Const(0.0));
        params.build();
    }
}
