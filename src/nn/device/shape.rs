//! Conversion of layouts.

use crate::error::Result;
use crate::nn::tape::{Node, Pass};

/// Transposes input images [batch, c, h, w] to [batch, h, w, c].
pub(in crate::nn) fn channels_last(x: &Node, pass: &Pass<'_>) -> Result<Node> {
    pass.input(x.raw.permute((0, 2, 3, 1))?.contiguous()?)
}
