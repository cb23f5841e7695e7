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

    /// Triples (output pixel, index in its window, input pixel), window by window; the padding is
    /// left out.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let Self { height, width, kernel, stride, padding } = *self;
        let (out_height, out_width) = self.out();
        let inside = move |at: usize, length: usize| at.checked_sub(padding).filter(|at| *at < length);
        (0..out_height * out_width).flat_map(move |out| {
            let (oy, ox) = (out / out_width * stride, out % out_width * stride);
            (0..kernel * kernel).filter_map(move |place| {
                let y = inside(oy + place / kernel, height)?;
                let x = inside(ox + place % kernel, width)?;
                Some((out, place, y * width + x))
            })
        })
    }
}
