//! A model built from layers and what their constructors declared.

use std::sync::Arc;

use super::spec::Initialisation;
use super::{Model, ModelSpec};
use crate::nn::{Node, ParamLayout, ParamsBuilder, Pass};

/// Layers of a model and their composition.
pub trait Layers: Send + Sync {
    /// Forward pass, as in [`Model::forward`].
    ///
    /// # Errors
    /// When a tensor operation fails.
    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node>;
}

struct LayeredModel<L> {
    spec: ModelSpec,
    layout: Arc<ParamLayout>,
    forward_macs: u64,
    layers: L,
}

/// Builds the model of these layers, which declared `params`; `spec` has every default filled in.
pub fn layered(spec: ModelSpec, mut params: ParamsBuilder, layers: impl Layers + 'static) -> Box<dyn Model> {
    match spec.init {
        Some(Initialisation::KaimingFanOut) => params.kaiming_fan_out(),
        None => {}
    }
    let forward_macs = params.forward_macs();
    Box::new(LayeredModel { spec, layout: Arc::new(params.build()), forward_macs, layers })
}

impl<L: Layers> Model for LayeredModel<L> {
    fn spec(&self) -> ModelSpec {
        self.spec.clone()
    }

    fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        self.layers.forward(x, pass)
    }

    fn forward_macs(&self) -> u64 {
        self.forward_macs
    }
}
