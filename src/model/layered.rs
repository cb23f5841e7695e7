//! A model out of layers and what their constructors declared.

use std::sync::Arc;

use super::{Model, ModelSpec};
use crate::nn::{Node, ParamLayout, ParamsBuilder, Pass};

/// The layers of a model, and how they follow one another.
pub(super) trait Layers: Send + Sync {
    /// As [`Model::forward`].
    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node>;
}

struct LayeredModel<L> {
    spec: ModelSpec,
    layout: Arc<ParamLayout>,
    forward_macs: u64,
    layers: L,
}

/// The model of these layers, which declared `params`; `spec` with every default filled in.
pub(super) fn layered(spec: ModelSpec, params: ParamsBuilder, layers: impl Layers + 'static) -> Box<dyn Model> {
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
