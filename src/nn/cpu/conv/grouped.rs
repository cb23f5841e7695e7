//! Convolutions in groups of channels, as one convolution for each group on a copy of its channels.

use super::{ConvShape, InputGrad, Measure, Moments, Scalar, Source};
use crate::nn::cpu::activation::{add, values};

impl ConvShape {
    /// The convolution of one group.
    fn group(&self) -> Self {
        Self { c_in: self.c_in / self.groups, c_out: self.c_out / self.groups, groups: 1, ..*self }
    }
}

/// The channels of group `group` of `groups`.
fn columns<T: Scalar>(x: &[T], channels: usize, group: usize, groups: usize) -> Vec<T> {
    let n = channels / groups;
    x.chunks_exact(channels).flat_map(|pixel| &pixel[group * n..][..n]).copied().collect()
}

/// Writes the channels of a group to their place.
fn put_columns<T: Scalar>(part: &[T], x: &mut [T], channels: usize, group: usize, groups: usize) {
    let n = channels / groups;
    x.chunks_exact_mut(channels)
        .zip(part.chunks_exact(n))
        .for_each(|(pixel, part)| pixel[group * n..][..n].copy_from_slice(part));
}

pub(super) fn conv2d<T: Scalar>(s: &ConvShape, x: &Source<'_, T>, w: &[T], measure: bool) -> (Vec<T>, Option<Moments>) {
    let (single, x) = (s.group(), values(x, s.c_in));
    let mut y = vec![T::zero(); s.batch * s.out_height() * s.out_width() * s.c_out];
    for (group, w) in w.chunks_exact(single.weights()).enumerate() {
        let x = columns(&x, s.c_in, group, s.groups);
        let (part, _) = super::conv2d(&single, &Source::Plain(&x), w, false);
        put_columns(&part, &mut y, s.c_out, group, s.groups);
    }
    let moments = measure.then(|| Moments::of_values(&y, s.c_out));
    (y, moments)
}

pub(super) fn backward<T: Scalar>(
    s: &ConvShape,
    x: &Source<'_, T>,
    dy: &Source<'_, T>,
    w: &[T],
    dw: &mut [T],
    input: Option<InputGrad<'_, T>>,
) -> Option<(Vec<T>, Option<Moments>)> {
    let (single, x, dy) = (s.group(), values(x, s.c_in), values(dy, s.c_out));
    let mut dx = vec![T::zero(); x.len()];
    let weights = w.chunks_exact(single.weights()).zip(dw.chunks_exact_mut(single.weights()));
    for (group, (w, dw)) in weights.enumerate() {
        let (x, dy) = (columns(&x, s.c_in, group, s.groups), columns(&dy, s.c_out, group, s.groups));
        let wanted = input.map(|_| InputGrad { add: None, measure: Measure::Nothing });
        let part = super::conv2d_backward(&single, &Source::Plain(&x), &Source::Plain(&dy), w, dw, wanted);
        if let Some((part, _)) = part {
            put_columns(&part, &mut dx, s.c_in, group, s.groups);
        }
    }
    input.map(|InputGrad { add: other, measure }| {
        let dx = if let Some(other) = other { add(&dx, other) } else { dx };
        let moments = measure.whole(&dx, s.c_in);
        (dx, moments)
    })
}
