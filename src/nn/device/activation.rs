//! ReLU, GELU, and the ends of residual blocks.

use super::{positive_part, where_positive};
use crate::error::Result;
use crate::nn::tape::{Node, Pass};

/// Computes `max(x, 0)`.
pub(in crate::nn) fn relu(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let y = positive_part(&x.raw)?;
    let (slot, saved) = (x.slot, y.clone());
    Ok(pass.record(y, &[x], &[], move |dy, gradients| gradients.add_device(slot, where_positive(&saved, &dy.raw)?)))
}

/// Computes `x Phi(x)`.
pub(in crate::nn) fn gelu(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let value = x.raw.clone();
    let cdf = (((&value / 2f64.sqrt())?.erf()? + 1.0)? * 0.5)?;
    let slot = x.slot;
    Ok(pass.record((&value * &cdf)?, &[x], &[], move |dy, gradients| {
        let density = ((value.sqr()? * -0.5)?.exp()? / std::f64::consts::TAU.sqrt())?;
        gradients.add_device(slot, (dy.raw * (cdf + (value * density)?)?)?)
    }))
}

/// Computes `a + b`, followed by `max(., 0)` if `rectified`.
pub(in crate::nn) fn add(a: &Node, b: &Node, rectified: bool, pass: &mut Pass<'_>) -> Result<Node> {
    let sum = (&a.raw + &b.raw)?;
    let y = if rectified { positive_part(&sum)? } else { sum };
    let (slots, gate) = ([a.slot, b.slot], rectified.then(|| y.clone()));
    Ok(pass.record(y, &[a, b], &[], move |dy, gradients| {
        let dx = gate.map_or_else(|| Ok(dy.raw.clone()), |y| where_positive(&y, &dy.raw))?;
        gradients.add_device(slots[0], dx.clone())?;
        gradients.add_device(slots[1], dx)
    }))
}
