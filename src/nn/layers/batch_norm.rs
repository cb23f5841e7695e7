//! Batch normalisation.

use sharpbench_kernels::{self as kernels, BatchNormGrad, ChannelStats, Statistics};
use std::rc::Rc;

use super::by_dtype;
use crate::error::{Error, Result};
use crate::nn::device::{self, BatchNormParams};
use crate::nn::params::{ParamId, ParamsBuilder, RunningId};
use crate::nn::scalar::Scalar;
use crate::nn::slices::with_slice;
use crate::nn::tape::{BatchNormMode, BatchPart, Gradient, Node, Normalised, Pass, Through, round};

/// Added to the variance (PyTorch's default).
const BATCH_NORM_EPS: f64 = 1e-5;

/// Batch normalisation over channels, with an optional fused ReLU.
pub struct BatchNorm {
    weight: ParamId,
    bias: ParamId,
    running: RunningId,
    relu: bool,
}

impl BatchNorm {
    /// Declares `name.weight`, `name.bias` and the running statistics.
    pub fn new(params: &mut ParamsBuilder, name: &str, channels: usize, relu: bool) -> Self {
        let [weight, bias] = params.normalisation(name, channels);
        Self { weight, bias, running: params.running(name, channels), relu }
    }

    /// [batch, h, w, channels] -> the same shape.
    pub fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        if pass.batch_norm != BatchNormMode::Eval && x.raw.elem_count() == x.channels() {
            return Err(Error::Usage(
                "BatchNorm in training needs more than one value per channel: a batch of one sample with one pixel has no \
                 variance; use larger batches or images, or a model without BatchNorm (with schedule.drop_last = false, the last batch \
                 of an epoch may hold one sample)"
                    .into(),
            ));
        }
        pass.layer([x], &[self.weight, self.bias], |[x], pass| match pass.device {
            Some(_) => {
                let &Self { weight, bias, running, relu } = self;
                device::batch_norm(&BatchNormParams { weight, bias, running, eps: BATCH_NORM_EPS, relu }, x, pass)
            }
            None => by_dtype!(x, batch_norm(self, x, pass)),
        })
    }
}

fn batch_norm<T: Scalar>(layer: &BatchNorm, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let x = x.written::<T>()?;
    let channels = x.channels();
    let count = (x.raw.elem_count() / channels) as f64;
    let fixed = pass.batch_norm == BatchNormMode::Eval;
    let stats: Vec<ChannelStats> = if fixed {
        let [mean, variance] = pass.running.of(layer.running);
        mean.iter().zip(variance).map(|(m, v)| ChannelStats { mean: f64::from(*m), variance: f64::from(*v) }).collect()
    } else {
        match &x.moments {
            Some(moments) => ChannelStats::of_batch(moments, count),
            None => ChannelStats::of_batch(&with_slice::<T, _>(&x.raw, |x| kernels::moments(x, channels))?, count),
        }
    };
    if !fixed {
        let unbiased = |variance: f64| variance * count / (count - 1.0).max(1.0);
        pass.learn(layer.running, stats.iter().map(|s| [s.mean as f32, unbiased(s.variance) as f32]).collect());
    }
    let gamma = pass.weights.get_f64::<T>(layer.weight);
    let beta = pass.weights.get_f64::<T>(layer.bias);
    let [scale, shift] = kernels::normalisation(&stats, &gamma, &beta, BATCH_NORM_EPS);
    let normalised = Rc::new(Normalised { scale, shift, relu: layer.relu });
    let (weight_id, bias_id) = (layer.weight, layer.bias);
    let (slot, value, seen) = (x.slot, x.raw.clone(), normalised.clone());
    let y = pass.record(value.clone(), &[&x], &[weight_id, bias_id], move |dy, gradients| {
        let (dy, moments) = dy.measured::<T>(&value, &seen)?;
        let statistics = if fixed { Statistics::Fixed } else { Statistics::Batch };
        let BatchNormGrad { gamma: dgamma, beta: dbeta, terms } =
            kernels::batch_norm_backward(&moments, (&stats, statistics), &gamma, BATCH_NORM_EPS, count);
        if gradients.is_by_sample() {
            with_slice::<T, _>(&value, |x| {
                with_slice(&dy, |dy| {
                    seen.with_gate(|gate| {
                        let of = |part: BatchPart| {
                            let moments = kernels::gradient_moments(part.values(dy), part.values(x), channels, gate);
                            kernels::batch_norm_backward(&moments, (&stats, statistics), &gamma, BATCH_NORM_EPS, count)
                        };
                        gradients.param::<T>(weight_id, |part, grad| round(&of(part).gamma, grad))?;
                        gradients.param::<T>(bias_id, |part, grad| round(&of(part).beta, grad))
                    })
                })
            })???;
        } else {
            gradients.add_param::<T>(weight_id, &dgamma)?;
            gradients.add_param::<T>(bias_id, &dbeta)?;
        }
        let through = Through { x: value, normalised: seen, terms };
        gradients.add::<T>(slot, Gradient { raw: dy, moments: None, through: Some(Rc::new(through)) })
    });
    Ok(Node { normalised: Some(normalised), ..y })
}
