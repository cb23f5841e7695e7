//! The base step: how the weights follow a direction. SAM and its variants only choose the direction, so each works under every base
//! step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sharpbench_kernels::{AdamWStep, SgdStep, adamw_step, sgd_step};

/// Added to the root of AdamW's average square (PyTorch's default).
const ADAMW_EPSILON: f32 = 1e-8;

/// Base step of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseSpec {
    /// SGD with momentum and coupled weight decay.
    #[default]
    Sgd,
    /// AdamW; the momentum is its beta1.
    Adamw {
        /// Decay rate of the average of the squared gradient.
        beta2: f64,
    },
}

/// Base step, as named in a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BaseName {
    /// SGD with momentum and coupled weight decay.
    Sgd,
    /// AdamW: averages of the gradient and of its square, decoupled weight decay.
    Adamw,
}

impl BaseSpec {
    /// Name in a suite.
    pub fn name(self) -> BaseName {
        match self {
            Self::Sgd => BaseName::Sgd,
            Self::Adamw { .. } => BaseName::Adamw,
        }
    }
}

/// A base step with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BaseStep {
    /// SGD.
    Sgd(Sgd),
    /// AdamW.
    AdamW(AdamW),
}

/// SGD with momentum and coupled weight decay, with PyTorch's semantics (torch.optim.SGD, dampening 0).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Momentum mu; 0 for none.
    pub momentum: f32,
    /// Step with g + mu v in place of v.
    pub nesterov: bool,
    /// Weight decay on every parameter, added to the gradient as a multiple of the weight.
    pub weight_decay: f32,
}

/// AdamW (Loshchilov and Hutter 2019), with PyTorch's semantics (torch.optim.AdamW, epsilon 1e-8).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay rates of the averages of the gradient and of its square.
    pub betas: [f32; 2],
    /// Decoupled weight decay on every parameter.
    pub weight_decay: f32,
}

/// What a base step keeps between steps.
#[derive(Clone, Debug, PartialEq)]
pub struct BaseState {
    /// SGD's momentum buffer, AdamW's average of the gradient.
    velocity: Vec<f32>,
    /// AdamW's average of the squared gradient; empty for SGD.
    squares: Vec<f32>,
}

impl BaseState {
    /// The momentum buffer or average gradient.
    pub fn velocity(&self) -> &[f32] {
        &self.velocity
    }

    /// Everything that a checkpoint stores, by name.
    pub fn kept(&mut self) -> Vec<(String, &mut Vec<f32>)> {
        let squares = (!self.squares.is_empty()).then(|| ("squares".to_string(), &mut self.squares));
        std::iter::once(("velocity".to_string(), &mut self.velocity)).chain(squares).collect()
    }
}

impl BaseStep {
    /// State before the first step, for `n` scalars.
    pub fn state(&self, n: usize) -> BaseState {
        let squares = if matches!(self, Self::AdamW(_)) { vec![0.0; n] } else { Vec::new() };
        BaseState { velocity: vec![0.0; n], squares }
    }

    /// Follows `direction` with learning rate `lr`, after `taken` steps.
    ///
    /// SGD: v <- mu v + (d + wd w) and w <- w - lr v, or with Nesterov w <- w - lr (d + wd w + mu v).
    ///
    /// AdamW: m <- b1 m + (1 - b1) d, v <- b2 v + (1 - b2) d^2 and, in the t-th step,
    /// w <- (1 - lr wd) w - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + 1e-8).
    pub fn follow(&self, state: &mut BaseState, weights: &mut [f32], direction: &[f32], (lr, taken): (f32, usize)) {
        let BaseState { velocity, squares } = state;
        match *self {
            Self::Sgd(Sgd { momentum, nesterov, weight_decay }) => {
                sgd_step(SgdStep { lr, momentum, nesterov, weight_decay }, weights, direction, velocity);
            }
            Self::AdamW(AdamW { betas, weight_decay }) => {
                let step = AdamWStep { lr, betas, epsilon: ADAMW_EPSILON, weight_decay, taken };
                adamw_step(step, weights, direction, velocity, squares);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weights [1, -2] after two steps of learning rate .1 with gradients [.5, 1] and [-1, .25].
    fn two_steps(base: BaseStep) -> Vec<f32> {
        let (mut state, mut w) = (base.state(2), vec![1.0, -2.0]);
        base.follow(&mut state, &mut w, &[0.5, 1.0], (0.1, 0));
        base.follow(&mut state, &mut w, &[-1.0, 0.25], (0.1, 1));
        w
    }

    fn sgd(nesterov: bool) -> BaseStep {
        BaseStep::Sgd(Sgd { momentum: 0.9, nesterov, weight_decay: 0.01 })
    }

    fn assert_close(found: &[f32], expected: [f64; 2]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} against {expected}");
        }
    }

    /// Oracle: torch.optim.SGD([w], lr=.1, momentum=.9, weight_decay=.01) in float64.
    #[test]
    fn sgd_follows_the_definition() {
        assert_close(&two_steps(sgd(false)), [1.002151, -2.209102]);
    }

    /// Oracle: torch.optim.SGD([w], lr=.1, momentum=.9, weight_decay=.01, nesterov=True) in float64.
    #[test]
    fn nesterov_looks_ahead() {
        assert_close(&two_steps(sgd(true)), [1.05007411, -2.30892622]);
    }

    /// Oracle: torch.optim.AdamW([w], lr=.1, betas=(.8, .95), weight_decay=.1) in float64.
    #[test]
    fn adamw_follows_the_definition() {
        assert_close(
            &two_steps(BaseStep::AdamW(AdamW { betas: [0.8, 0.95], weight_decay: 0.1 })),
            [0.92294306, -2.14015368],
        );
    }
}
