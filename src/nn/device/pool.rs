//! Pooling and the parameter-free shortcut.

use candle_core::{DType, Tensor};
use sharpbench_kernels::{PoolShape, Windows};

use super::select;
use super::windows::Table;
use crate::error::Result;
use crate::nn::tape::{Node, Pass};

/// Gathers each window's values: [batch, out pixels, places, channels].
fn read(s: &PoolShape, x: &Tensor, outside: f64) -> Result<(Windows, Tensor)> {
    let (batch, height, width, channels) = x.dims4()?;
    let windows = s.windows;
    let read = Table::reads(&windows, x.device())?.read(&x.reshape((batch, height * width, channels))?, outside)?;
    let (oh, ow) = windows.out();
    Ok((windows, read.reshape((batch, oh * ow, windows.places(), channels))?))
}

/// Maximum of each window; ties go to the first value.
pub(in crate::nn) fn max_pool2d(s: PoolShape, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let (windows, read) = read(&s, &x.raw, f64::NEG_INFINITY)?;
    let place = |place: usize| Ok::<Tensor, crate::Error>(read.narrow(2, place, 1)?.contiguous()?);
    let mut best = place(0)?;
    let mut winner = Tensor::zeros(best.shape(), DType::U32, best.device())?;
    for i in 1..windows.places() {
        let value = place(i)?;
        // NaN wins, so that a divergence is not hidden.
        let wins = (value.gt(&best)? + value.ne(&value)?)?;
        best = wins.where_cond(&value, &best)?;
        winner = wins.where_cond(&Tensor::full(i as u32, best.shape(), best.device())?, &winner)?;
    }
    let (slot, dims) = (x.slot, x.dims().to_vec());
    Ok(pass.record(best.reshape(&s.out_dims())?, &[x], &[], move |dy, gradients| {
        let dy = dy.raw.reshape(winner.shape())?;
        let nothing = dy.zeros_like()?;
        let shares = (0..windows.places()).map(|i| Ok(winner.eq(i as u32)?.where_cond(&dy, &nothing)?));
        let shares = Tensor::cat(&shares.collect::<Result<Vec<_>>>()?, 2)?;
        let (batch, out, places, channels) = shares.dims4()?;
        let shares = shares.reshape((batch, out * places, channels))?;
        let taken = Table::reader_places(&windows, dy.device())?.read(&shares, 0.0)?;
        gradients.add_device(slot, gathered(&taken, places)?.reshape(dims)?)
    }))
}

/// Mean of each window.
pub(in crate::nn) fn avg_pool2d(s: PoolShape, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let (windows, read) = read(&s, &x.raw, 0.0)?;
    let places = windows.places();
    let y = (read.sum(2)? / places as f64)?.reshape(&s.out_dims())?;
    let (slot, dims) = (x.slot, x.dims().to_vec());
    Ok(pass.record(y, &[x], &[], move |dy, gradients| {
        let (batch, oh, ow, channels) = dy.raw.dims4()?;
        let share = (dy.raw.reshape((batch, oh * ow, channels))? / places as f64)?;
        let taken = Table::readers(&windows, share.device())?.read(&share, 0.0)?;
        gradients.add_device(slot, gathered(&taken, places)?.reshape(dims)?)
    }))
}

/// Sums gathered values [batch, pixels places, channels] over the places.
fn gathered(taken: &Tensor, places: usize) -> Result<Tensor> {
    let (batch, n, channels) = taken.dims3()?;
    Ok(taken.reshape((batch, n / places, places, channels))?.sum(2)?)
}

/// Mean over the pixels: [batch, h, w, channels] -> [batch, channels].
pub(in crate::nn) fn global_avg_pool(x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let dims = x.raw.dims4()?;
    let (batch, h, w, channels) = dims;
    let y = x.raw.reshape((batch, h * w, channels))?.mean(1)?;
    let slot = x.slot;
    Ok(pass.record(y, &[x], &[], move |dy, gradients| {
        let share = (dy.raw / (h * w) as f64)?.reshape((batch, 1, 1, channels))?;
        gradients.add_device(slot, share.broadcast_as(dims)?.contiguous()?)
    }))
}

/// Subsamples rows and columns by 2 and pads the channels with zeros to `c_out`.
pub(in crate::nn) fn shortcut(x: &Node, c_out: usize, pass: &mut Pass<'_>) -> Result<Node> {
    let (batch, h, w, c_in) = x.raw.dims4()?;
    let pad = (c_out - c_in) / 2;
    let halved = |n: usize| (0..n).step_by(2).collect::<Vec<usize>>();
    let kept = select(&select(&x.raw, 1, &halved(h))?, 2, &halved(w))?;
    let y = kept.pad_with_zeros(3, pad, c_out - c_in - pad)?;
    let slot = x.slot;
    Ok(pass.record(y, &[x], &[], move |dy, gradients| {
        let (oh, ow) = (h.div_ceil(2), w.div_ceil(2));
        let dy = dy.raw.narrow(3, pad, c_in)?.reshape((batch, oh, 1, ow, 1, c_in))?;
        let spread = dy.pad_with_zeros(2, 0, 1)?.pad_with_zeros(4, 0, 1)?.reshape((batch, 2 * oh, 2 * ow, c_in))?;
        gradients.add_device(slot, spread.narrow(1, 0, h)?.narrow(2, 0, w)?.contiguous()?)
    }))
}
