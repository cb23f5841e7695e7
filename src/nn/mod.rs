//! Layers with gradients of their own: values are candle tensors, the tape is ours.
//!
//! Why not candle's autograd: its backward allocates zeros and adds to them for every gradient, computes
//! gradients nobody asked for, and cannot be told to leave out what a mask makes superfluous. Here a layer
//! records exactly the work it owes. Weights are passed in, never held: a perturbed copy of the weights is
//! just another argument, so nothing has to be restored after a SAM ascent step.

mod device;
mod layers;
mod objective;
mod params;
mod plan;
mod prefix;
mod scalar;
mod slices;
mod tape;
#[cfg(test)]
mod tests;
mod weights_file;

pub use device::gemm_peak;
pub use layers::{
    BatchNorm, Bias, Conv2d, Embedding, LayerNorm, Linear, Positions, add, add_relu, attention, avg_pool2d,
    channels_last, diagonal, dropout, flatten, gelu, global_avg_pool, global_max_pool, max_pool2d, relu, rows,
    shortcut,
};
pub use objective::{Loss, Objective};
pub(crate) use params::default_init;
pub use params::{ParamId, ParamLayout, ParamSpec, ParamsBuilder, RunningStats, Weights};
pub use plan::BackwardPlan;
pub use prefix::Prefix;
pub use scalar::Scalar;
pub use sharpbench_kernels::FlopCount;
pub use tape::{BatchNormMode, Node, Pass};
pub use weights_file::{assemble, from_safetensors, to_safetensors};
