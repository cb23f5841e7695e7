//! Convolution.

use std::rc::Rc;

use candle_nn::Init;

use super::by_dtype;
use crate::error::{Error, Result};
use crate::nn::cpu::{self, ConvShape, InputGrad, Measure, Scalar, tensor, with_slice};
use crate::nn::params::{ParamId, ParamLayout, ParamsBuilder, default_init};
use crate::nn::tape::{BatchNormMode, Gradient, Node, Pass};

/// 2-D convolution without bias (a [`super::Bias`] may follow): square kernel, zero padding. A weight for fewer input channels than there are makes
/// groups of channels that do not see one another.
pub struct Conv2d {
    weight: ParamId,
    c_out: usize,
    /// Input channels of one group.
    c_in: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// Declares `name.weight` [c_out, c_in, kernel, kernel], `c_in` the input channels of one group.
    pub fn declare(params: &mut ParamsBuilder, name: &str, c_in: usize, c_out: usize, kernel: usize) {
        Self::declare_init(params, name, (c_in, c_out, kernel), default_init(c_in * kernel * kernel));
    }

    /// The same with an initial value, for (c_in, c_out, kernel).
    pub fn declare_init(
        params: &mut ParamsBuilder,
        name: &str,
        (c_in, c_out, kernel): (usize, usize, usize),
        init: Init,
    ) {
        params.param(&format!("{name}.weight"), &[c_out, c_in, kernel, kernel], init);
    }

    /// The layer over a finished layout.
    pub fn new(layout: &ParamLayout, name: &str, stride: usize, padding: usize) -> Self {
        let weight = layout.id(&format!("{name}.weight"));
        let shape = &layout.specs()[weight.0].shape;
        Self { weight, c_out: shape[0], c_in: shape[1], kernel: shape[2], stride, padding }
    }

    /// [batch, h, w, c_in] -> [batch, oh, ow, c_out].
    pub fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        by_dtype!(x, conv2d(self, x, pass))
    }
}

fn conv2d<T: Scalar>(layer: &Conv2d, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let (batch, height, width, c_in) = x.raw.dims4()?;
    let Conv2d { weight: id, c_out, kernel, stride, padding, .. } = *layer;
    let groups = c_in / layer.c_in;
    if groups * layer.c_in != c_in || !c_out.is_multiple_of(groups.max(1)) {
        let (reads, weight) = (layer.c_in, &pass.weights.layout().specs()[id.0].name);
        return Err(Error::Usage(format!("{weight} reads {reads} channels in each group, the images have {c_in}")));
    }
    let s = ConvShape { batch, c_in, height, width, c_out, kernel, stride, padding, groups };
    let weight = pass.weights.get(id);
    // Taken in the cache, for the batch normalisation that usually follows.
    let measure = pass.batch_norm != BatchNormMode::Eval;
    let (y, moments) = x.with_source::<T, _>(|x| cpu::conv2d(&s, &x, weight, measure))?;
    let y = tensor(y, &[batch, s.out_height(), s.out_width(), c_out])?;
    let x = x.clone();
    let y = pass.record(y, move |dy, gradients| {
        let weight = gradients.weights.get(id);
        let other = gradients.take(&x).map(|other| other.value::<T>()).transpose()?;
        let mut dx = None;
        gradients.param::<T>(id, |dw| {
            let mut run = |add: Option<&[T]>, measure: Measure<'_, T>| {
                let input = x.slot.map(|_| InputGrad { add, measure });
                dx = x.with_source(|x| dy.with_source(|dy| cpu::conv2d_backward(&s, &x, &dy, weight, dw, input)))??;
                Ok(())
            };
            let mut run = |add: Option<&[T]>| match &x.normalised {
                None => run(add, Measure::Nothing),
                Some(n) => with_slice(&x.raw, |x| n.with_gate(|gate| run(add, Measure::Gradient { x, gate })))?,
            };
            match &other {
                None => run(None),
                Some(other) => with_slice(other, |other| run(Some(other)))?,
            }
        })?;
        match dx {
            None => Ok(()),
            Some((dx, moments)) => {
                gradients.add::<T>(&x, Gradient { moments, ..Gradient::plain(tensor(dx, x.dims())?) })
            }
        }
    });
    Ok(Node { moments: moments.map(Rc::new), ..y })
}
