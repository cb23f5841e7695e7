//! Convolution.

use std::rc::Rc;

use candle_core::Tensor;
use candle_nn::Init;
use sharpbench_kernels::{self as kernels, ConvShape, InputGrad, Measure, WeightGrad};

use super::by_dtype;
use crate::error::{Error, Result};
use crate::flops::conv2d_macs;
use crate::nn::device;
use crate::nn::init::default_init;
use crate::nn::params::{ParamId, ParamsBuilder};
use crate::nn::sample_shape::{Kernel, SampleShape};
use crate::nn::scalar::Scalar;
use crate::nn::slices::{tensor, with_slice};
use crate::nn::tape::{BatchNormMode, Gradient, Node, Normalised, Pass};

/// 2-D convolution without bias (a [`super::Bias`] may follow): square kernel, zero padding. If the
/// weight has fewer input channels than the input, the convolution is grouped.
pub struct Conv2d {
    weight: ParamId,
    c_out: usize,
    /// Input channels per group.
    c_in: usize,
    kernel: Kernel,
}

impl Conv2d {
    /// Declares `name.weight` [c_out, c_in, kernel, kernel], with PyTorch's initial values, for
    /// images of shape `x`, which becomes the output shape. For a grouped convolution, `x` has the
    /// channels of one group.
    pub fn new(params: &mut ParamsBuilder, name: &str, x: &mut SampleShape, c_out: usize, kernel: Kernel) -> Self {
        let init = default_init(x.channels * kernel.size * kernel.size);
        Self::with_init(params, name, x, c_out, kernel, init)
    }

    /// Like [`Conv2d::new`], with a different initial value.
    pub fn with_init(
        params: &mut ParamsBuilder,
        name: &str,
        x: &mut SampleShape,
        c_out: usize,
        kernel: Kernel,
        init: Init,
    ) -> Self {
        let c_in = x.channels;
        *x = SampleShape { channels: c_out, ..x.windows(kernel) };
        params.count_macs(conv2d_macs(c_in, c_out, kernel.size, x.positions()));
        let weight = params.param(&format!("{name}.weight"), &[c_out, c_in, kernel.size, kernel.size], init);
        Self { weight, c_out, c_in, kernel }
    }

    /// [batch, h, w, c_in] -> [batch, oh, ow, c_out].
    pub fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
        let s = self.shape(x, pass)?;
        pass.layer([x], &[self.weight], |[x], pass| match pass.device {
            Some(_) => device::conv2d(s, self.weight, x, pass),
            None => by_dtype!(x, conv2d(s, self.weight, x, pass)),
        })
    }

    /// Geometry for these images.
    fn shape(&self, x: &Node, pass: &Pass<'_>) -> Result<ConvShape> {
        let (batch, height, width, c_in) = x.raw.dims4()?;
        let Self { weight, c_out, kernel: Kernel { size: kernel, stride, padding }, .. } = *self;
        let groups = c_in / self.c_in;
        if groups * self.c_in != c_in || !c_out.is_multiple_of(groups.max(1)) {
            let (reads, weight) = (self.c_in, &pass.weights.layout().spec(weight).name);
            return Err(Error::Usage(format!("{weight} reads {reads} channels in each group, the images have {c_in}")));
        }
        Ok(ConvShape { batch, c_in, height, width, c_out, kernel, stride, padding, groups })
    }
}

fn conv2d<T: Scalar>(s: ConvShape, id: ParamId, x: &Node, pass: &mut Pass<'_>) -> Result<Node> {
    let weight = pass.weights.get(id);
    // Measured while in the cache, for the batch normalisation that usually follows.
    let measure = pass.batch_norm != BatchNormMode::Eval;
    let (y, moments) = x.with_source::<T, _>(|x| kernels::conv2d(&s, &x, weight, measure, &pass.flops))?;
    let y = tensor(y, &[s.batch, s.out_height(), s.out_width(), s.c_out])?;
    let slot = x.slot;
    // Only the weight gradient reads it again.
    let read = pass.owes(id).then(|| x.clone());
    // The input gradient is measured for the normalisation applied to the input.
    let seen = slot.and(x.normalised.clone()).map(|normalised| (x.raw.clone(), normalised));
    let in_dims = x.dims().to_vec();
    let y = pass.record(y, &[x], &[id], move |dy, gradients| {
        let other = gradients.take(slot).map(|other| other.value::<T>()).transpose()?;
        let wanted = slot.map(|_| Wanted { weight: gradients.input_weights.get(id), other, seen });
        let flops = gradients.flops.clone();
        let mut dx = None;
        let mut run = |dw: Option<(Option<&[usize]>, &mut [T])>, wanted: Option<Wanted<'_, T>>| -> Result<()> {
            dx = dy.with_source(|dy| match (dw, &read) {
                (Some((live, dw)), Some(x)) => x.with_source(|x| {
                    let weight = Some(WeightGrad { x: &x, dw, live });
                    with_input_grad(wanted, |input| kernels::conv2d_backward(&s, &dy, weight, input, &flops))
                })?,
                _ => with_input_grad(wanted, |input| kernels::conv2d_backward(&s, &dy, None, input, &flops)),
            })??;
            Ok(())
        };
        match (&read, s.groups) {
            (None, _) => run(None, wanted)?,
            (Some(x), _) if gradients.is_by_sample() => {
                run(None, wanted)?;
                let s = ConvShape { batch: 1, ..s };
                x.with_source(|x| {
                    dy.with_source(|dy| {
                        gradients.param::<T>(id, |part, dw| {
                            let weight = WeightGrad { x: &part.source(&x), dw, live: None };
                            kernels::conv2d_backward(&s, &part.source(&dy), Some(weight), None, &flops);
                        })
                    })
                })???;
            }
            // Computing both gradients together shares work.
            (Some(_), 1) => gradients.param_channels::<T>(id, |live, dw| run(Some((live, dw)), wanted))?,
            (Some(_), _) => gradients.param_whole::<T>(id, |dw| run(Some((None, dw)), wanted))?,
        }
        match dx {
            None => Ok(()),
            Some((dx, moments)) => {
                gradients.add::<T>(slot, Gradient { moments, ..Gradient::plain(tensor(dx, &in_dims)?) })
            }
        }
    });
    Ok(Node { moments: moments.map(Rc::new), ..y })
}

/// Input gradient of a convolution, when it is required.
struct Wanted<'a, T> {
    weight: &'a [T],
    /// Gradient contributed by other readers of the input.
    other: Option<Tensor>,
    /// Raw input and the normalisation applied to it.
    seen: Option<(Tensor, Rc<Normalised>)>,
}

/// Calls a kernel with its options for the input gradient.
fn with_input_grad<T: Scalar, R>(
    wanted: Option<Wanted<'_, T>>,
    kernel: impl FnOnce(Option<InputGrad<'_, T>>) -> R,
) -> Result<R> {
    let Some(Wanted { weight, other, seen }) = wanted else { return Ok(kernel(None)) };
    let run = |add: Option<&[T]>| match &seen {
        None => Ok(kernel(Some(InputGrad { weight, add, measure: Measure::Nothing }))),
        Some((x, n)) => with_slice(x, |x| {
            n.with_gate(|gate| kernel(Some(InputGrad { weight, add, measure: Measure::Gradient { x, gate } })))
        }),
    };
    match &other {
        None => run(None),
        Some(other) => with_slice(other, |other| run(Some(other)))?,
    }
}
