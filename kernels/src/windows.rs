//! Square sliding windows over images.

/// Geometry of windows: equal stride and padding on both axes.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// Image height.
    pub height: usize,
    /// Image width.
    pub width: usize,
    /// Window height and width.
    pub kernel: usize,
    /// Distance in pixels between windows.
    pub stride: usize,
    /// Width of the padding in pixels.
    pub padding: usize,
}

impl Windows {
    /// Output height and width.
    pub fn out(&self) -> (usize, usize) {
        let out = |length: usize| (length + 2 * self.padding - self.kernel) / self.stride + 1;
        (out(self.height), out(self.width))
    }

    /// Pixels per window.
    pub fn places(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Whether every window is a single pixel and every pixel has one.
    pub fn is_pixelwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }

    /// The input pixel at this place of the window of output pixel (y, x); `None` in the padding.
    #[inline(always)]
    pub fn pixel(&self, (y, x): (usize, usize), place: usize) -> Option<usize> {
        let inside = |at: usize, length: usize| at.checked_sub(self.padding).filter(|at| *at < length);
        let y = inside(y * self.stride + place / self.kernel, self.height)?;
        let x = inside(x * self.stride + place % self.kernel, self.width)?;
        Some(y * self.width + x)
    }

    /// Triples (output pixel, index in its window, input pixel), window by window; the padding is
    /// left out.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let (out_height, out_width) = self.out();
        (0..out_height * out_width * self.places()).filter_map(move |i| {
            let (out, place) = (i / self.places(), i % self.places());
            Some((out, place, self.pixel((out / out_width, out % out_width), place)?))
        })
    }
}
