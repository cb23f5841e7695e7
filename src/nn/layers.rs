//! Layers: each declares its parameters, computes forward, and records how to go back.

use std::rc::Rc;

use candle_core::DType;
use candle_nn::Init;

use super::cpu::{
    self, BatchNormGrad, ChannelStats, ConvShape, InputGrad, MatMut, MatRef, Measure, Moments, Scalar, Statistics, par_gemm, tensor,
    with_slice,
};
use super::params::{ParamId, ParamLayout, ParamsBuilder, RunningId, default_init};
use super::tape::{BatchNormMode, Gradient, Node, Normalised, Pass, Through};
use crate::error::Result;

/// Running statistics move by this fraction per batch (PyTorch's default).
const BATCH_NORM_MOMENTUM: f32 = 0.1;
/// Added to the variance (PyTorch's default).
const BATCH_NORM_EPS: f64 = 1e-5;

/// Calls a generic function for the value's type.
macro_rules! by_dtype {
    ($value:expr, $f:ident($($arg:expr),*)) => {
        if $value.raw.dtype() == DType::F64 { $f::<f64>($($arg),*) } else { $f::<f32>($($arg),*) }
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
        by_dtype!(x, conv2d(self, x, pass))
    }
}

fn conv2d<T: Scalar>(layer: &Conv2d, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let (batch, height, width, c_in) = x.raw.dims4()?;
    let Conv2d { weight: id, c_out, kernel, stride, padding } = *layer;
    let s = ConvShape { batch, c_in, height, width, c_out, kernel, stride, padding };
    let weight = pass.weights.get(id);
    // Taken in the cache, for the batch normalisation that usually follows.
    let measure = pass.batch_norm != BatchNormMode::Eval;
    let (y, moments) = x.with_source::<T, _>(|x| cpu::conv2d(&s, &x, weight, measure))?;
    let y = tensor(y, &[batch, s.out_height(), s.out_width(), c_out])?;
    let x = x.clone();
    let y = pass.record(y, move |dy, gradients| {
        let weight = gradients.weights.get(id);
        let other = gradients.take(&x).map(|other| other.value::<T>()).transpose()?;
        let mut dx = None;
        gradients.param::<T>(id, |dw| {
            let mut run = |add: Option<&[T]>, measure: Measure<'_, T>| {
                let input = x.slot.map(|_| InputGrad { add, measure });
                dx = x.with_source(|x| dy.with_source(|dy| cpu::conv2d_backward(&s, &x, &dy, weight, dw, input)))??;
                Ok(())
            };
            let mut run = |add: Option<&[T]>| match &x.normalised {
                None => run(add, Measure::Nothing),
                Some(n) => with_slice(&x.raw, |x| n.with_gate(|gate| run(add, Measure::Gradient { x, gate })))?,
            };
            match &other {
                None => run(None),
                Some(other) => with_slice(other, |other| run(Some(other)))?,
            }
        })?;
        match dx {
            None => Ok(()),
            Some((dx, moments)) => {
                gradients.add::<T>(&x, Gradient { moments, ..Gradient::plain(tensor(dx, x.dims())?) })
            }
        }
    });
    Ok(Node { moments: moments.map(Rc::new), ..y })
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
        by_dtype!(x, batch_norm(self, x, pass))
    }
}

fn batch_norm<T: Scalar>(layer: &BatchNorm, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    // A value that is itself seen through a normalisation is written out first.
    let x = if x.normalised.is_some() { &Node { raw: x.value::<T>()?, normalised: None, moments: None, slot: x.slot } } else { x };
    let channels = x.channels();
    let count = (x.raw.elem_count() / channels) as f64;
    let (mean, variance) = (&mut pass.running.mean[layer.running.0], &mut pass.running.variance[layer.running.0]);
    let fixed = pass.batch_norm == BatchNormMode::Eval;
    let stats: Vec<ChannelStats> = if fixed {
        let pairs = mean.iter().zip(variance.iter());
        pairs.map(|(m, v)| ChannelStats { mean: f64::from(*m), variance: f64::from(*v) }).collect()
    } else {
        match &x.moments {
            Some(moments) => ChannelStats::of_batch(moments, count),
            None => ChannelStats::of_batch(&with_slice::<T, _>(&x.raw, |x| Moments::of_values(x, channels))?, count),
        }
    };
    if pass.batch_norm == BatchNormMode::Update {
        for (c, s) in stats.iter().enumerate() {
            let unbiased = s.variance * count / (count - 1.0).max(1.0);
            mean[c] += BATCH_NORM_MOMENTUM * (s.mean as f32 - mean[c]);
            variance[c] += BATCH_NORM_MOMENTUM * (unbiased as f32 - variance[c]);
        }
    }
    let gamma = pass.weights.get_f64::<T>(layer.weight);
    let beta = pass.weights.get_f64::<T>(layer.bias);
    let [scale, shift] = cpu::normalisation(&stats, &gamma, &beta, BATCH_NORM_EPS);
    let normalised = Rc::new(Normalised { scale, shift, relu: layer.relu });
    let (weight_id, bias_id) = (layer.weight, layer.bias);
    let (x, value, seen) = (x.clone(), x.raw.clone(), normalised.clone());
    let y = pass.record(value, move |dy, gradients| {
        let dy = Gradient { raw: dy.value::<T>()?, ..dy };
        let moments = match dy.moments {
            Some(moments) => moments,
            None => with_slice::<T, _>(&x.raw, |x| {
                with_slice(&dy.raw, |dy| seen.with_gate(|gate| Moments::of_gradient(dy, x, channels, gate)))
            })??,
        };
        let statistics = if fixed { Statistics::Fixed } else { Statistics::Batch };
        let BatchNormGrad { gamma: dgamma, beta: dbeta, terms } =
            cpu::batch_norm_backward(&moments, (&stats, statistics), &gamma, BATCH_NORM_EPS, count);
        for (id, values) in [(weight_id, dgamma), (bias_id, dbeta)] {
            gradients.param::<T>(id, |grad| {
                grad.iter_mut().zip(values).for_each(|(grad, value)| *grad = T::from_f64(value));
                Ok(())
            })?;
        }
        let through = Through { x: x.raw.clone(), normalised: seen, terms };
        gradients.add::<T>(&x, Gradient { raw: dy.raw, moments: None, through: Some(Rc::new(through)) })
    });
    Ok(Node { normalised: Some(normalised), ..y })
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
        by_dtype!(x, linear(self, x, pass))
    }
}

fn linear<T: Scalar>(layer: &Linear, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let (batch, d_in) = x.raw.dims2()?;
    let (weight_id, bias_id) = (layer.weight, layer.bias);
    let (weight, bias) = (pass.weights.get::<T>(weight_id), pass.weights.get::<T>(bias_id));
    let d_out = bias.len();
    let value = x.value::<T>()?;
    let y = with_slice::<T, _>(&value, |x| {
        let mut y = bias.repeat(batch);
        let (x, w) = (MatRef::new(x, batch, d_in), MatRef::new(weight, d_out, d_in));
        par_gemm(MatMut { data: &mut y, rows: batch, cols: d_out }, x, w.t(), true);
        y
    })?;
    let x = x.clone();
    Ok(pass.record(tensor(y, &[batch, d_out])?, move |dy, gradients| {
        let dy = dy.value::<T>()?;
        with_slice::<T, _>(&dy, |dy| {
            let rows = MatRef::new(dy, batch, d_out);
            gradients.param::<T>(weight_id, |dw| {
                with_slice(&value, |x| {
                    let dw = MatMut { data: dw, rows: d_out, cols: d_in };
                    par_gemm(dw, rows.t(), MatRef::new(x, batch, d_in), false);
                })
            })?;
            gradients.param::<T>(bias_id, |db| {
                db.fill(T::zero());
                dy.chunks(d_out).for_each(|row| db.iter_mut().zip(row).for_each(|(sum, v)| *sum += *v));
                Ok(())
            })?;
            if x.slot.is_none() {
                return Ok(());
            }
            let weight = MatRef::new(gradients.weights.get::<T>(weight_id), d_out, d_in);
            let mut dx = vec![T::zero(); batch * d_in];
            par_gemm(MatMut { data: &mut dx, rows: batch, cols: d_in }, rows, weight, false);
            gradients.add::<T>(&x, Gradient::plain(tensor(dx, &[batch, d_in])?))
        })?
    }))
}

/// `max(x, 0)`, with gradient 0 at 0 as in PyTorch.
pub fn relu(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let y = tensor(with_slice::<T, _>(&x.value::<T>()?, cpu::relu)?, x.dims())?;
        let (x, saved) = (x.clone(), y.clone());
        Ok(pass.record(y, move |dy, gradients| {
            let dy = dy.value::<T>()?;
            let (dx, _) = with_slice::<T, _>(&saved, |y| with_slice(&dy, |dy| cpu::relu_backward(y, dy, None, 1)))??;
            gradients.add::<T>(&x, Gradient::plain(tensor(dx, dy.dims())?))
        }))
    }
    by_dtype!(x, run(x, pass))
}

/// `max(a + b, 0)`: the end of a residual block.
pub fn add_relu(a: &Node, b: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(a: &Node, b: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let channels = a.channels();
        let y = a.with_source::<T, _>(|a| b.with_source(|b| cpu::add_relu(&a, &b, channels)))??;
        let y = tensor(y, a.dims())?;
        let (a, b, saved) = (a.clone(), b.clone(), y.clone());
        Ok(pass.record(y, move |dy, gradients| {
            let dy = dy.value::<T>()?;
            // Measured for a normalisation that ends a block; it has no ReLU of its own.
            let measured = a.normalised.as_ref().is_some_and(|n| !n.relu);
            let (dx, moments) = with_slice::<T, _>(&saved, |y| {
                with_slice(&dy, |dy| {
                    with_slice(&a.raw, |a| cpu::relu_backward(y, dy, measured.then_some(a), channels))
                })
            })???;
            let grad = Gradient::plain(tensor(dx, dy.dims())?);
            gradients.add::<T>(&a, Gradient { moments, ..grad.clone() })?;
            gradients.add::<T>(&b, grad)
        }))
    }
    by_dtype!(a, run(a, b, pass))
}

/// He et al.'s parameter-free shortcut (option A): subsample by 2, pad channels with zeros to `c_out`.
pub fn shortcut(x: &Node, c_out: usize, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, c_out: usize, pass: &mut Pass<'_>) -> Result<Node> {
        let (batch, h, w, c_in) = x.raw.dims4()?;
        let dims = [batch, h, w, c_in];
        let y = with_slice::<T, _>(&x.value::<T>()?, |x| cpu::shortcut(x, dims, c_out))?;
        let x = x.clone();
        Ok(pass.record(tensor(y, &[batch, h.div_ceil(2), w.div_ceil(2), c_out])?, move |dy, gradients| {
            let dx = with_slice::<T, _>(&dy.value::<T>()?, |dy| cpu::shortcut_backward(dy, dims, c_out))?;
            gradients.add::<T>(&x, Gradient::plain(tensor(dx, &dims)?))
        }))
    }
    by_dtype!(x, run(x, c_out, pass))
}

/// Mean over the pixels: [batch, h, w, channels] -> [batch, channels].
pub fn global_avg_pool(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let (batch, h, w, channels) = x.raw.dims4()?;
        let y = with_slice::<T, _>(&x.value::<T>()?, |x| cpu::global_avg_pool(x, h * w, channels))?;
        let x = x.clone();
        Ok(pass.record(tensor(y, &[batch, channels])?, move |dy, gradients| {
            let dx = with_slice::<T, _>(&dy.value::<T>()?, |dy| cpu::global_avg_pool_backward(dy, h * w, channels))?;
            gradients.add::<T>(&x, Gradient::plain(tensor(dx, &[batch, h, w, channels])?))
        }))
    }
    by_dtype!(x, run(x, pass))
}

/// [batch, ...] -> [batch, product of the rest].
pub fn flatten(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let y = x.value::<T>()?.flatten_from(1)?;
        let x = x.clone();
        Ok(pass.record(y, move |dy, gradients| {
            let dx = dy.value::<T>()?.reshape(x.dims())?;
            gradients.add::<T>(&x, Gradient::plain(dx))
        }))
    }
    by_dtype!(x, run(x, pass))
}

/// Input images [batch, c, h, w] to the layout of convolutions, [batch, h, w, c].
///
/// # Errors
/// When the tensor has another rank.
pub fn channels_last(x: &Node, pass: &Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, pass: &Pass<'_>) -> Result<Node> {
        let (batch, channels, h, w) = x.raw.dims4()?;
        let y = with_slice::<T, _>(&x.raw, |x| cpu::channels_last(x, channels, h * w))?;
        Ok(pass.input(tensor(y, &[batch, h, w, channels])?))
    }
    by_dtype!(x, run(x, pass))
}
