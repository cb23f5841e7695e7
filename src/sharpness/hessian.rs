//! Hessian of a loss as an operator: products by central differences of gradients.

use candle_core::DType;
use nalgebra::DVector;

use super::operator::{Operator, add_scaled, dot, norm};
use crate::error::Result;
use crate::nn::Scalar;

/// A loss with its gradient. Evaluation must not change any state, since the Hessian is that of a
/// fixed function.
pub trait GradientAt<T> {
    /// Writes the gradient at `weights` to `gradient`; returns the loss.
    ///
    /// # Errors
    /// When the gradient cannot be computed.
    fn gradient(&mut self, weights: &[T], gradient: &mut Vec<T>) -> Result<f64>;
}

/// Hessian H at given weights. `H v = (g(w + h u) - g(w - h u)) |v| / 2h` with u = v / |v|: two
/// gradients per product.
pub struct Hessian<'a, T> {
    loss: &'a mut dyn GradientAt<T>,
    weights: &'a [T],
    step: f64,
    free: Option<&'a [bool]>,
    moved: Vec<T>,
    gradients: [Vec<T>; 2],
}

/// Step length h of a difference relative to the norm of the weights, in f32. The truncation error
/// falls with h^2 and the rounding error grows with 1 / h; this is about where they meet on the
/// networks here (docs/edge.md).
const RELATIVE_STEP: f64 = 1e-3;
/// Relative step length in f64.
const RELATIVE_STEP_F64: f64 = 1e-6;

impl<'a, T: Scalar> Hessian<'a, T> {
    /// Creates the Hessian at `weights`.
    pub fn new(loss: &'a mut dyn GradientAt<T>, weights: &'a [T]) -> Self {
        let length = weights.iter().map(|w| w.to_f64().powi(2)).sum::<f64>().sqrt();
        let relative = if T::DTYPE == DType::F64 { RELATIVE_STEP_F64 } else { RELATIVE_STEP };
        let step = relative * if length > 0.0 { length } else { 1.0 };
        Self { loss, weights, step, free: None, moved: Vec::new(), gradients: Default::default() }
    }

    /// Restricts it to the block of the `free` weights; the others stay fixed.
    #[must_use]
    pub fn of(self, free: Option<&'a [bool]>) -> Self {
        Self { free, ..self }
    }

    /// Step length h.
    pub fn step(&self) -> f64 {
        self.step
    }

    /// Writes the gradient at `weights + at u` to one of the two buffers.
    fn difference(&mut self, direction: &DVector<f64>, at: f64, place: usize) -> Result<()> {
        self.moved.clear();
        self.moved.extend(self.weights.iter().zip(direction.iter()).map(|(w, u)| T::from_f64(w.to_f64() + at * u)));
        self.loss.gradient(&self.moved, &mut self.gradients[place])?;
        Ok(())
    }
}

impl<T: Scalar> Operator for Hessian<'_, T> {
    fn dimension(&self) -> usize {
        self.weights.len()
    }

    fn apply(&mut self, v: &DVector<f64>) -> Result<DVector<f64>> {
        let mut direction = v.clone();
        self.restrict(&mut direction);
        let length = norm(&direction);
        if length == 0.0 {
            return Ok(direction);
        }
        direction /= length;
        for (place, at) in [self.step, -self.step].into_iter().enumerate() {
            self.difference(&direction, at, place)?;
        }
        let [plus, minus] = &self.gradients;
        let scale = length / (2.0 * self.step);
        let pairs = plus.iter().zip(minus);
        let mut product = DVector::from_iterator(v.len(), pairs.map(|(p, m)| (p.to_f64() - m.to_f64()) * scale));
        self.restrict(&mut product);
        Ok(product)
    }

    fn restrict(&self, v: &mut DVector<f64>) {
        if let Some(free) = self.free {
            v.iter_mut().zip(free).filter(|(_, free)| !**free).for_each(|(v, _)| *v = 0.0);
        }
    }
}

/// Matrix `A = H + c H M H` by which a sparse SAM step multiplies a quadratic's weights. M is the
/// mask, and c the radius over the divisor of the ascent step (docs/edge.md). With everything live
/// it is SAM's.
pub struct AscentOperator<'a> {
    /// Hessian H.
    pub hessian: &'a mut dyn Operator,
    /// Live weights.
    pub live: &'a [bool],
    /// Scale c.
    pub scale: f64,
}

impl AscentOperator<'_> {
    /// Returns `u' H u` and `c u' H M H u`, which sum to `u' A u`, using one product.
    ///
    /// # Errors
    /// When the product fails.
    pub fn parts(&mut self, u: &DVector<f64>) -> Result<[f64; 2]> {
        let image = self.hessian.apply(u)?;
        let live = masked(&image, self.live);
        Ok([dot(u, &image), self.scale * dot(&live, &live)])
    }
}

impl Operator for AscentOperator<'_> {
    fn dimension(&self) -> usize {
        self.live.len()
    }

    fn apply(&mut self, v: &DVector<f64>) -> Result<DVector<f64>> {
        let mut image = self.hessian.apply(v)?;
        let masked = masked(&image, self.live);
        add_scaled(&mut image, self.scale, &self.hessian.apply(&masked)?);
        Ok(image)
    }

    fn restrict(&self, v: &mut DVector<f64>) {
        self.hessian.restrict(v);
    }
}

/// `M v`.
pub(super) fn masked(v: &DVector<f64>, live: &[bool]) -> DVector<f64> {
    DVector::from_iterator(v.len(), v.iter().zip(live).map(|(v, live)| if *live { *v } else { 0.0 }))
}
