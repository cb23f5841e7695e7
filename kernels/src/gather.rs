//! Gathers selected channels of a value, for masks that leave few channels live.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::output::write;
use super::scratch::with_scratch;
use super::simd::{Scalar, arch};
use super::source::Source;

/// Pixels per task.
const PIXELS: usize = 256;

/// Gathers `x` [pixels, channels] into [pixels, live channels].
pub(crate) fn gather<T: Scalar>(x: &Source<'_, T>, channels: usize, live: &[usize]) -> Vec<T> {
    let pixels = x.len() / channels;
    write(pixels * live.len(), |out| {
        out.par_chunks_mut(PIXELS * live.len()).enumerate().for_each(|(i, out)| {
            let place = (i * PIXELS * channels, out.len() / live.len(), channels);
            with_scratch(place.1 * channels, |scratch| arch().dispatch(Gather { x, place, live, scratch, out }));
        });
    })
}

struct Gather<'a, T> {
    x: &'a Source<'a, T>,
    /// First value, pixels, channels.
    place: (usize, usize, usize),
    live: &'a [usize],
    scratch: &'a mut [T],
    out: &'a mut [T],
}

impl<T: Scalar> WithSimd for Gather<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, place, live, scratch, out } = self;
        x.read(simd, place, scratch, place.2);
        for (out, pixel) in out.chunks_exact_mut(live.len()).zip(scratch.chunks_exact(place.2)) {
            out.iter_mut().zip(live).for_each(|(out, c)| *out = pixel[*c]);
        }
    }
}
