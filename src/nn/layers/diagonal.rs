//! A layer without input.

use candle_core::DType;
use sharpbench_kernels as kernels;

use crate::error::Result;
use crate::nn::device;
use crate::nn::params::ParamId;
use crate::nn::scalar::Scalar;
use crate::nn::slices::{tensor, with_slice};
use crate::nn::tape::{Gradient, Node, Pass};

/// Returns `[batch, n]` with every row the elementwise product `factors w`, w being the parameter
/// `weight`, `[n]`.
///
/// # Errors
/// When a tensor operation fails.
///
/// # Panics
/// When the number of factors differs from the parameter's number of entries (an error of the
/// model's file).
pub fn diagonal(weight: ParamId, factors: &[f64], batch: usize, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(weight: ParamId, factors: &[f64], batch: usize, pass: &mut Pass<'_>) -> Result<Node> {
        assert_eq!(factors.len(), pass.weights.get::<T>(weight).len(), "a factor for each entry");
        let factors: Vec<T> = factors.iter().map(|f| T::from_f64(*f)).collect();
        let y = kernels::diagonal(pass.weights.get::<T>(weight), &factors, batch);
        let y = tensor(y, &[batch, factors.len()])?;
        Ok(pass.record(y, &[], &[weight], move |dy: Gradient, gradients| {
            with_slice::<T, _>(&dy.value::<T>()?, |dy| {
                gradients.param::<T>(weight, |part, grad| {
                    kernels::diagonal_backward(part.values(dy), &factors, grad);
                })
            })?
        }))
    }
    pass.layer([], &[weight], |[], pass| match pass.weights.dtype() {
        _ if pass.device.is_some() => device::diagonal(weight, factors, batch, pass),
        DType::F64 => run::<f64>(weight, factors, batch, pass),
        _ => run::<f32>(weight, factors, batch, pass),
    })
}
