//! CPU kernels on contiguous slices, images channels-last, for f32 (training) and f64 (gradient checks).
//!
//! Kernels map slices to slices and know nothing of tensors, models or training. Every reduction
//! runs in an order fixed by the shapes alone, so results are bit-identical for any number of
//! threads. This is the only package that may contain `unsafe`, apart from an option of the program's
//! allocator.
//!
//! # Kernels are compiled in this package alone
//!
//! A generic function is compiled by the package that calls it, at that package's optimization
//! level. Kernels are fast only at the highest level and in one codegen unit, so this package
//! compiles each kernel itself, for both types. Everything that loops over data is `pub(crate)` and
//! has a line in `instances.rs`, which generates a public function that calls the compiled code.
//! Public methods of public types are either not generic or touch no data.
#![allow(
    unsafe_code,
    reason = "calls into the gemm crate and unchecked loads in inner loops; each has a SAFETY comment"
)]

mod activation;
mod attention;
mod batch_norm;
mod conv;
mod diagonal;
mod dropout;
mod embedding;
mod flops;
mod gather;
mod gemm;
mod instances;
mod lanes;
mod layer_norm;
mod linear;
mod loss;
mod math;
mod moments;
mod output;
mod photograph;
mod pixels;
mod pool;
mod scratch;
mod select;
mod shape;
mod simd;
mod source;
mod tile;
mod vector;
mod windows;
mod work;

pub use attention::AttentionShape;
pub use batch_norm::{BatchNormGrad, ChannelStats, Statistics, batch_norm_backward, normalisation};
pub use conv::{ConvShape, InputGrad, WeightGrad};
pub use flops::FlopCount;
pub use gemm::peak;
pub use instances::*;
pub use layer_norm::{LayerNormGrad, RowStats};
pub use linear::LinearShape;
pub use moments::{Measure, Moments};
pub use photograph::{crop_and_resize, planes};
pub use pixels::{PaddedCrop, centre, normalise};
pub use pool::{GeometryError, PoolShape};
pub use select::top_k;
pub use simd::Scalar;
pub use source::{Line, Source};
pub use vector::{
    AdamWStep, SgdStep, adamw_step, combine, dot, dot_f64, masked_norm, norm, perturb, scale_by_magnitude, sgd_step,
};
pub use windows::Windows;
pub use work::reference_work;
