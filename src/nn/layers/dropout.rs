//! Dropout.

use sharpbench_kernels as kernels;

use super::by_dtype;
use crate::error::{Error, Result};
use crate::nn::device;
use crate::nn::scalar::Scalar;
use crate::nn::slices::{tensor, with_slice};
use crate::nn::tape::{Gradient, Node, Pass};
use crate::random::unit;

/// Zeroes each value with probability `p` and divides the others by 1 - p (Srivastava et al. 2014);
/// the identity in evaluation. The mask is drawn from the batch's stream, so both passes of a SAM
/// step drop the same values.
///
/// # Errors
/// When the pass trains on a batch without a stream.
pub fn dropout(x: &Node, p: f32, pass: &mut Pass<'_>) -> Result<Node> {
    fn run<T: Scalar>(x: &Node, p: f32, pass: &mut Pass<'_>) -> Result<Node> {
        let n = x.raw.elem_count();
        let Some(stream) = pass.dropout.as_mut() else {
            return Err(Error::Usage("dropout in training needs a batch with a random stream".into()));
        };
        let mut draw = |n: usize| (0..n).map(|_| unit(stream) >= p).collect::<Vec<bool>>();
        let kept = match pass.samples {
            None => draw(n),
            Some((samples, of)) => {
                let size = n / samples.len().max(1);
                let whole = draw(size * of);
                samples.iter().flat_map(|i| &whole[i * size..(i + 1) * size]).copied().collect()
            }
        };
        let scale = 1.0 / (1.0 - f64::from(p));
        if pass.device.is_some() {
            return device::dropout(x, &kept, scale, pass);
        }
        let scale = T::from_f64(scale);
        let y = with_slice::<T, _>(&x.value::<T>()?, |x| kernels::dropout(x, &kept, scale))?;
        let slot = x.slot;
        Ok(pass.record(tensor(y, x.dims())?, &[x], &[], move |dy, gradients| {
            let dy = dy.value::<T>()?;
            let dx = with_slice::<T, _>(&dy, |dy| kernels::dropout(dy, &kept, scale))?;
            gradients.add::<T>(slot, Gradient::plain(tensor(dx, dy.dims())?))
        }))
    }
    if pass.is_evaluation() || p == 0.0 {
        return Ok(x.clone());
    }
    pass.layer([x], &[], |[x], pass| by_dtype!(x, run(x, p, pass)))
}
