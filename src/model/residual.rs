//! What residual networks share: a convolution with its batch normalisation, and a builder that counts as it declares.

use crate::flops::conv2d_macs;
use crate::nn::{BatchNorm, Conv2d, Node, ParamLayout, ParamsBuilder, Pass};

/// A convolution yet to be built: its names and its geometry.
pub(super) struct ConvPlan {
    pub(super) conv: String,
    /// Name of the batch normalisation that follows.
    pub(super) norm: String,
    pub(super) c_in: usize,
    pub(super) c_out: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) relu: bool,
}

/// A convolution and the batch normalisation that follows it. Padding keeps the size, but for the stride.
pub(super) struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvPlan {
    /// `prefix.conv{index}` and `prefix.bn{index}`.
    pub(super) fn numbered(prefix: &str, index: usize, (c_in, c_out): (usize, usize), kernel: usize) -> Self {
        let (conv, norm) = (format!("{prefix}conv{index}"), format!("{prefix}bn{index}"));
        Self { conv, norm, c_in, c_out, kernel, stride: 1, relu: true }
    }

    /// The 1x1 convolution beside a block that changes the shape.
    pub(super) fn downsample(block: &str, (c_in, c_out): (usize, usize), stride: usize) -> Self {
        let (conv, norm) = (format!("{block}.downsample.0"), format!("{block}.downsample.1"));
        Self { conv, norm, c_in, c_out, kernel: 1, stride, relu: false }
    }

    pub(super) fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    pub(super) fn without_relu(self) -> Self {
        Self { relu: false, ..self }
    }

    pub(super) fn declare(&self, params: &mut ParamsBuilder) {
        Conv2d::declare(params, &self.conv, self.c_in, self.c_out, self.kernel);
        BatchNorm::declare(params, &self.norm, self.c_out);
    }

    /// Multiply-adds on a square or other image of `size`, which becomes that of the output.
    pub(super) fn macs(&self, size: &mut (usize, usize)) -> u64 {
        *size = (size.0.div_ceil(self.stride), size.1.div_ceil(self.stride));
        conv2d_macs(self.c_in, self.c_out, self.kernel, size.0 * size.1)
    }

    pub(super) fn build(&self, layout: &ParamLayout) -> ConvNorm {
        ConvNorm {
            conv: Conv2d::new(layout, &self.conv, self.stride, self.kernel / 2),
            norm: BatchNorm::new(layout, &self.norm, self.relu),
        }
    }
}

impl ConvNorm {
    pub(super) fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        self.norm.forward(&self.conv.forward(x, pass)?, pass)
    }
}

/// A residual block: convolutions one after another, added to their input or to its projection, then rectified.
pub(super) struct BlockPlan {
    pub(super) convs: Vec<ConvPlan>,
    pub(super) downsample: Option<ConvPlan>,
}

/// A residual block.
pub(super) struct Block {
    convs: Vec<ConvNorm>,
    downsample: Option<ConvNorm>,
}

impl BlockPlan {
    pub(super) fn declare(&self, params: &mut ParamsBuilder) {
        self.convs.iter().chain(&self.downsample).for_each(|conv| conv.declare(params));
    }

    /// As [`ConvPlan::macs`].
    pub(super) fn macs(&self, size: &mut (usize, usize)) -> u64 {
        let beside = self.downsample.as_ref().map_or(0, |conv| conv.macs(&mut size.clone()));
        beside + self.convs.iter().map(|conv| conv.macs(size)).sum::<u64>()
    }

    pub(super) fn build(&self, layout: &ParamLayout) -> Block {
        Block {
            convs: self.convs.iter().map(|conv| conv.build(layout)).collect(),
            downsample: self.downsample.as_ref().map(|conv| conv.build(layout)),
        }
    }
}

impl Block {
    pub(super) fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node> {
        let mut y = x.clone();
        for conv in &self.convs {
            y = conv.forward(&y, pass)?;
        }
        let identity = match &self.downsample {
            Some(conv) => conv.forward(x, pass)?,
            None => x.clone(),
        };
        crate::nn::add_relu(&y, &identity, pass)
    }
}
