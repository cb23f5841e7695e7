//! Methods beyond SAM and sparse SAM, by name.

use serde::{Deserialize, Serialize};

use super::ae_sam::AeSam;
use super::asam::Asam;
use super::esam::Esam;
use super::f_sam::FSam;
use super::gsam::Gsam;
use super::looksam::LookSam;
use super::m_sam::MSam;
use super::method::Method;
use super::sam_on::SamOn;
use crate::flops::StepCost;
use crate::nn::ParamLayout;

/// A variant of SAM and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// [`Asam`].
    Asam {
        /// Added to |w|.
        eta: f64,
    },
    /// [`Gsam`].
    Gsam {
        /// How much of the orthogonal part is taken away.
        alpha: f64,
    },
    /// [`LookSam`].
    #[serde(rename = "looksam")]
    LookSam {
        /// Weight of the kept part.
        alpha: f64,
        /// Steps from one SAM gradient to the next.
        interval: usize,
    },
    /// [`Esam`].
    Esam {
        /// Probability with which a tensor is perturbed.
        beta: f64,
        /// Part of the samples in the second gradient.
        gamma: f64,
    },
    /// [`AeSam`].
    AeSam {
        /// Part of the old averages kept at each step.
        delta: f64,
        /// c at the start and at the end.
        threshold: [f64; 2],
    },
    /// [`FSam`].
    FSam {
        /// Part of the old average kept at each step.
        lambda: f64,
        /// How much of the average is taken away.
        sigma: f64,
    },
    /// [`SamOn`].
    SamOn,
    /// [`MSam`].
    MSam {
        /// Samples of a shard.
        shard: usize,
    },
}

impl Variant {
    /// The method for a model with these parameters.
    pub fn method(&self, rho: f64, layout: &ParamLayout) -> Box<dyn Method> {
        match *self {
            Self::Asam { eta } => Box::new(Asam::new(rho, eta)),
            Self::Gsam { alpha } => Box::new(Gsam::new(rho, alpha)),
            Self::LookSam { alpha, interval } => Box::new(LookSam::new(rho, alpha, interval)),
            Self::Esam { beta, gamma } => Box::new(Esam::new(rho, beta, gamma)),
            Self::AeSam { delta, threshold } => Box::new(AeSam::new(rho, delta, threshold)),
            Self::FSam { lambda, sigma } => Box::new(FSam::new(rho, lambda, sigma)),
            Self::SamOn => Box::new(SamOn::new(rho, layout)),
            Self::MSam { shard } => Box::new(MSam::new(rho, shard)),
        }
    }

    /// What its step costs.
    pub fn cost(&self) -> StepCost {
        match *self {
            Self::Asam { .. } | Self::Gsam { .. } | Self::FSam { .. } | Self::MSam { .. } => StepCost::TWO,
            // At most: how often it takes the second gradient is known afterwards only, by the executed FLOPs.
            Self::AeSam { .. } => StepCost::TWO,
            Self::LookSam { interval, .. } => StepCost::every_nth(interval),
            Self::Esam { beta, gamma } => StepCost::part_of_samples(beta, gamma),
            // Normalisation parameters are less than a hundredth of any network here.
            Self::SamOn => StepCost::sparse(1.0),
        }
    }

    /// Its settings, with the names and values that a suite gives them.
    pub fn axes(&self) -> Vec<(&'static str, String)> {
        match *self {
            Self::Asam { eta } => vec![("eta", eta.to_string())],
            Self::Gsam { alpha } => vec![("alpha", alpha.to_string())],
            Self::LookSam { alpha, interval } => {
                vec![("alpha", alpha.to_string()), ("sam_interval", interval.to_string())]
            }
            Self::Esam { beta, gamma } => vec![("beta", beta.to_string()), ("gamma", gamma.to_string())],
            Self::AeSam { delta, threshold: [start, end] } => {
                vec![("delta", delta.to_string()), ("threshold", format!("{start} to {end}"))]
            }
            Self::FSam { lambda, sigma } => vec![("lambda", lambda.to_string()), ("sigma", sigma.to_string())],
            Self::SamOn => Vec::new(),
            Self::MSam { shard } => vec![("shard", shard.to_string())],
        }
    }
}
