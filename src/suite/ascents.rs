//! From an entry of the grid to ascent steps: which keys an optimizer reads, and which of their combinations make sense.

use super::cell::{
    AscentSpec, BatchNormPass2, FisherMode, Grow, MaskScore, MaskSpec, OptimizerName, Refresh, RefreshName,
};
use super::expand::{Checked, below_one, fraction, non_negative, or, positive, values, within};
use super::file::{Axis, GridFile};
use crate::mask::Pattern;
use crate::optim::{Norm, Perturbation, Variant};
use OptimizerName::{AeSam, Asam, Esam, FSam, Gsam, LookSam, MSam, Sam, SamOn, Sgd, Ssam, SsamD, SsamF};

/// Refuses keys that the optimizer does not read.
pub(super) fn applicable(grid: &GridFile, name: OptimizerName) -> Checked<()> {
    let ascent: &[OptimizerName] = &[Sam, SsamF, SsamD, Ssam, Asam, Gsam, LookSam, Esam, AeSam, FSam, SamOn, MSam];
    let masked: &[OptimizerName] = &[SsamF, SsamD, Ssam];
    let keys: [(&str, bool, &[OptimizerName]); 24] = [
        ("rho", grid.rho.is_some(), ascent),
        ("rho_decay", grid.rho_decay.is_some(), ascent),
        ("batch_norm", grid.batch_norm.is_some(), ascent),
        ("sparsity", grid.sparsity.is_some(), masked),
        ("pattern", grid.pattern.is_some(), masked),
        ("mask", grid.mask.is_some(), masked),
        ("mask_interval", grid.mask_interval.is_some(), masked),
        ("norm", grid.norm.is_some(), masked),
        ("perturbation", grid.perturbation.is_some(), masked),
        ("refresh", grid.refresh.is_some(), &[SsamF, Ssam]),
        ("fisher_samples", grid.fisher_samples.is_some(), &[SsamF, Ssam]),
        ("fisher_mode", grid.fisher_mode.is_some(), &[SsamF, Ssam]),
        ("grow", grid.grow.is_some(), &[SsamD, Ssam]),
        ("drop_rate", grid.drop_rate.is_some(), &[SsamD, Ssam]),
        ("eta", grid.eta.is_some(), &[Asam]),
        ("alpha", grid.alpha.is_some(), &[Gsam, LookSam]),
        ("sam_interval", grid.sam_interval.is_some(), &[LookSam]),
        ("beta", grid.beta.is_some(), &[Esam]),
        ("gamma", grid.gamma.is_some(), &[Esam]),
        ("delta", grid.delta.is_some(), &[AeSam]),
        ("threshold", grid.threshold.is_some(), &[AeSam]),
        ("lambda", grid.lambda.is_some(), &[FSam]),
        ("sigma", grid.sigma.is_some(), &[FSam]),
        ("shard", grid.shard.is_some(), &[MSam]),
    ];
    for (key, given, readers) in keys {
        if given && !readers.contains(&name) {
            let readers: Vec<String> = readers.iter().map(ToString::to_string).collect();
            return Err(format!("{key} does not apply to {name}, only to {}; remove it", readers.join(", ")));
        }
    }
    Ok(())
}

/// What checks of an optimizer ask of its training.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Epochs.
    pub epochs: usize,
    /// Samples of a step.
    pub batch_size: usize,
    /// Training samples.
    pub train: usize,
    /// Whether the model has normalisation layers.
    pub normalised: bool,
}

/// The ascent steps of one optimizer.
pub(super) fn ascents(grid: &GridFile, name: OptimizerName, frame: Frame) -> Checked<Vec<Option<AscentSpec>>> {
    if name == Sgd {
        return Ok(vec![None]);
    }
    let rho = grid.rho.as_ref().ok_or_else(|| format!("rho is missing for {name}; add rho = 0.1"))?;
    let batch_norm = grid.batch_norm.unwrap_or(BatchNormPass2::Update);
    let rho_decay = grid.rho_decay.unwrap_or_default();
    let mut ascents = Vec::new();
    for rho in values("rho", rho)? {
        non_negative("rho", rho)?;
        for variant in variants(grid, name, frame)? {
            for mask in masks(grid, name, frame)? {
                for norm in values("norm", &or(&grid.norm, Norm::Full))? {
                    for perturbation in values("perturbation", &or(&grid.perturbation, Perturbation::Explicit))? {
                        if perturbation == Perturbation::Implicit && norm != Norm::Full {
                            return Err(
                                "perturbation = \"implicit\" perturbs all weights, so that its norm is the full \
                                        gradient's; remove norm"
                                    .into(),
                            );
                        }
                        let (mask, variant) = (mask.clone(), variant.clone());
                        ascents.push(Some(AscentSpec {
                            rho,
                            batch_norm,
                            mask,
                            norm,
                            perturbation,
                            rho_decay,
                            variant,
                        }));
                    }
                }
            }
        }
    }
    Ok(ascents)
}

/// The settings of a variant; one `None` for SAM and sparse SAM.
fn variants(grid: &GridFile, name: OptimizerName, frame: Frame) -> Checked<Vec<Option<Variant>>> {
    let mut variants = Vec::new();
    match name {
        Sgd | Sam | SsamF | SsamD | Ssam => return Ok(vec![None]),
        Asam => {
            for eta in values("eta", &or(&grid.eta, 0.01))? {
                variants.push(Variant::Asam { eta: non_negative("eta", eta)? });
            }
        }
        Gsam => {
            for alpha in values("alpha", &or(&grid.alpha, 0.1))? {
                variants.push(Variant::Gsam { alpha: non_negative("alpha", alpha)? });
            }
        }
        LookSam => {
            for alpha in values("alpha", &or(&grid.alpha, 0.7))? {
                let alpha = non_negative("alpha", alpha)?;
                for interval in values("sam_interval", &or(&grid.sam_interval, 5))? {
                    let interval = within("sam_interval", interval, 1, 100_000)?;
                    variants.push(Variant::LookSam { alpha, interval });
                }
            }
        }
        Esam => {
            for beta in values("beta", &or(&grid.beta, 0.6))? {
                let beta = fraction("beta", positive("beta", beta)?)?;
                for gamma in values("gamma", &or(&grid.gamma, 0.5))? {
                    let gamma = fraction("gamma", positive("gamma", gamma)?)?;
                    variants.push(Variant::Esam { beta, gamma });
                }
            }
        }
        AeSam => {
            let threshold = grid.threshold.unwrap_or([1.0, -1.0]);
            if threshold.iter().any(|t| !t.is_finite()) {
                return Err(format!("threshold = {threshold:?} must be two numbers"));
            }
            for delta in values("delta", &or(&grid.delta, 0.9))? {
                variants.push(Variant::AeSam { delta: below_one("delta", delta)?, threshold });
            }
        }
        FSam => {
            for lambda in values("lambda", &or(&grid.lambda, 0.9))? {
                let lambda = below_one("lambda", lambda)?;
                for sigma in values("sigma", &or(&grid.sigma, 1.0))? {
                    variants.push(Variant::FSam { lambda, sigma: non_negative("sigma", sigma)? });
                }
            }
        }
        SamOn if !frame.normalised => {
            return Err("optimizer sam-on perturbs normalisation layers, which the model has not; use another".into());
        }
        SamOn => variants.push(Variant::SamOn),
        MSam => {
            let shard = grid.shard.as_ref().ok_or("shard is missing for m-sam; add shard = 32")?;
            for shard in values("shard", shard)? {
                within("shard", shard, 1, frame.batch_size)?;
                if !frame.batch_size.is_multiple_of(shard) {
                    return Err(format!("shard = {shard} must divide schedule.batch_size = {}", frame.batch_size));
                }
                variants.push(Variant::MSam { shard });
            }
        }
    }
    Ok(variants.into_iter().map(Some).collect())
}

/// The masks of sparse SAM; one `None` for the others.
fn masks(grid: &GridFile, name: OptimizerName, frame: Frame) -> Checked<Vec<Option<MaskSpec>>> {
    let default_score = match name {
        SsamF | Ssam => MaskScore::Fisher,
        SsamD => MaskScore::Gradient,
        Sgd | Sam | Asam | Gsam | LookSam | Esam | AeSam | FSam | SamOn | MSam => return Ok(vec![None]),
    };
    let mut masks = Vec::new();
    for pattern in values("pattern", &or(&grid.pattern, Pattern::Unstructured))? {
        for sparsity in sparsities(grid, name, pattern)? {
            for score in values("mask", &or(&grid.mask, default_score))? {
                let usable = match name {
                    SsamF if score != MaskScore::Fisher => Some("fisher"),
                    SsamD if score == MaskScore::Fisher => Some("gradient, weight or random"),
                    _ => None,
                };
                if let Some(usable) = usable {
                    return Err(format!(
                        "mask = \"{score}\" cannot be used with {name}; use {usable}, or optimizer ssam"
                    ));
                }
                let of_gradient = score == MaskScore::Gradient || grid.grow.as_ref().is_some_and(reads_gradient);
                if of_gradient && grid.perturbation.as_ref().is_some_and(is_implicit) {
                    return Err(
                        "perturbation = \"implicit\" takes its first gradient through masked weights, so that masks \
                                cannot be chosen by it; use mask = \"fisher\", \"weight\" or \"random\""
                            .into(),
                    );
                }
                for refresh in refreshes(grid, (name, pattern, score), frame)? {
                    masks.push(MaskSpec { sparsity, pattern, score, refresh });
                }
            }
        }
    }
    let fisher = masks.iter().any(|m| matches!(m.refresh, Refresh::Fisher { .. }));
    let dynamic = masks.iter().any(|m| matches!(m.refresh, Refresh::Dynamic { .. }));
    for (key, given, read, by) in [
        ("fisher_samples", grid.fisher_samples.is_some(), fisher, "mask = \"fisher\""),
        ("fisher_mode", grid.fisher_mode.is_some(), fisher, "mask = \"fisher\""),
        ("grow", grid.grow.is_some(), dynamic, "refresh = \"dynamic\""),
        ("drop_rate", grid.drop_rate.is_some(), dynamic, "refresh = \"dynamic\""),
    ] {
        if given && !read {
            return Err(format!("{key} is read with {by} alone, which this entry has not; remove it"));
        }
    }
    Ok(masks.into_iter().map(Some).collect())
}

fn reads_gradient(grow: &Axis<Grow>) -> bool {
    grow.values().contains(&Grow::Gradient)
}

fn is_implicit(perturbation: &Axis<Perturbation>) -> bool {
    perturbation.values().contains(&Perturbation::Implicit)
}

fn sparsities(grid: &GridFile, name: OptimizerName, pattern: Pattern) -> Checked<Vec<f64>> {
    match (pattern.fixed_sparsity(), &grid.sparsity) {
        (Some(_), Some(_)) => Err(format!(
            "sparsity does not apply to pattern = \"{pattern}\", which fixes it; give the pattern an entry of its own"
        )),
        (Some(fixed), None) => Ok(vec![fixed]),
        (None, None) => Err(format!("sparsity is missing for {name}; add sparsity = 0.9")),
        (None, Some(given)) => {
            let given = values("sparsity", given)?;
            given.iter().try_for_each(|sparsity| fraction("sparsity", *sparsity).map(|_| ()))?;
            Ok(given)
        }
    }
}

fn refreshes(
    grid: &GridFile,
    (name, pattern, score): (OptimizerName, Pattern, MaskScore),
    frame: Frame,
) -> Checked<Vec<Refresh>> {
    let default = if name == SsamD { RefreshName::Dynamic } else { RefreshName::Interval };
    let mut refreshes = Vec::new();
    for refresh in values("refresh", &or(&grid.refresh, default))? {
        for interval in values("mask_interval", &or(&grid.mask_interval, 1))? {
            within("mask_interval", interval, 1, 100_000)?;
            let interval = match refresh {
                RefreshName::Static if grid.mask_interval.is_some() => {
                    return Err("mask_interval does not apply to refresh = \"static\"; remove it".into());
                }
                RefreshName::Static => frame.epochs,
                RefreshName::Interval | RefreshName::Dynamic => interval,
            };
            match (refresh, score) {
                (RefreshName::Dynamic, _) => refreshes.extend(dynamic(grid, (name, pattern, score), interval)?),
                (RefreshName::Static | RefreshName::Interval, MaskScore::Fisher) => {
                    let mode = grid.fisher_mode.unwrap_or(FisherMode::Clean);
                    let train = frame.train;
                    for samples in values("fisher_samples", &or(&grid.fisher_samples, 128.min(train)))? {
                        within("fisher_samples", samples, 1, train)?;
                        refreshes.push(Refresh::Fisher { interval, samples, mode });
                    }
                }
                (RefreshName::Static | RefreshName::Interval, _) => refreshes.push(Refresh::Interval { interval }),
            }
        }
    }
    Ok(refreshes)
}

fn dynamic(
    grid: &GridFile,
    (name, pattern, score): (OptimizerName, Pattern, MaskScore),
    interval: usize,
) -> Checked<Vec<Refresh>> {
    if name == SsamF {
        return Err("refresh = \"dynamic\" cannot be used with ssam-f; use ssam-d".into());
    }
    if score == MaskScore::Fisher {
        return Err(
            "refresh = \"dynamic\" drops and grows by the scores of the current batch, which fisher is not; use mask \
                    = \"gradient\", \"weight\" or \"random\", or refresh = \"interval\""
                .into(),
        );
    }
    if pattern.fixed_sparsity().is_some() {
        return Err(format!(
            "pattern = \"{pattern}\" fixes how many of a group are live, so nothing can be dropped and grown; use optimizer \
             ssam with refresh = \"interval\" or \"static\""
        ));
    }
    let mut refreshes = Vec::new();
    for drop_rate in values("drop_rate", &or(&grid.drop_rate, 0.5))? {
        fraction("drop_rate", drop_rate)?;
        for grow in values("grow", &or(&grid.grow, Grow::Random))? {
            refreshes.push(Refresh::Dynamic { interval, drop_rate, grow });
        }
    }
    Ok(refreshes)
}
