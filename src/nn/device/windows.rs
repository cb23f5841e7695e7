//! Windows as index tables, so that a convolution or pooling gathers all of them at once.

use candle_core::{Device, Tensor};
use sharpbench_kernels::Windows;

use crate::error::{Error, Result};

/// Indices of the pixels to read, in order.
pub(super) struct Table {
    index: Tensor,
    /// Whether it contains the index after the last pixel, which stands for everything outside the
    /// image.
    padded: bool,
}

impl Table {
    /// For each output pixel and each place of its window, the input pixel there.
    pub(super) fn reads(windows: &Windows, device: &Device) -> Result<Self> {
        let ((out_height, out_width), places) = (windows.out(), windows.places());
        let pairs = windows.pairs().map(|(out, place, pixel)| (out * places + place, pixel));
        Self::new(out_height * out_width * places, windows.height * windows.width, pairs, device)
    }

    /// For each input pixel and each place of a window, the output pixel whose window has it at
    /// this place.
    pub(super) fn readers(windows: &Windows, device: &Device) -> Result<Self> {
        let ((out_height, out_width), places) = (windows.out(), windows.places());
        let pairs = windows.pairs().map(|(out, place, pixel)| (pixel * places + place, out));
        Self::new(windows.height * windows.width * places, out_height * out_width, pairs, device)
    }

    /// [`Table::readers`] as indices into a table of all places of all windows.
    pub(super) fn reader_places(windows: &Windows, device: &Device) -> Result<Self> {
        let ((out_height, out_width), places) = (windows.out(), windows.places());
        let pairs = windows.pairs().map(|(out, place, pixel)| (pixel * places + place, out * places + place));
        Self::new(windows.height * windows.width * places, out_height * out_width * places, pairs, device)
    }

    /// Table of `len` entries: those given with their index, and `pixels` (outside) for all others.
    fn new(len: usize, pixels: usize, entries: impl Iterator<Item = (usize, usize)>, device: &Device) -> Result<Self> {
        let outside = u32::try_from(pixels)
            .map_err(|_| Error::Usage(format!("an image of {pixels} pixels is too large for this device")))?;
        let mut index = vec![outside; len];
        for (place, pixel) in entries {
            index[place] = pixel as u32;
        }
        let padded = index.contains(&outside);
        Ok(Self { index: Tensor::new(index, device)?, padded })
    }

    /// Gathers [batch, pixels, channels] into [batch, entries, channels], with `outside` for the
    /// pixel after the last.
    pub(super) fn read(&self, x: &Tensor, outside: f64) -> Result<Tensor> {
        let (batch, _, channels) = x.dims3()?;
        let values = batch as u64 * self.index.elem_count() as u64 * channels as u64;
        // Kernels index in 32 bits, and overflow silently beyond that.
        if values > u64::from(u32::MAX) {
            return Err(Error::Usage(format!(
                "a layer would read {values} values at once, more than this device can count; use a smaller batch"
            )));
        }
        let padded = if self.padded {
            let edge = Tensor::full(outside, (batch, 1, channels), x.device())?.to_dtype(x.dtype())?;
            Tensor::cat(&[x, &edge], 1)?
        } else {
            x.contiguous()?
        };
        Ok(padded.index_select(&self.index, 1)?)
    }
}
