//! The bias of a convolution.

use super::{positive_part, sum_rows, where_positive};
use crate::error::Result;
use crate::nn::params::ParamId;
use crate::nn::tape::{Node, Pass};

/// Adds a per-channel bias, followed by an optional ReLU.
pub(in crate::nn) fn bias(id: ParamId, relu: bool, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let y = x.raw.broadcast_add(&pass.device_param(id)?)?;
    let y = if relu { positive_part(&y)? } else { y };
    let (slot, gate, dtype) = (x.slot, relu.then(|| y.clone()), x.raw.dtype());
    Ok(pass.record(y, &[x], &[id], move |dy, gradients| {
        let dx = gate.map_or_else(|| Ok(dy.raw.clone()), |y| where_positive(&y, &dy.raw))?;
        gradients.fetch(id, dtype, || sum_rows(&dx))?;
        gradients.add_device(slot, dx)
    }))
}
