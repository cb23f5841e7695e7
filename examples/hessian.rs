//! Curvature of a network of your own, written with candle's layers and its automatic differentiation: the Hessian's largest
//! eigenvalue and trace at the weights reached by gradient descent, beside the edges of stability.
//!
//!     cargo run --example hessian

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Linear, Module, loss::cross_entropy};
use sharpbench::random::{Stream, stream};
use sharpbench::sharpness::{First, GradientAt, Hessian, Lanczos, gradient_descent_edge, noise, sam_edge, trace};

/// Learning rate of gradient descent, and SAM's radius.
const ETA: f64 = 1.0;
const RHO: f64 = 0.05;

/// Two layers with tanh between them, and the points that they are to classify.
struct Network {
    vars: [Var; 4],
    points: Tensor,
    classes: Tensor,
}

impl Network {
    /// Points within the unit circle are of class 1.
    fn new() -> candle_core::Result<Self> {
        let device = &Device::Cpu;
        let grid: [[f64; 2]; 256] =
            std::array::from_fn(|i| [i % 16, i / 16].map(|position| position as f64 / 6.0 - 1.25));
        let classes = grid.map(|[x, y]| u32::from(x * x + y * y < 1.0));
        let shapes: [&[usize]; 4] = [&[16, 2], &[16], &[2, 16], &[2]];
        let var = |shape| Var::zeros(shape, DType::F64, device);
        let [a, b, c, d] = shapes.map(var);
        Ok(Self {
            vars: [a?, b?, c?, d?],
            points: Tensor::new(&grid, device)?,
            classes: Tensor::new(&classes, device)?,
        })
    }

    fn loss(&self) -> candle_core::Result<Tensor> {
        let [w1, b1, w2, b2] = self.vars.each_ref().map(|var| var.as_tensor().clone());
        let hidden = Linear::new(w1, Some(b1)).forward(&self.points)?.tanh()?;
        cross_entropy(&Linear::new(w2, Some(b2)).forward(&hidden)?, &self.classes)
    }
}

/// All that curvature needs to know of a network: the gradient of its loss as a function of one flat vector of weights.
impl GradientAt<f64> for Network {
    fn gradient(&mut self, weights: &[f64], gradient: &mut Vec<f64>) -> sharpbench::Result<f64> {
        let mut rest = weights;
        for var in &self.vars {
            let (own, after) = rest.split_at(var.elem_count());
            var.set(&Tensor::from_slice(own, var.shape(), &Device::Cpu)?)?;
            rest = after;
        }
        let loss = self.loss()?;
        let gradients = loss.backward()?;
        gradient.clear();
        for var in &self.vars {
            let of_var = gradients.get(var).map_or_else(|| var.zeros_like(), |g| Ok(g.clone()))?;
            gradient.extend(of_var.flatten_all()?.to_vec1::<f64>()?);
        }
        Ok(loss.to_scalar()?)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut network = Network::new()?;
    let mut rng = stream(1, Stream::Sharpness(0));
    let n = network.vars.iter().map(|var| var.elem_count()).sum();
    let mut weights: Vec<f64> = noise(n, &mut rng).iter().map(|x| 0.5 * x).collect();
    let mut gradient = Vec::new();
    for step in 0..=1000 {
        let loss = network.gradient(&weights, &mut gradient)?;
        if step % 200 == 0 {
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            let mut hessian = Hessian::new(&mut network, &weights);
            let top = Lanczos::top(First::Largest, 1e-4, 200).run(&mut hessian, noise(n, &mut rng))?;
            let sum = trace(&mut hessian, 10, &mut rng)?;
            println!(
                "step {step}: loss {loss:.4}, eigenvalue {:.3} ({} products), trace {:.2}, 2 / eta {:.2}, SAM's edge {:.2}",
                top.pairs[0].value,
                top.products,
                sum.value,
                gradient_descent_edge(ETA),
                sam_edge(ETA, RHO, norm),
            );
        }
        weights.iter_mut().zip(&gradient).for_each(|(w, g)| *w -= ETA * g);
    }
    Ok(())
}
