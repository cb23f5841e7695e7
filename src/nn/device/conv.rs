//! Convolution as one matrix product over gathered windows; the gradients likewise.

use candle_core::Tensor;
use sharpbench_kernels::{ConvShape, FlopCount, Windows};

use super::windows::Table;
use super::{product, rows, select};
use crate::error::Result;
use crate::nn::params::ParamId;
use crate::nn::tape::{Node, Pass};

/// [batch, h, w, c_in] -> [batch, oh, ow, c_out].
pub(in crate::nn) fn conv2d(s: ConvShape, id: ParamId, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let value = x.raw.clone();
    let y = forward(&s, &value, &pass.device_param(id)?, &pass.flops)?;
    let y = join(&y, &[s.batch, s.out_height(), s.out_width(), s.c_out])?;
    let (slot, dtype) = (x.slot, value.dtype());
    // Only the weight gradient reads it again.
    let value = pass.owes(id).then_some(value);
    Ok(pass.record(y, &[x], &[id], move |dy, gradients| {
        let (dy, flops) = (dy.raw, gradients.flops.clone());
        if let Some(value) = value {
            gradients.fetch_channels(id, dtype, |live| weight_gradient(&s, (&value, &dy), live, &flops))?;
        }
        if slot.is_none() {
            return Ok(());
        }
        let weight = gradients.device_input_weight(id, &dy)?;
        gradients.add_device(slot, input_gradient(&s, &dy, &weight, &flops)?)
    }))
}

fn windows(s: &ConvShape) -> Windows {
    Windows { height: s.height, width: s.width, kernel: s.kernel, stride: s.stride, padding: s.padding }
}

/// Pixels of one group's channels: [batch, h, w, channels] to [batch, h w, channels of the group].
fn group(x: &Tensor, groups: usize, g: usize) -> Result<Tensor> {
    let (batch, h, w, channels) = x.dims4()?;
    let size = channels / groups;
    Ok(x.reshape((batch, h * w, channels))?.narrow(2, g * size, size)?.contiguous()?)
}

/// Window contents as rows: [batch oh ow, places c].
fn patches(s: &ConvShape, x: &Tensor) -> Result<Tensor> {
    let windows = windows(s);
    if windows.is_pixelwise() {
        return rows(x);
    }
    let (batch, _, channels) = x.dims3()?;
    let ((oh, ow), read) = (windows.out(), Table::reads(&windows, x.device())?.read(x, 0.0)?);
    Ok(read.reshape((batch * oh * ow, windows.places() * channels))?)
}

/// Joins the groups' columns side by side and reshapes to `dims`.
fn join(groups: &[Tensor], dims: &[usize]) -> Result<Tensor> {
    Ok(Tensor::cat(groups, 1)?.reshape(dims)?)
}

/// Output of each group, [batch oh ow, c_out of the group].
fn forward(s: &ConvShape, x: &Tensor, weight: &Tensor, flops: &FlopCount) -> Result<Vec<Tensor>> {
    let c_out = s.c_out / s.groups;
    let of_group = |g| {
        let patches = patches(s, &group(x, s.groups, g)?)?;
        // [c_out, c_in, k, k] to [k k c_in, c_out].
        let weight = weight.narrow(0, g * c_out, c_out)?.permute((2, 3, 1, 0))?.contiguous()?;
        product(&patches, &rows(&weight)?, flops)
    };
    (0..s.groups).map(of_group).collect()
}

/// Weight gradient [c_out, c_in, k, k], or that of the output channels `live` alone.
fn weight_gradient(
    s: &ConvShape,
    (x, dy): (&Tensor, &Tensor),
    live: Option<&[usize]>,
    flops: &FlopCount,
) -> Result<Tensor> {
    let (c_in, c_out) = (s.c_in / s.groups, s.c_out / s.groups);
    let mut groups = Vec::with_capacity(s.groups);
    for g in 0..s.groups {
        let mut dy = group(dy, s.groups, g)?;
        if let Some(live) = live {
            let own = live.iter().filter_map(|c| c.checked_sub(g * c_out)).filter(|c| *c < c_out).collect::<Vec<_>>();
            if own.is_empty() {
                continue;
            }
            dy = select(&dy, 2, &own)?;
        }
        let grad = product(&patches(s, &group(x, s.groups, g)?)?.t()?, &rows(&dy)?, flops)?;
        let grad = grad.reshape((s.kernel, s.kernel, c_in, grad.dim(1)?))?;
        groups.push(grad.permute((3, 2, 0, 1))?.contiguous()?);
    }
    Ok(Tensor::cat(&groups, 0)?)
}

/// Input gradient [batch, h, w, c_in]: each pixel reads the outputs whose windows contain it.
fn input_gradient(s: &ConvShape, dy: &Tensor, weight: &Tensor, flops: &FlopCount) -> Result<Tensor> {
    let (windows, c_out) = (windows(s), s.c_out / s.groups);
    let readers = if windows.is_pixelwise() { None } else { Some(Table::readers(&windows, dy.device())?) };
    let of_group = |g| {
        let dy = group(dy, s.groups, g)?;
        let read = match &readers {
            None => dy,
            Some(readers) => readers.read(&dy, 0.0)?,
        };
        let read = read.reshape((s.batch * s.height * s.width, windows.places() * c_out))?;
        // [c_out, c_in, k, k] to [k k c_out, c_in].
        let weight = weight.narrow(0, g * c_out, c_out)?.permute((2, 3, 0, 1))?.contiguous()?;
        product(&read, &rows(&weight)?, flops)
    };
    let groups = (0..s.groups).map(of_group).collect::<Result<Vec<Tensor>>>()?;
    join(&groups, &[s.batch, s.height, s.width, s.c_in])
}
