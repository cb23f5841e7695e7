//! Square windows that slide over images.

/// The geometry of windows: equal stride and padding on both axes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Windows {
    /// Output height and width.
    pub(super) fn out(&self) -> (usize, usize) {
        let out = |length: usize| (length + 2 * self.padding - self.kernel) / self.stride + 1;
        (out(self.height), out(self.width))
    }

    /// (output pixel, place in its window, input pixel), window by window; places in the padding are left out.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (usize, usize, usize)> {
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
