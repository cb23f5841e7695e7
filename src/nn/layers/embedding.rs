//! Token and position embeddings of Transformers.

use candle_core::DType;
use candle_nn::Init;
use sharpbench_kernels as kernels;

use crate::error::{Error, Result};
use crate::nn::device;
use crate::nn::params::{ParamId, ParamsBuilder};
use crate::nn::sample_shape::SampleShape;
use crate::nn::scalar::Scalar;
use crate::nn::slices::{tensor, with_slice};
use crate::nn::tape::{Gradient, Node, Pass};

/// A learned vector for each token of a vocabulary.
pub struct Embedding {
    weight: ParamId,
    vocabulary: usize,
    width: usize,
}

impl Embedding {
    /// Declares `name.weight` [vocabulary, width].
    pub fn new(params: &mut ParamsBuilder, name: &str, vocabulary: usize, width: usize, init: Init) -> Self {
        let weight = params.param(&format!("{name}.weight"), &[vocabulary, width], init);
        Self { weight, vocabulary, width }
    }

    /// Maps tokens [batch, length], u32, to [batch, length, width].
    ///
    /// # Errors
    /// When a token lies outside the vocabulary.
    pub fn forward(&self, tokens: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        pass.layer([tokens], &[self.weight], |[tokens], pass| match pass.weights.dtype() {
            DType::F64 => self.run::<f64>(tokens, pass),
            _ => self.run::<f32>(tokens, pass),
        })
    }

    fn run<T: Scalar>(&self, tokens: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let &Self { weight: id, vocabulary, width } = self;
        let ids: Vec<u32> = tokens.raw.flatten_all()?.to_vec1()?;
        if let Some(token) = ids.iter().find(|token| **token as usize >= vocabulary) {
            return Err(Error::Usage(format!("token {token} is outside the vocabulary of {vocabulary}")));
        }
        if pass.device.is_some() {
            return device::embedding(id, tokens, pass);
        }
        let weight = pass.weights.get::<T>(id);
        let y = kernels::embedding(weight, width, &ids);
        let (batch, length) = tokens.raw.dims2()?;
        Ok(pass.record(tensor(y, &[batch, length, width])?, &[tokens], &[id], move |dy, gradients| {
            with_slice::<T, _>(&dy.value::<T>()?, |dy| {
                gradients.param::<T>(id, |part, dw| {
                    kernels::embedding_backward(part.values(dy), width, part.values(&ids), dw);
                })
            })?
        }))
    }
}

/// A learned vector added at each position.
pub struct Positions {
    id: ParamId,
}

impl Positions {
    /// Declares `name` [positions, channels], one vector per position of `x`.
    pub fn new(params: &mut ParamsBuilder, name: &str, x: &SampleShape, init: Init) -> Self {
        Self { id: params.param(name, &[x.positions(), x.channels], init) }
    }

    /// Adds the vectors to [batch, ..., width], which must have as many positions as were declared.
    pub fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        pass.layer([x], &[self.id], |[x], pass| match pass.device {
            Some(_) => device::positions(self.id, x, pass),
            None => super::by_dtype!(x, positions(self, x, pass)),
        })
    }
}

fn positions<T: Scalar>(layer: &Positions, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let id = layer.id;
    let p = pass.weights.get::<T>(id);
    let y = with_slice::<T, _>(&x.value::<T>()?, |x| kernels::positions(x, p))?;
    let slot = x.slot;
    Ok(pass.record(tensor(y, x.dims())?, &[x], &[id], move |dy, gradients| {
        let dy = dy.value::<T>()?;
        with_slice::<T, _>(&dy, |dy| {
            gradients.param::<T>(id, |part, dp| kernels::positions_backward(part.values(dy), dp))
        })??;
        gradients.add::<T>(slot, Gradient::plain(dy))
    }))
}
