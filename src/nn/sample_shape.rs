//! Shapes between the layers of a model, from which constructors take input widths and count multiply-adds.

/// Shape of one sample: the pixels of an image, or the tokens of a text as one row of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleShape {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Features of a pixel or token.
    pub channels: usize,
}

/// A square window that slides over images: of a convolution or a pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its side.
    pub size: usize,
    /// Distance between windows, on both axes.
    pub stride: usize,
    /// Rows and columns added at each edge of the image.
    pub padding: usize,
}

impl Kernel {
    /// An odd `size`, padded so that there is a window around every pixel.
    pub const fn centred(size: usize) -> Self {
        Self { size, stride: 1, padding: size / 2 }
    }

    /// Windows side by side, without padding.
    pub const fn tiles(size: usize) -> Self {
        Self { size, stride: size, padding: 0 }
    }

    /// Changes the stride.
    pub const fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }
}

impl SampleShape {
    /// An image of [channels, height, width].
    pub fn image([channels, height, width]: [usize; 3]) -> Self {
        Self { height, width, channels }
    }

    /// A text of so many tokens.
    pub fn text(tokens: usize, channels: usize) -> Self {
        Self { height: 1, width: tokens, channels }
    }

    /// Number of pixels or tokens.
    pub fn positions(&self) -> usize {
        self.height * self.width
    }

    /// One position with the features of all of them.
    pub fn flattened(&self) -> Self {
        Self { height: 1, width: 1, channels: self.positions() * self.channels }
    }

    /// One position that stands for all of them.
    pub fn pooled_globally(&self) -> Self {
        Self { height: 1, width: 1, ..*self }
    }

    /// One position for each window of `kernel`.
    pub fn windows(&self, kernel: Kernel) -> Self {
        let Kernel { size, stride, padding } = kernel;
        let out = |length: usize| (length + 2 * padding).saturating_sub(size) / stride + 1;
        Self { height: out(self.height), width: out(self.width), ..*self }
    }
}
