//! Layers: each declares its parameters, computes forward, and records how to go back.

use candle_core::{DType, Tensor};
use candle_nn::Init;

use super::cpu::{self, BatchNormGrad, ConvShape, MatMut, MatRef, Scalar, Statistics, par_gemm, tensor, with_slice};
use super::params::{ParamId, ParamLayout, ParamsBuilder, RunningId, default_init};
use super::tape::{BatchNormMode, Node, Pass};
use crate::error::Result;

/// Running statistics move by this fraction per batch (PyTorch's default).
const BATCH_NORM_MOMENTUM: f32 = 0.1;
/// Added to the variance (PyTorch's default).
const BATCH_NORM_EPS: f64 = 1e-5;

/// Calls a generic function for the value's type.
macro_rules! by_dtype {
    ($value:expr, $f:ident($($arg:expr),*)) => {
        if $value.dtype() == DType::F64 { $f::<f64>($($arg),*) } else { $f::<f32>($($arg),*) }
    };
}

/// 2-D convolution without bias: square kernel, zero padding.
pub struct Conv2d {
    weight: ParamId,
    c_out: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// Declares `name.weight` [c_out, c_in, kernel, kernel].
    pub fn declare(params: &mut ParamsBuilder, name: &str, c_in: usize, c_out: usize, kernel: usize) {
        let init = default_init(c_in * kernel * kernel);
        params.param(&format!("{name}.weight"), &[c_out, c_in, kernel, kernel], init);
    }

    /// The layer over a finished layout.
    pub fn new(layout: &ParamLayout, name: &str, stride: usize, padding: usize) -> Self {
        let weight = layout.id(&format!("{name}.weight"));
        let shape = &layout.specs()[weight.0].shape;
        Self { weight, c_out: shape[0], kernel: shape[2], stride, padding }
    }

    /// [batch, h, w, c_in] -> [batch, oh, ow, c_out].
    pub fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        by_dtype!(x.value, conv2d(self, x, pass))
    }
}

fn conv2d<T: Scalar>(layer: &Conv2d, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let (batch, height, width, c_in) = x.value.dims4()?;
    let Conv2d { weight: id, c_out, kernel, stride, padding } = *layer;
    let s = ConvShape { batch, c_in, height, width, c_out, kernel, stride, padding };
    let weight = pass.weights.get(id).clone();
    let y = with_slice::<T, _>(&x.value, |x| with_slice(&weight, |w| cpu::conv2d(&s, x, w)))??;
    let y = tensor(y, &[batch, s.out_height(), s.out_width(), c_out])?;
    let x = x.clone();
    Ok(pass.record(y, move |dy, gradients| {
        let dw = with_slice::<T, _>(&x.value, |x| with_slice(dy, |dy| cpu::conv2d_weight_grad(&s, x, dy)))??;
        gradients.add_param(id, tensor(dw, weight.dims())?)?;
        if x.slot.is_some() {
            let dx = with_slice::<T, _>(dy, |dy| with_slice(&weight, |w| cpu::conv2d_input_grad(&s, dy, w)))??;
            gradients.add(&x, tensor(dx, x.value.dims())?)?;
        }
        Ok(())
    }))
}

/// Batch normalisation over channels, with an optional fused ReLU.
pub struct BatchNorm {
    weight: ParamId,
    bias: ParamId,
    running: RunningId,
    relu: bool,
}

impl BatchNorm {
    /// Declares `name.weight`, `name.bias` and the running statistics.
    pub fn declare(params: &mut ParamsBuilder, name: &str, channels: usize) {
        params.param(&format!("{name}.weight"), &[channels], Init::Const(1.0));
        params.param(&format!("{name}.bias"), &[channels], Init::Const(0.0));
        params.running(name, channels);
    }

    /// The layer over a finished layout.
    pub fn new(layout: &ParamLayout, name: &str, relu: bool) -> Self {
        Self {
            weight: layout.id(&format!("{name}.weight")),
            bias: layout.id(&format!("{name}.bias")),
            running: layout.running_id(name),
            relu,
        }
    }

    /// [batch, h, w, channels] -> the same shape.
    pub fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        by_dtype!(x.value, batch_norm(self, x, pass))
    }
}

fn batch_norm<T: Scalar>(layer: &BatchNorm, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let (batch, height, width, channels) = x.value.dims4()?;
    let (weight, bias) = (pass.weights.get(layer.weight).clone(), pass.weights.get(layer.bias).clone());
    let (mean, variance) = (&mut pass.running.mean[layer.running.0], &mut pass.running.variance[layer.running.0]);
    let fixed = pass.batch_norm == BatchNormMode::Eval;
    let stats: Vec<cpu::ChannelStats> = if fixed {
        let pairs = mean.iter().zip(variance.iter());
        pairs.map(|(m, v)| cpu::ChannelStats { mean: f64::from(*m), variance: f64::from(*v) }).collect()
    } else {
        with_slice::<T, _>(&x.value, |x| cpu::batch_stats(x, channels))?
    };
    if pass.batch_norm == BatchNormMode::Update {
        let count = (batch * height * width) as f64;
        for (c, s) in stats.iter().enumerate() {
            let unbiased = s.variance * count / (count - 1.0).max(1.0);
            mean[c] += BATCH_NORM_MOMENTUM * (s.mean as f32 - mean[c]);
            variance[c] += BATCH_NORM_MOMENTUM * (unbiased as f32 - variance[c]);
        }
    }
    let relu = layer.relu;
    let y = with_slice::<T, _>(&x.value, |x| {
        with_slice(&weight, |w| with_slice(&bias, |b| cpu::batch_norm(x, w, b, &stats, BATCH_NORM_EPS, relu)))
    })???;
    let y = tensor(y, x.value.dims())?;
    let (x, saved, weight_id, bias_id) = (x.clone(), relu.then(|| y.clone()), layer.weight, layer.bias);
    Ok(pass.record(y, move |dy, gradients| {
        let statistics = if fixed { Statistics::Fixed } else { Statistics::Batch };
        let run = |y: Option<&[T]>| {
            with_slice::<T, _>(&x.value, |x| {
                with_slice(dy, |dy| {
                    with_slice(&weight, |w| cpu::batch_norm_backward(x, dy, y, w, (&stats, statistics), BATCH_NORM_EPS))
                })
            })
        };
        let BatchNormGrad { dx, dgamma, dbeta } = match &saved {
            Some(y) => with_slice(y, |y| run(Some(y)))?,
            None => run(None),
        }???;
        gradients.add_param(weight_id, tensor(dgamma, &[channels])?)?;
        gradients.add_param(bias_id, tensor(dbeta, &[channels])?)?;
        gradients.add(&x, tensor(dx, x.value.dims())?)
    }))
}

/// Fully connected layer, `y = x W^T + b`.
pub struct Linear {
    weight: ParamId,
    bias: ParamId,
}

impl Linear {
    /// Declares `name.weight` `[d_out, d_in]` and `name.bias` `[d_out]`.
    pub fn declare(params: &mut ParamsBuilder, name: &str, d_in: usize, d_out: usize) {
        let init = default_init(d_in);
        params.param(&format!("{name}.weight"), &[d_out, d_in], init);
        params.param(&format!("{name}.bias"), &[d_out], init);
    }

    /// The layer over a finished layout.
    pub fn new(layout: &ParamLayout, name: &str) -> Self {
        Self { weight: layout.id(&format!("{name}.weight")), bias: layout.id(&format!("{name}.bias")) }
    }

    /// [batch, d_in] -> [batch, d_out].
    pub fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        by_dtype!(x.value, linear(self, x, pass))
    }
}

fn linear<T: Scalar>(layer: &Linear, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let (weight, bias) = (pass.weights.get(layer.weight).clone(), pass.weights.get(layer.bias).clone());
    let (batch, d_in) = x.value.dims2()?;
    let d_out = weight.dims()[0];
    let mut y = vec![T::zero(); batch * d_out];
    with_slice::<T, _>(&bias, |b| y.chunks_mut(d_out).for_each(|row| row.copy_from_slice(b)))?;
    product::<T>(MatMut { data: &mut y, rows: batch, cols: d_out }, (&x.value, false), (&weight, true), true)?;
    let (x, weight_id, bias_id) = (x.clone(), layer.weight, layer.bias);
    Ok(pass.record(tensor(y, &[batch, d_out])?, move |dy, gradients| {
        let mut dw = vec![T::zero(); d_out * d_in];
        product::<T>(MatMut { data: &mut dw, rows: d_out, cols: d_in }, (dy, true), (&x.value, false), false)?;
        gradients.add_param(weight_id, tensor(dw, weight.dims())?)?;
        let mut db = vec![T::zero(); d_out];
        with_slice::<T, _>(dy, |dy| {
            dy.chunks(d_out).for_each(|row| db.iter_mut().zip(row).for_each(|(sum, v)| *sum += *v));
        })?;
        gradients.add_param(bias_id, tensor(db, &[d_out])?)?;
        if x.slot.is_some() {
            let mut dx = vec![T::zero(); batch * d_in];
            product::<T>(MatMut { data: &mut dx, rows: batch, cols: d_in }, (dy, false), (&weight, false), false)?;
            gradients.add(&x, tensor(dx, &[batch, d_in])?)?;
        }
        Ok(())
    }))
}

/// `out = a b` (or `+=`), each operand a 2-D tensor, transposed if its flag says so.
fn product<T: Scalar>(out: MatMut<'_, T>, a: (&Tensor, bool), b: (&Tensor, bool), accumulate: bool) -> Result<()> {
    let (a_dims, b_dims) = (a.0.dims2()?, b.0.dims2()?);
    with_slice(a.0, |a_data| {
        with_slice(b.0, |b_data| {
            let left = MatRef::new(a_data, a_dims.0, a_dims.1);
            let right = MatRef::new(b_data, b_dims.0, b_dims.1);
            let (left, right) = (if a.1 { left.t() } else { left }, if b.1 { right.t() } else { right });
            par_gemm(out, left, right, accumulate);
        })
    })?
}

/// `max(x, 0)`, with gradient 0 at 0 as in PyTorch.
pub fn relu(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let y = tensor(with_slice::<T, _>(&x.value, cpu::relu)?, x.value.dims())?;
        let (x, saved) = (x.clone(), y.clone());
        Ok(pass.record(y, move |dy, gradients| gradients.add(&x, relu_backward::<T>(&saved, dy)?)))
    }
    by_dtype!(x.value, run(x, pass))
}

/// `max(a + b, 0)`: the end of a residual block.
pub fn add_relu(a: &Node, b: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(a: &Node, b: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let y = with_slice::<T, _>(&a.value, |a| with_slice(&b.value, |b| cpu::add_relu(a, b)))??;
        let y = tensor(y, a.value.dims())?;
        let (a, b, saved) = (a.clone(), b.clone(), y.clone());
        Ok(pass.record(y, move |dy, gradients| {
            let grad = relu_backward::<T>(&saved, dy)?;
            gradients.add(&a, grad.clone())?;
            gradients.add(&b, grad)
        }))
    }
    by_dtype!(a.value, run(a, b, pass))
}

fn relu_backward<T: Scalar>(y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let dx = with_slice::<T, _>(y, |y| with_slice(dy, |dy| cpu::relu_backward(y, dy)))??;
    tensor(dx, dy.dims())
}

/// He et al.'s parameter-free shortcut (option A): subsample by 2, pad channels with zeros to `c_out`.
pub fn shortcut(x: &Node, c_out: usize, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, c_out: usize, pass: &mut Pass<'_>) -> Result<Node> {
        let (batch, h, w, c_in) = x.value.dims4()?;
        let dims = [batch, h, w, c_in];
        let y = with_slice::<T, _>(&x.value, |x| cpu::shortcut(x, dims, c_out))?;
        let x = x.clone();
        Ok(pass.record(tensor(y, &[batch, h.div_ceil(2), w.div_ceil(2), c_out])?, move |dy, gradients| {
            let dx = with_slice::<T, _>(dy, |dy| cpu::shortcut_backward(dy, dims, c_out))?;
            gradients.add(&x, tensor(dx, &dims)?)
        }))
    }
    by_dtype!(x.value, run(x, c_out, pass))
}

/// Mean over the pixels: [batch, h, w, channels] -> [batch, channels].
pub fn global_avg_pool(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let (batch, h, w, channels) = x.value.dims4()?;
        let y = with_slice::<T, _>(&x.value, |x| cpu::global_avg_pool(x, h * w, channels))?;
        let x = x.clone();
        Ok(pass.record(tensor(y, &[batch, channels])?, move |dy, gradients| {
            let dx = with_slice::<T, _>(dy, |dy| cpu::global_avg_pool_backward(dy, h * w, channels))?;
            gradients.add(&x, tensor(dx, &[batch, h, w, channels])?)
        }))
    }
    by_dtype!(x.value, run(x, pass))
}

/// [batch, ...] -> [batch, product of the rest].
pub fn flatten(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let y = x.value.flatten_from(1)?;
    let x = x.clone();
    Ok(pass.record(y, move |dy, gradients| gradients.add(&x, dy.reshape(x.value.dims())?)))
}

/// Input images [batch, c, h, w] to the layout of convolutions, [batch, h, w, c].
///
/// # Errors
/// When the tensor has another rank.
pub fn channels_last(x: &Node, pass: &Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, pass: &Pass<'_>) -> Result<Node> {
        let (batch, channels, h, w) = x.value.dims4()?;
        let y = with_slice::<T, _>(&x.value, |x| cpu::channels_last(x, channels, h * w))?;
        Ok(pass.input(tensor(y, &[batch, h, w, channels])?))
    }
    by_dtype!(x.value, run(x, pass))
}
