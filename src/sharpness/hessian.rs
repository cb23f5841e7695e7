//! The Hessian of a loss as an operator: products by central differences of gradients.

use candle_core::DType;
use nalgebra::DVector;

use super::operator::{Operator, add_scaled, dot, norm};
use crate::error::Result;
use crate::nn::Scalar;

/// A loss by its gradients. Asking must leave everything as it was: a Hessian is that of one function.
pub trait GradientAt<T> {
    /// Writes the gradient at `weights` to `gradient`; returns the loss.
    ///
    /// # Errors
    /// When it cannot be computed.
    fn gradient(&mut self, weights: &[T], gradient: &mut Vec<T>) -> Result<f64>;
}

/// The Hessian H at some weights. `H v = (g(w + h u) - g(w - h u)) |v| / 2h`, u being v / |v|: two gradients a product.
pub struct Hessian<'a, T> {
    loss: &'a mut dyn GradientAt<T>,
    weights: &'a [T],
    step: f64,
    free: Option<&'a [bool]>,
    moved: Vec<T>,
    gradients: [Vec<T>; 2],
}

/// Length h of the step of a difference over that of the weights, in f32. The error of a difference falls with h^2 and its
/// rounding grows with 1 / h; this is about where they meet on the networks here (docs/edge.md).
const RELATIVE_STEP: f64 = 1e-3;
/// The same in f64.
const RELATIVE_STEP_F64: f64 = 1e-6;

impl<'a, T: Scalar> Hessian<'a, T> {
    /// At `weights`.
    pub fn new(loss: &'a mut dyn GradientAt<T>, weights: &'a [T]) -> Self {
        let length = weights.iter().map(|w| w.to_f64().powi(2)).sum::<f64>().sqrt();
        let relative = if T::DTYPE == DType::F64 { RELATIVE_STEP_F64 } else { RELATIVE_STEP };
        let step = relative * if length > 0.0 { length } else { 1.0 };
        Self { loss, weights, step, free: None, moved: Vec::new(), gradients: Default::default() }
    }

    /// The block of the weights that are `free` alone; the others stay where they are.
    #[must_use]
    pub fn of(self, free: Option<&'a [bool]>) -> Self {
        Self { free, ..self }
    }

    /// h.
    pub fn step(&self) -> f64 {
        self.step
    }

    /// Writes the gradient at `w + at u` to one of the two places.
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

/// What a step of sparse SAM multiplies a quadratic's weights with, `A = H + c H M H`: M is the mask and c the radius over what
/// the ascent step is divided by (docs/edge.md). With everything live, SAM's.
pub struct AscentOperator<'a> {
    /// H.
    pub hessian: &'a mut dyn Operator,
    /// Live weights.
    pub live: &'a [bool],
    /// c.
    pub scale: f64,
}

impl AscentOperator<'_> {
    /// `u' H u` and `c u' H M H u`, which make up `u' A u`, with one product.
    ///
    /// # Errors
    /// When the product cannot be taken.
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
