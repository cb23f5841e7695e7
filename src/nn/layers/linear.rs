//! Fully connected layer.

use candle_nn::Init;
use rayon::prelude::*;

use super::by_dtype;
use crate::error::{Error, Result};
use crate::nn::cpu::{self, MatMut, MatRef, Scalar, Source, par_gemm, tensor, with_slice};
use crate::nn::device;
use crate::nn::params::{ParamId, ParamLayout, ParamsBuilder, default_init};
use crate::nn::tape::{Gradient, Node, Pass};

/// Rows whose bias gradients one task sums. Fixed, so that the order of sums never depends on threads.
const ROWS: usize = 1024;

/// Fully connected layer, `y = x W^T + b`.
pub struct Linear {
    weight: ParamId,
    bias: ParamId,
}

impl Linear {
    /// Declares `name.weight` `[d_out, d_in]` and `name.bias` `[d_out]`, both with PyTorch's initial values.
    pub fn declare(params: &mut ParamsBuilder, name: &str, d_in: usize, d_out: usize) {
        Self::declare_init(params, name, d_in, d_out, [default_init(d_in); 2]);
    }

    /// The same with initial values of weight and bias.
    pub fn declare_init(params: &mut ParamsBuilder, name: &str, d_in: usize, d_out: usize, init: [Init; 2]) {
        params.param(&format!("{name}.weight"), &[d_out, d_in], init[0]);
        params.param(&format!("{name}.bias"), &[d_out], init[1]);
    }

    /// The layer over a finished layout.
    pub fn new(layout: &ParamLayout, name: &str) -> Self {
        Self { weight: layout.id(&format!("{name}.weight")), bias: layout.id(&format!("{name}.bias")) }
    }

    /// [..., d_in] -> [..., d_out].
    ///
    /// # Errors
    /// When the last axis has another length.
    pub fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let spec = &pass.weights.layout().specs()[self.weight.0];
        if x.channels() != spec.shape[1] {
            let (name, d_in) = (&spec.name, spec.shape[1]);
            return Err(Error::Usage(format!("{name} reads {d_in} values, {:?} has another last axis", x.dims())));
        }
        pass.layer([x], &[self.weight, self.bias], |[x], pass| match pass.device {
            Some(_) => device::linear(self.weight, self.bias, x, pass),
            None => by_dtype!(x, linear(self, x, pass)),
        })
    }
}

fn linear<T: Scalar>(layer: &Linear, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let (weight_id, bias_id) = (layer.weight, layer.bias);
    let (weight, bias) = (pass.weights.get::<T>(weight_id), pass.weights.get::<T>(bias_id));
    let (d_in, d_out) = (weight.len() / bias.len(), bias.len());
    let rows = x.raw.elem_count() / d_in;
    let value = x.value::<T>()?;
    let y = with_slice::<T, _>(&value, |x| {
        let mut y = bias.repeat(rows);
        let (x, w) = (MatRef::new(x, rows, d_in), MatRef::new(weight, d_out, d_in));
        par_gemm(MatMut { data: &mut y, rows, cols: d_out }, x, w.t(), true);
        y
    })?;
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = d_out;
    }
    let (slot, in_dims) = (x.slot, x.dims().to_vec());
    // Read again for the weight's gradient alone.
    let value = pass.owes(weight_id).then_some(value);
    Ok(pass.record(tensor(y, &dims)?, &[x], &[weight_id, bias_id], move |dy, gradients| {
        let dy = dy.value::<T>()?;
        with_slice::<T, _>(&dy, |dy| {
            let upstream = MatRef::new(dy, rows, d_out);
            if let Some(value) = value.as_ref().filter(|_| gradients.is_by_sample()) {
                with_slice(value, |x| {
                    gradients.param::<T>(weight_id, |part, dw| {
                        let (x, dy) = (part.values(x), part.values(dy));
                        let rows = x.len() / d_in;
                        let dw = MatMut { data: dw, rows: d_out, cols: d_in };
                        par_gemm(dw, MatRef::new(dy, rows, d_out).t(), MatRef::new(x, rows, d_in), false);
                    })
                })??;
            } else if let Some(value) = &value {
                gradients.param_channels::<T>(weight_id, |live, dw| {
                    let gathered = live.map(|live| cpu::gather(&Source::Plain(dy), d_out, live));
                    let n = live.map_or(d_out, <[usize]>::len);
                    let upstream = gathered.as_ref().map_or(upstream, |dy| MatRef::new(dy, rows, n));
                    with_slice(value, |x| {
                        let dw = MatMut { data: dw, rows: n, cols: d_in };
                        par_gemm(dw, upstream.t(), MatRef::new(x, rows, d_in), false);
                    })
                })?;
            }
            gradients.param::<T>(bias_id, |part, db| db.copy_from_slice(&sum_rows(part.values(dy), d_out)))?;
            if slot.is_none() {
                return Ok(());
            }
            let weight = MatRef::new(gradients.input_weights.get::<T>(weight_id), d_out, d_in);
            let mut dx = vec![T::zero(); rows * d_in];
            par_gemm(MatMut { data: &mut dx, rows, cols: d_in }, upstream, weight, false);
            gradients.add::<T>(slot, Gradient::plain(tensor(dx, &in_dims)?))
        })?
    }))
}

/// The sum of rows of `n` values.
fn sum_rows<T: Scalar>(values: &[T], n: usize) -> Vec<T> {
    let add = |mut sum: Vec<T>, row: &[T]| {
        sum.iter_mut().zip(row).for_each(|(sum, v)| *sum += *v);
        sum
    };
    let parts: Vec<Vec<T>> =
        values.par_chunks(ROWS * n).map(|part| part.chunks(n).fold(vec![T::zero(); n], add)).collect();
    parts.into_iter().reduce(|sum, part| add(sum, &part)).unwrap_or_default()
}
