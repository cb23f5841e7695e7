//! Weight files: safetensors with PyTorch's names, which PyTorch's `load_state_dict` accepts.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device};
use safetensors::tensor::{Dtype, TensorView};

use super::params::ParamLayout;
use super::running::RunningStats;
use crate::error::{Error, Result};
use crate::little_endian::bytes;

/// Serialises all parameters and running statistics as one safetensors file in f32.
///
/// # Errors
/// When serialisation fails.
pub fn to_safetensors(layout: &ParamLayout, weights: &[f32], running: &RunningStats) -> Result<Vec<u8>> {
    let parameters = layout.specs().iter().map(|s| (s.name.clone(), s.shape.clone(), &weights[s.range()]));
    let statistics = running.named().map(|(name, values)| (name, vec![values.len()], values));
    let tensors = parameters.chain(statistics);
    let views = tensors.map(|(name, shape, values)| Ok((name, TensorView::new(Dtype::F32, shape, bytes(values))?)));
    let views = views.collect::<std::result::Result<Vec<_>, _>>();
    views
        .and_then(|views| safetensors::serialize(views, None))
        .map_err(|e| Error::Usage(format!("the weights cannot be written as safetensors: {e}")))
}

/// Reads weights (flat, in name order) and running statistics from a safetensors file.
///
/// # Errors
/// Names the tensor that is missing or has another size.
pub fn from_safetensors(layout: &Arc<ParamLayout>, bytes: &[u8]) -> Result<(Vec<f32>, RunningStats)> {
    let tensors: HashMap<_, _> = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
    assemble(layout, |name| {
        let tensor = tensors.get(name).ok_or_else(|| Error::Usage(format!("the weights lack the tensor {name}")))?;
        Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    })
}

/// Assembles weights and running statistics from a function that returns a tensor's values by name.
///
/// # Errors
/// Those of `values`; or names the tensor that has another size than the model's.
pub fn assemble(
    layout: &Arc<ParamLayout>,
    values: impl Fn(&str) -> Result<Vec<f32>>,
) -> Result<(Vec<f32>, RunningStats)> {
    let sized = |name: &str, n: usize| {
        let found = values(name)?;
        if found.len() == n {
            return Ok(found);
        }
        Err(Error::Usage(format!("the tensor {name} has {} values, the model wants {n}", found.len())))
    };
    let mut weights = Vec::with_capacity(layout.len());
    for spec in layout.specs() {
        weights.extend(sized(&spec.name, spec.len())?);
    }
    let mut running = RunningStats::new(layout);
    for (i, (name, channels)) in layout.running().iter().enumerate() {
        running.mean[i] = sized(&format!("{name}.running_mean"), *channels)?;
        running.variance[i] = sized(&format!("{name}.running_var"), *channels)?;
    }
    Ok((weights, running))
}
