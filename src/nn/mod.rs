//! Layers with their own automatic differentiation: values are candle tensors, the tape is ours.
//!
//! candle's autograd is not used: its backward pass allocates zeros for every gradient and adds to
//! them, computes gradients that are not required, and cannot skip what a mask makes superfluous.
//! Here a layer records exactly the work that is required. Weights are arguments of a pass, never
//! held by layers. A perturbed copy of the weights is just another argument, so nothing has to be
//! restored after a SAM ascent step.

mod device;
mod init;
mod layers;
mod objective;
mod params;
mod plan;
mod running;
mod sample_shape;
mod scalar;
mod slices;
mod tape;
#[cfg(test)]
mod tests;
mod weights;
mod weights_file;

pub use device::gemm_peak;
pub(crate) use init::default_init;
pub use layers::{
    Attention, BatchNorm, Bias, Conv2d, Embedding, LayerNorm, Linear, Positions, add, add_relu, avg_pool2d,
    channels_last, diagonal, dropout, flatten, gelu, global_avg_pool, global_max_pool, max_pool2d, relu, rows,
    shortcut,
};
pub use objective::{Loss, Objective, ObjectiveName};
pub use params::{ParamId, ParamLayout, ParamSpec, ParamsBuilder, RunningId};
pub use plan::BackwardPlan;
pub use running::RunningStats;
pub use sample_shape::{Kernel, SampleShape};
pub use scalar::Scalar;
pub use sharpbench_kernels::FlopCount;
pub use tape::{BatchNormMode, Node, Pass, Prefix};
pub use weights::Weights;
pub use weights_file::{assemble, from_safetensors, to_safetensors};
