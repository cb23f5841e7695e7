//! The bias of a convolution.

use std::rc::Rc;

use candle_nn::Init;
use sharpbench_kernels as kernels;

use super::by_dtype;
use crate::error::Result;
use crate::nn::device;
use crate::nn::params::{ParamId, ParamsBuilder};
use crate::nn::scalar::Scalar;
use crate::nn::slices::with_slice;
use crate::nn::tape::{Gradient, Node, Normalised, Pass, Through, round};

/// Per-channel bias with an optional ReLU. Treated as a batch normalisation of scale 1, so its
/// consumers apply it lazily.
pub struct Bias {
    bias: ParamId,
    relu: bool,
}

impl Bias {
    /// Declares `name.bias` `[channels]`.
    pub fn new(params: &mut ParamsBuilder, name: &str, channels: usize, init: Init, relu: bool) -> Self {
        Self { bias: params.param(&format!("{name}.bias"), &[channels], init), relu }
    }

    /// [..., channels] -> the same shape.
    pub fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        pass.layer([x], &[self.bias], |[x], pass| match pass.device {
            Some(_) => device::bias(self.bias, self.relu, x, pass),
            None => by_dtype!(x, bias(self, x, pass)),
        })
    }
}

fn bias<T: Scalar>(layer: &Bias, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let x = x.written::<T>()?;
    let (id, channels) = (layer.bias, x.channels());
    let shift = pass.weights.get_f64::<T>(id);
    let normalised = Rc::new(Normalised { scale: vec![1.0; channels], shift, relu: layer.relu });
    let (slot, value, seen) = (x.slot, x.raw.clone(), normalised.clone());
    let y = pass.record(value.clone(), &[&x], &[id], move |dy, gradients| {
        let (dy, moments) = dy.measured::<T>(&value, &seen)?;
        if gradients.is_by_sample() {
            with_slice::<T, _>(&value, |x| {
                with_slice(&dy, |dy| {
                    seen.with_gate(|gate| {
                        gradients.param::<T>(id, |part, grad| {
                            let (dy, x) = (part.values(dy), part.values(x));
                            round(&kernels::gradient_moments(dy, x, channels, gate).plain, grad);
                        })
                    })
                })
            })???;
        } else {
            gradients.add_param::<T>(id, &moments.plain)?;
        }
        let terms = [vec![1.0; channels], vec![0.0; channels], vec![0.0; channels]];
        let through = seen.relu.then(|| Rc::new(Through { x: value, normalised: seen, terms }));
        gradients.add::<T>(slot, Gradient { raw: dy, moments: None, through })
    });
    Ok(Node { normalised: Some(normalised), ..y })
}
