//! Shapes between a model's layers. Constructors take input widths from them and count
//! multiply-adds.

/// Shape of one sample: the pixels of an image, or the tokens of a text as one row of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleShape {
    /// Number of pixel rows.
    pub height: usize,
    /// Pixels per row.
    pub width: usize,
    /// Features per pixel or token.
    pub channels: usize,
}

/// Square sliding window of a convolution or pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Side in pixels.
    pub size: usize,
    /// Distance between windows, on both axes.
    pub stride: usize,
    /// Rows and columns of padding at each edge of the image.
    pub padding: usize,
}

impl Kernel {
    /// Window of odd `size`, padded so that one is centred on every pixel.
    pub const fn centred(size: usize) -> Self {
        Self { size, stride: 1, padding: size / 2 }
    }

    /// Adjacent windows without overlap or padding.
    pub const fn tiles(size: usize) -> Self {
        Self { size, stride: size, padding: 0 }
    }

    /// Sets the stride.
    pub const fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }
}

impl SampleShape {
    /// Shape of an image [channels, height, width].
    pub fn image([channels, height, width]: [usize; 3]) -> Self {
        Self { height, width, channels }
    }

    /// Shape of a text of this many tokens.
    pub fn text(tokens: usize, channels: usize) -> Self {
        Self { height: 1, width: tokens, channels }
    }

    /// Number of pixels or tokens.
    pub fn positions(&self) -> usize {
        self.height * self.width
    }

    /// One position that holds the features of all positions.
    pub fn flattened(&self) -> Self {
        Self { height: 1, width: 1, channels: self.positions() * self.channels }
    }

    /// One position pooled from all positions.
    pub fn pooled_globally(&self) -> Self {
        Self { height: 1, width: 1, ..*self }
    }

    /// One position per window of `kernel`.
    pub fn windows(&self, kernel: Kernel) -> Self {
        let Kernel { size, stride, padding } = kernel;
        let out = |length: usize| (length + 2 * padding).saturating_sub(size) / stride + 1;
        Self { height: out(self.height), width: out(self.width), ..*self }
    }
}
