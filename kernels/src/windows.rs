//! Square windows that slide over images.

/// The geometry of windows: equal stride and padding on both axes.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// Height of the images.
    pub height: usize,
    /// Width of the images.
    pub width: usize,
    /// Height and width of a window.
    pub kernel: usize,
    /// Pixels from a window to the next.
    pub stride: usize,
    /// Pixels around the images.
    pub padding: usize,
}

impl Windows {
    /// Output height and width.
    pub fn out(&self) -> (usize, usize) {
        let out = |length: usize| (length + 2 * self.padding - self.kernel) / self.stride + 1;
        (out(self.height), out(self.width))
    }

    /// Places of a window.
    pub fn places(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Whether a window is a pixel, and each pixel has one.
    pub fn is_pixelwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }

    /// (output pixel, place in its window, input pixel), window by window; places in the padding are left out.
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
