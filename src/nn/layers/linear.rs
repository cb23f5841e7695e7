//! Fully connected layer.

use super::by_dtype;
use crate::error::Result;
use crate::nn::cpu::{MatMut, MatRef, Scalar, par_gemm, tensor, with_slice};
use crate::nn::params::{ParamId, ParamLayout, ParamsBuilder, default_init};
use crate::nn::tape::{Gradient, Node, Pass};

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
