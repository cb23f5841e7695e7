//! 2-D convolution by im2col and GEMM, parallel over images.
//!
//! Per image, with K = c_in k k: forward `Y[c_out, ohw] = W[c_out, K] cols[K, ohw]`, input gradient
//! `cols = W^T dY` scattered back, weight gradient `dW += dY cols^T`.

use rayon::prelude::*;

use super::{MatMut, MatRef, Scalar, gemm};

/// Images whose weight gradients one task sums. Fixed, so that the order of sums never depends on threads.
const IMAGES_PER_PARTIAL: usize = 8;

/// The geometry of one convolution: square kernel, equal stride and zero padding on both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nn) struct ConvShape {
    pub(in crate::nn) batch: usize,
    pub(in crate::nn) c_in: usize,
    pub(in crate::nn) height: usize,
    pub(in crate::nn) width: usize,
    pub(in crate::nn) c_out: usize,
    pub(in crate::nn) kernel: usize,
    pub(in crate::nn) stride: usize,
    pub(in crate::nn) padding: usize,
}

impl ConvShape {
    /// Output height.
    pub(in crate::nn) fn out_height(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Output width.
    pub(in crate::nn) fn out_width(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel) / self.stride + 1
    }

    fn out_pixels(&self) -> usize {
        self.out_height() * self.out_width()
    }

    fn image(&self) -> usize {
        self.c_in * self.height * self.width
    }

    fn patch(&self) -> usize {
        self.c_in * self.kernel * self.kernel
    }

    /// A 1x1 convolution needs no im2col: the image already is the matrix.
    fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }

    /// The output columns whose input column `ox * stride + kx - padding` lies inside the image.
    fn inside(&self, kx: usize) -> std::ops::Range<usize> {
        let first = self.padding.saturating_sub(kx).div_ceil(self.stride);
        let last = (self.width + self.padding).saturating_sub(kx).div_ceil(self.stride).min(self.out_width());
        first.min(last)..last
    }

    /// Calls `f(row of the patch matrix, output row, Some(start of the input row))` for every row segment.
    fn for_each_segment(&self, mut f: impl FnMut(usize, usize, usize, Option<usize>)) {
        for c in 0..self.c_in {
            for ky in 0..self.kernel {
                for kx in 0..self.kernel {
                    let row = (c * self.kernel + ky) * self.kernel + kx;
                    for oy in 0..self.out_height() {
                        let inside = (oy * self.stride + ky).checked_sub(self.padding).filter(|iy| *iy < self.height);
                        let input = inside.map(|iy| (c * self.height + iy) * self.width);
                        f(row, kx, oy, input);
                    }
                }
            }
        }
    }
}

/// Writes the patch matrix `[K, ohw]` of one image.
fn im2col<T: Scalar>(s: &ConvShape, x: &[T], cols: &mut [T]) {
    let (ow, pixels) = (s.out_width(), s.out_pixels());
    s.for_each_segment(|row, kx, oy, input| {
        let segment = &mut cols[row * pixels + oy * ow..][..ow];
        let inside = s.inside(kx);
        let Some(input) = input else {
            segment.fill(T::zero());
            return;
        };
        if inside.is_empty() {
            segment.fill(T::zero());
            return;
        }
        segment[..inside.start].fill(T::zero());
        segment[inside.end..].fill(T::zero());
        let from = input + inside.start * s.stride + kx - s.padding;
        if s.stride == 1 {
            segment[inside.clone()].copy_from_slice(&x[from..from + inside.len()]);
        } else {
            for (out, value) in segment[inside].iter_mut().zip(x[from..].iter().step_by(s.stride)) {
                *out = *value;
            }
        }
    });
}

/// Adds the patch matrix `[K, ohw]` back to one image.
fn col2im<T: Scalar>(s: &ConvShape, cols: &[T], x: &mut [T]) {
    let (ow, pixels) = (s.out_width(), s.out_pixels());
    s.for_each_segment(|row, kx, oy, input| {
        let inside = s.inside(kx);
        let Some(input) = input else { return };
        if inside.is_empty() {
            return;
        }
        let segment = &cols[row * pixels + oy * ow..][..ow];
        let from = input + inside.start * s.stride + kx - s.padding;
        if s.stride == 1 {
            for (out, value) in x[from..from + inside.len()].iter_mut().zip(&segment[inside]) {
                *out += *value;
            }
        } else {
            for (out, value) in x[from..].iter_mut().step_by(s.stride).zip(&segment[inside]) {
                *out += *value;
            }
        }
    });
}

/// `x` [batch, c_in, h, w], `w` [c_out, c_in, k, k] -> [batch, c_out, oh, ow].
pub(in crate::nn) fn conv2d<T: Scalar>(s: &ConvShape, x: &[T], w: &[T]) -> Vec<T> {
    let (pixels, patch) = (s.out_pixels(), s.patch());
    let mut out = vec![T::zero(); s.batch * s.c_out * pixels];
    out.par_chunks_mut(s.c_out * pixels).zip(x.par_chunks(s.image())).for_each_init(Vec::new, |cols, (out, x)| {
        let cols = patches(s, x, cols);
        gemm(
            MatMut { data: out, rows: s.c_out, cols: pixels },
            MatRef::new(w, s.c_out, patch),
            MatRef::new(cols, patch, pixels),
            false,
        );
    });
    out
}

/// The gradient of the input, [batch, c_in, h, w], from `dy` [batch, c_out, oh, ow].
pub(in crate::nn) fn conv2d_input_grad<T: Scalar>(s: &ConvShape, dy: &[T], w: &[T]) -> Vec<T> {
    let (pixels, patch) = (s.out_pixels(), s.patch());
    let mut dx = vec![T::zero(); s.batch * s.image()];
    let images = dx.par_chunks_mut(s.image()).zip(dy.par_chunks(s.c_out * pixels));
    images.for_each_init(Vec::new, |cols, (dx, dy)| {
        let weight = MatRef::new(w, s.c_out, patch).t();
        let dy = MatRef::new(dy, s.c_out, pixels);
        if s.is_pointwise() {
            gemm(MatMut { data: dx, rows: patch, cols: pixels }, weight, dy, false);
        } else {
            cols.resize(patch * pixels, T::zero());
            gemm(MatMut { data: cols, rows: patch, cols: pixels }, weight, dy, false);
            col2im(s, cols, dx);
        }
    });
    dx
}

/// The gradient of the weight, [c_out, c_in, k, k], summed over the batch in a fixed order.
pub(in crate::nn) fn conv2d_weight_grad<T: Scalar>(s: &ConvShape, x: &[T], dy: &[T]) -> Vec<T> {
    let (pixels, patch) = (s.out_pixels(), s.patch());
    let partials: Vec<Vec<T>> = x
        .par_chunks(IMAGES_PER_PARTIAL * s.image())
        .zip(dy.par_chunks(IMAGES_PER_PARTIAL * s.c_out * pixels))
        .map_init(Vec::new, |cols, (x, dy)| {
            let mut dw = vec![T::zero(); s.c_out * patch];
            for (x, dy) in x.chunks(s.image()).zip(dy.chunks(s.c_out * pixels)) {
                let cols = patches(s, x, cols);
                gemm(
                    MatMut { data: &mut dw, rows: s.c_out, cols: patch },
                    MatRef::new(dy, s.c_out, pixels),
                    MatRef::new(cols, patch, pixels).t(),
                    true,
                );
            }
            dw
        })
        .collect();
    let mut partials = partials.into_iter();
    let mut total = partials.next().unwrap_or_else(|| vec![T::zero(); s.c_out * patch]);
    for partial in partials {
        total.iter_mut().zip(partial).for_each(|(t, p)| *t += p);
    }
    total
}

/// The patch matrix of one image: the image itself for a pointwise convolution, else built in `scratch`.
fn patches<'a, T: Scalar>(s: &ConvShape, x: &'a [T], scratch: &'a mut Vec<T>) -> &'a [T] {
    if s.is_pointwise() {
        return x;
    }
    scratch.resize(s.patch() * s.out_pixels(), T::zero());
    im2col(s, x, scratch);
    scratch
}
