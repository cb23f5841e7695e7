//! Layers. Each declares its parameters and multiply-adds on construction, computes the forward
//! pass, and records its backward pass.

mod activation;
mod attention;
mod batch_norm;
mod bias;
mod conv;
mod diagonal;
mod dropout;
mod embedding;
mod layer_norm;
mod linear;
mod pool;
mod shape;

pub use activation::{add, add_relu, gelu, relu};
pub use attention::Attention;
pub use batch_norm::BatchNorm;
pub use bias::Bias;
pub use conv::Conv2d;
pub use diagonal::diagonal;
pub use dropout::dropout;
pub use embedding::{Embedding, Positions};
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use pool::{avg_pool2d, global_avg_pool, global_max_pool, max_pool2d, shortcut};
pub use shape::{channels_last, flatten, rows};

/// Calls a generic function with the type of the values.
macro_rules! by_dtype {
    ($value:expr, $f:ident($($arg:expr),*)) => {
        if $value.raw.dtype() == candle_core::DType::F64 { $f::<f64>($($arg),*) } else { $f::<f32>($($arg),*) }
    };
}
use by_dtype;
