//! Grouped convolutions, run as one convolution per group on a copy of its channels.

use super::{ConvShape, FlopCount, InputGrad, Measure, Moments, Scalar, Source, WeightGrad};
use crate::activation::{add, values};
use crate::moments::moments;

impl ConvShape {
    /// Geometry of one group's convolution.
    fn group(&self) -> Self {
        Self { c_in: self.c_in / self.groups, c_out: self.c_out / self.groups, groups: 1, ..*self }
    }
}

/// Copies the channels of group `group` of `groups`.
fn columns<T: Scalar>(x: &[T], channels: usize, group: usize, groups: usize) -> Vec<T> {
    let n = channels / groups;
    x.chunks_exact(channels).flat_map(|pixel| &pixel[group * n..][..n]).copied().collect()
}

/// Writes a group's channels back to their positions.
fn put_columns<T: Scalar>(part: &[T], x: &mut [T], channels: usize, group: usize, groups: usize) {
    let n = channels / groups;
    x.chunks_exact_mut(channels)
        .zip(part.chunks_exact(n))
        .for_each(|(pixel, part)| pixel[group * n..][..n].copy_from_slice(part));
}

pub(super) fn conv2d<T: Scalar>(
    s: &ConvShape,
    x: &Source<'_, T>,
    w: &[T],
    measure: bool,
    flops: &FlopCount,
) -> (Vec<T>, Option<Moments>) {
    let (single, x) = (s.group(), values(x, s.c_in));
    let mut y = vec![T::zero(); s.batch * s.out_height() * s.out_width() * s.c_out];
    for (group, w) in w.chunks_exact(single.weights()).enumerate() {
        let x = columns(&x, s.c_in, group, s.groups);
        let (part, _) = super::conv2d(&single, &Source::Plain(&x), w, false, flops);
        put_columns(&part, &mut y, s.c_out, group, s.groups);
    }
    let moments = measure.then(|| moments(&y, s.c_out));
    (y, moments)
}

/// Backward pass of all groups. Weight gradients cover all output channels.
pub(super) fn backward<T: Scalar>(
    s: &ConvShape,
    dy: &Source<'_, T>,
    weight: Option<WeightGrad<'_, T>>,
    input: Option<InputGrad<'_, T>>,
    flops: &FlopCount,
) -> Option<(Vec<T>, Option<Moments>)> {
    let (single, dy) = (s.group(), values(dy, s.c_out));
    let mut weight = weight.map(|WeightGrad { x, dw, .. }| (values(x, s.c_in), dw));
    let mut dx = vec![T::zero(); if input.is_some() { s.batch * s.height * s.width * s.c_in } else { 0 }];
    for group in 0..s.groups {
        let dy = columns(&dy, s.c_out, group, s.groups);
        let place = group * single.weights()..(group + 1) * single.weights();
        let x = weight.as_ref().map(|(x, _)| columns(x, s.c_in, group, s.groups));
        let x = x.as_deref().map(Source::Plain);
        let own = weight.as_mut().zip(x.as_ref()).map(|((_, dw), x)| WeightGrad {
            x,
            dw: &mut dw[place.clone()],
            live: None,
        });
        let wanted =
            input.map(|i| InputGrad { weight: &i.weight[place.clone()], add: None, measure: Measure::Nothing });
        if let Some((part, _)) = super::conv2d_backward(&single, &Source::Plain(&dy), own, wanted, flops) {
            put_columns(&part, &mut dx, s.c_in, group, s.groups);
        }
    }
    input.map(|InputGrad { add: other, measure, .. }| {
        let dx = if let Some(other) = other { add(&dx, other) } else { dx };
        let moments = measure.whole(&dx, s.c_in);
        (dx, moments)
    })
}
