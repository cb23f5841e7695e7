//! Pooling and the parameter-free shortcut on channels-last images [batch, h, w, c].

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::output::write;
use super::simd::{Scalar, arch};
use super::windows::Windows;

/// Geometry of a pooling layer.
#[derive(Clone, Copy, Debug)]
pub struct PoolShape {
    batch: usize,
    channels: usize,
    /// Windows over one image.
    pub windows: Windows,
}

/// Reason why a layer with these settings cannot read these images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeometryError(String);

impl std::fmt::Display for GeometryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GeometryError {}

impl PoolShape {
    /// Pooling of images [batch, height, width, channels].
    ///
    /// # Errors
    /// When the window is larger than the padded image, or the padding more than half of it.
    pub fn new(
        (batch, height, width, channels): (usize, usize, usize, usize),
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<Self, GeometryError> {
        let fits = kernel <= height.min(width) + 2 * padding;
        // Every window must contain a pixel, and the winner's index must fit a byte.
        if stride == 0 || !(1..=15).contains(&kernel) || 2 * padding > kernel || !fits {
            return Err(GeometryError(format!(
                "impossible pooling: windows of {kernel}, stride {stride}, padding {padding} on images of \
                 {height} x {width}"
            )));
        }
        Ok(Self { batch, channels, windows: Windows { height, width, kernel, stride, padding } })
    }

    /// Output shape [batch, out height, out width, channels].
    pub fn out_dims(&self) -> [usize; 4] {
        let (out_height, out_width) = self.windows.out();
        [self.batch, out_height, out_width, self.channels]
    }

    fn image(&self) -> usize {
        self.windows.height * self.windows.width * self.channels
    }

    fn out_image(&self) -> usize {
        self.out_dims()[1..].iter().product()
    }

    /// # Panics
    /// Unless `values` are those of a batch, `image` of each image.
    fn check<V>(&self, values: &[V], image: usize) {
        assert_eq!(values.len(), self.batch * image, "pooling reads whole batches");
    }
}

pub(crate) fn max_pool2d<T: Scalar>(s: &PoolShape, x: &[T]) -> (Vec<T>, Vec<u8>) {
    let (image, out_image) = (s.image(), s.out_image());
    s.check(x, image);
    let mut winners = vec![0u8; s.batch * out_image];
    let y = write(winners.len(), |y| {
        let outs = y.par_chunks_mut(out_image).zip(winners.par_chunks_mut(out_image));
        outs.zip(x.par_chunks(image)).for_each(|((y, winners), x)| {
            y.fill(T::narrow(f64::NEG_INFINITY));
            arch().dispatch(OfWindows { s, visit: Largest { x, y, winners } });
        });
    });
    (y, winners)
}

pub(crate) fn max_pool2d_backward<T: Scalar>(s: &PoolShape, winners: &[u8], dy: &[T]) -> Vec<T> {
    let (image, out_image) = (s.image(), s.out_image());
    s.check(winners, out_image);
    s.check(dy, out_image);
    write(s.batch * image, |dx| {
        let grads = dy.par_chunks(out_image).zip(winners.par_chunks(out_image));
        dx.par_chunks_mut(image).zip(grads).for_each(|(dx, (dy, winners))| {
            dx.fill(T::zero());
            arch().dispatch(OfWindows { s, visit: ToWinners { dy, winners, dx } });
        });
    })
}

pub(crate) fn avg_pool2d<T: Scalar>(s: &PoolShape, x: &[T]) -> Vec<T> {
    let scale = T::narrow(1.0 / s.windows.places() as f64);
    s.check(x, s.image());
    write(s.batch * s.out_image(), |y| {
        y.par_chunks_mut(s.out_image()).zip(x.par_chunks(s.image())).for_each(|(y, x)| {
            y.fill(T::zero());
            arch().dispatch(OfWindows { s, visit: Total { x, y: &mut *y } });
            y.iter_mut().for_each(|y| *y *= scale);
        });
    })
}

pub(crate) fn avg_pool2d_backward<T: Scalar>(s: &PoolShape, dy: &[T]) -> Vec<T> {
    let scale = T::narrow(1.0 / s.windows.places() as f64);
    s.check(dy, s.out_image());
    write(s.batch * s.image(), |dx| {
        dx.par_chunks_mut(s.image()).zip(dy.par_chunks(s.out_image())).for_each(|(dx, dy)| {
            dx.fill(T::zero());
            arch().dispatch(OfWindows { s, visit: ToAll { dy, scale, dx } });
        });
    })
}

/// What a pooling does with each pixel of each window of an image.
trait Visit {
    /// `place` is the pixel's index in its window; the ranges are the channels of the output pixel and of the input pixel.
    fn visit(&mut self, place: usize, out: Range<usize>, pixel: Range<usize>);
}

/// Visits an image's windows one by one, and the pixels of each in order, like `Windows::pairs`, in code that has the CPU's vectors.
struct OfWindows<'a, V> {
    s: &'a PoolShape,
    visit: V,
}

impl<V: Visit> WithSimd for OfWindows<'_, V> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        let PoolShape { channels, windows, .. } = *self.s;
        let (out_height, out_width) = windows.out();
        for out in 0..out_height * out_width {
            for place in 0..windows.places() {
                if let Some(pixel) = windows.pixel((out / out_width, out % out_width), place) {
                    let [out, pixel] = [out, pixel].map(|first| first * channels..(first + 1) * channels);
                    self.visit.visit(place, out, pixel);
                }
            }
        }
    }
}

/// Takes the largest value of each window and its place.
struct Largest<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
    winners: &'a mut [u8],
}

impl<T: Scalar> Visit for Largest<'_, T> {
    #[inline(always)]
    fn visit(&mut self, place: usize, out: Range<usize>, pixel: Range<usize>) {
        let best = self.y[out.clone()].iter_mut().zip(&mut self.winners[out]);
        for ((best, winner), x) in best.zip(&self.x[pixel]) {
            // NaN wins, so that a divergence is not hidden. No branches: vectors have none.
            let wins = *x > *best || x.wide().is_nan();
            *best = if wins { *x } else { *best };
            *winner = if wins { place as u8 } else { *winner };
        }
    }
}

/// Adds the gradient of each window to its winner's.
struct ToWinners<'a, T> {
    dy: &'a [T],
    winners: &'a [u8],
    dx: &'a mut [T],
}

impl<T: Scalar> Visit for ToWinners<'_, T> {
    #[inline(always)]
    fn visit(&mut self, place: usize, out: Range<usize>, pixel: Range<usize>) {
        let grads = self.dy[out.clone()].iter().zip(&self.winners[out]);
        for (dx, (dy, winner)) in self.dx[pixel].iter_mut().zip(grads) {
            *dx += if *winner == place as u8 { *dy } else { T::zero() };
        }
    }
}

/// Adds up each window.
struct Total<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Scalar> Visit for Total<'_, T> {
    #[inline(always)]
    fn visit(&mut self, _: usize, out: Range<usize>, pixel: Range<usize>) {
        self.y[out].iter_mut().zip(&self.x[pixel]).for_each(|(y, x)| *y += *x);
    }
}

/// Adds the scaled gradient of each window to those of all its pixels.
struct ToAll<'a, T> {
    dy: &'a [T],
    scale: T,
    dx: &'a mut [T],
}

impl<T: Scalar> Visit for ToAll<'_, T> {
    #[inline(always)]
    fn visit(&mut self, _: usize, out: Range<usize>, pixel: Range<usize>) {
        self.dx[pixel].iter_mut().zip(&self.dy[out]).for_each(|(dx, dy)| *dx += *dy * self.scale);
    }
}

pub(crate) fn global_avg_pool<T: Scalar>(x: &[T], pixels: usize, channels: usize) -> Vec<T> {
    let mut y = Vec::with_capacity(x.len() / pixels);
    for image in x.chunks(pixels * channels) {
        let mut sums = vec![0f64; channels];
        for pixel in image.chunks(channels) {
            sums.iter_mut().zip(pixel).for_each(|(s, x)| *s += x.wide());
        }
        y.extend(sums.iter().map(|s| T::narrow(s / pixels as f64)));
    }
    y
}

pub(crate) fn global_avg_pool_backward<T: Scalar>(dy: &[T], pixels: usize, channels: usize) -> Vec<T> {
    let mut dx = Vec::with_capacity(dy.len() * pixels);
    for dy in dy.chunks(channels) {
        let pixel: Vec<T> = dy.iter().map(|d| T::narrow(d.wide() / pixels as f64)).collect();
        (0..pixels).for_each(|_| dx.extend_from_slice(&pixel));
    }
    dx
}

/// Pairs (input pixel, output pixel) of subsampling by two.
fn subsampled(height: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
    let out_width = width.div_ceil(2);
    (0..height.div_ceil(2)).flat_map(move |y| (0..out_width).map(move |x| (2 * y * width + 2 * x, y * out_width + x)))
}

pub(crate) fn shortcut<T: Scalar>(x: &[T], dims: [usize; 4], c_out: usize) -> Vec<T> {
    let [batch, h, w, c_in] = dims;
    let (image, pad) = (h.div_ceil(2) * w.div_ceil(2) * c_out, (c_out - c_in) / 2);
    let mut y = vec![T::zero(); batch * image];
    y.par_chunks_mut(image).zip(x.par_chunks(h * w * c_in)).for_each(|(y, x)| {
        for (from, to) in subsampled(h, w) {
            y[to * c_out + pad..][..c_in].copy_from_slice(&x[from * c_in..][..c_in]);
        }
    });
    y
}

pub(crate) fn shortcut_backward<T: Scalar>(dy: &[T], dims: [usize; 4], c_out: usize) -> Vec<T> {
    let [batch, h, w, c_in] = dims;
    let (image, pad) = (h.div_ceil(2) * w.div_ceil(2) * c_out, (c_out - c_in) / 2);
    let mut dx = vec![T::zero(); batch * h * w * c_in];
    dx.par_chunks_mut(h * w * c_in).zip(dy.par_chunks(image)).for_each(|(dx, dy)| {
        for (from, to) in subsampled(h, w) {
            dx[from * c_in..][..c_in].copy_from_slice(&dy[to * c_out + pad..][..c_in]);
        }
    });
    dx
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By definition, for windows that overlap, reach into the padding or leave pixels out, and channels that no vector divides.
    #[test]
    fn pooling_and_its_gradients_follow_the_definition() {
        for (kernel, stride, padding, c) in [(2, 2, 0, 16), (3, 2, 1, 3), (3, 1, 1, 20), (2, 3, 1, 1)] {
            let (batch, height, width) = (2, 6, 7);
            let s = PoolShape::new((batch, height, width, c), kernel, stride, padding).expect("windows fit");
            let [_, out_height, out_width, _] = s.out_dims();
            let x: Vec<f64> = (0..batch * height * width * c).map(|i| (i * 37 % 101) as f64 - 50.0).collect();
            let (y, winners) = max_pool2d(&s, &x);
            let dy: Vec<f64> = (0..y.len()).map(|i| (i * 31 % 103) as f64 - 50.0).collect();
            let (dx, mean, dmean) =
                (max_pool2d_backward(&s, &winners, &dy), avg_pool2d(&s, &x), avg_pool2d_backward(&s, &dy));
            let [mut expected, mut expected_mean] = [(); 2].map(|()| vec![0.0; x.len()]);
            for (at, (y, mean)) in y.iter().zip(mean).enumerate() {
                let (image, oy, ox, channel) =
                    (at / c / out_width / out_height, at / c / out_width % out_height, at / c % out_width, at % c);
                let window: Vec<usize> = (0..kernel * kernel)
                    .filter_map(|place| {
                        let y = (oy * stride + place / kernel).checked_sub(padding).filter(|y| *y < height)?;
                        let x = (ox * stride + place % kernel).checked_sub(padding).filter(|x| *x < width)?;
                        Some(((image * height + y) * width + x) * c + channel)
                    })
                    .collect();
                let winner = window.iter().copied().reduce(|best, i| if x[i] > x[best] { i } else { best });
                let winner = winner.expect("a pixel in every window");
                assert_eq!(*y, x[winner], "{s:?}, value {at}");
                expected[winner] += dy[at];
                let scale = 1.0 / (kernel * kernel) as f64;
                assert!((mean - scale * window.iter().map(|i| x[*i]).sum::<f64>()).abs() < 1e-12, "{s:?}, mean {at}");
                window.iter().for_each(|i| expected_mean[*i] += dy[at] * scale);
            }
            assert_eq!(dx, expected, "{s:?}");
            assert!(dmean.iter().zip(&expected_mean).all(|(a, b)| (a - b).abs() < 1e-12), "{s:?}");
        }
    }

    #[test]
    fn a_nan_wins_its_windows() {
        let s = PoolShape::new((1, 2, 2, 1), 2, 2, 0).expect("windows fit");
        assert!(max_pool2d(&s, &[1.0f32, f32::NAN, 3.0, 2.0]).0[0].is_nan());
    }
}
