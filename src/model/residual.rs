//! Common parts of residual networks: a convolution with batch normalisation, and a residual block.

use crate::nn::{BatchNorm, Conv2d, Kernel, Node, ParamsBuilder, Pass, SampleShape, add_relu};

/// A convolution followed by batch normalisation.
pub(super) struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    /// Declares `prefix.conv{index}` and `prefix.bn{index}`.
    pub(super) fn numbered(
        params: &mut ParamsBuilder,
        (prefix, index): (&str, usize),
        x: &mut SampleShape,
        c_out: usize,
        kernel: Kernel,
        relu: bool,
    ) -> Self {
        let [conv, norm] = ["conv", "bn"].map(|part| format!("{prefix}{part}{index}"));
        Self::new(params, [&conv, &norm], x, c_out, kernel, relu)
    }

    fn new(
        params: &mut ParamsBuilder,
        [conv, norm]: [&str; 2],
        x: &mut SampleShape,
        c_out: usize,
        kernel: Kernel,
        relu: bool,
    ) -> Self {
        let conv = Conv2d::new(params, conv, x, c_out, kernel);
        Self { conv, norm: BatchNorm::new(params, norm, c_out, relu) }
    }

    pub(super) fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        self.norm.forward(&self.conv.forward(x, pass)?, pass)
    }
}

/// Residual block: a sequence of convolutions, added to their input or its projection, then
/// rectified.
pub(super) struct Block {
    convs: Vec<ConvNorm>,
    downsample: Option<ConvNorm>,
}

impl Block {
    /// Declares convolutions `name.conv1`, `name.conv2`, ... with these output channels and
    /// kernels, all rectified but the last. If they change the shape, a 1x1 convolution
    /// `name.downsample` projects their input.
    pub(super) fn new(params: &mut ParamsBuilder, name: &str, x: &mut SampleShape, convs: &[(usize, Kernel)]) -> Self {
        let mut input = *x;
        let prefix = format!("{name}.");
        let stride: usize = convs.iter().map(|(_, kernel)| kernel.stride).product();
        let conv = |(&(c_out, kernel), index): (&(usize, Kernel), usize)| {
            ConvNorm::numbered(params, (&prefix, index), x, c_out, kernel, index < convs.len())
        };
        let convs = convs.iter().zip(1..).map(conv).collect();
        let downsample = (stride > 1 || input.channels != x.channels).then(|| {
            let [conv, norm] = [0, 1].map(|i| format!("{name}.downsample.{i}"));
            let kernel = Kernel::centred(1).stride(stride);
            ConvNorm::new(params, [&conv, &norm], &mut input, x.channels, kernel, false)
        });
        Self { convs, downsample }
    }

    pub(super) fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let mut y = x.clone();
        for conv in &self.convs {
            y = conv.forward(&y, pass)?;
        }
        let identity = match &self.downsample {
            Some(conv) => conv.forward(x, pass)?,
            None => x.clone(),
        };
        add_relu(&y, &identity, pass)
    }
}
