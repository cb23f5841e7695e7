//! JSON form of a mask. Cell ids are hashes of it, so it must never change.

use serde::{Deserialize, Serialize};

use super::refresh::{Amount, FisherMode, Grow, MaskScore, MaskSpec, Refresh, Score, When};
use super::{GroupAxis, Pattern};

/// A mask in a record.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredMask {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sparsity: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    budget: Option<f64>,
    pattern: Pattern,
    /// Of a pattern N:M, unless its groups run along d_in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group_axis: Option<GroupAxis>,
    score: MaskScore,
    refresh: StoredRefresh,
}

/// A static mask is stored with an interval of the whole training; [`Refresh::normalised`] makes it
/// static again.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StoredRefresh {
    Fisher { interval: usize, samples: usize, mode: FisherMode },
    Interval { interval: usize },
    Dynamic { interval: usize, drop_rate: f64, grow: Grow },
}

impl From<MaskSpec> for StoredMask {
    fn from(mask: MaskSpec) -> Self {
        let MaskSpec { amount, pattern, refresh: Refresh { score, when } } = mask;
        let refresh = match (when, &score) {
            (When::Static { epochs } | When::Interval { epochs }, Score::Fisher { samples, mode }) => {
                StoredRefresh::Fisher { interval: epochs, samples: *samples, mode: *mode }
            }
            (When::Static { epochs } | When::Interval { epochs }, _) => StoredRefresh::Interval { interval: epochs },
            (When::Dynamic { epochs, drop_rate, grow }, _) => {
                StoredRefresh::Dynamic { interval: epochs, drop_rate, grow }
            }
        };
        Self {
            sparsity: amount.sparsity(),
            budget: amount.budget(),
            pattern,
            group_axis: pattern.group_axis().filter(|axis| *axis != GroupAxis::default()),
            score: score.name(),
            refresh,
        }
    }
}

impl TryFrom<StoredMask> for MaskSpec {
    type Error = String;

    fn try_from(mask: StoredMask) -> Result<Self, String> {
        let StoredMask { sparsity, budget, pattern, group_axis, score, refresh } = mask;
        if group_axis.is_some() && pattern.group_axis().is_none() {
            return Err(format!("group_axis does not apply to a mask of pattern {pattern}, which has no groups"));
        }
        let pattern = group_axis.map_or(pattern, |axis| pattern.along(axis));
        let interval = match refresh {
            StoredRefresh::Fisher { interval, .. }
            | StoredRefresh::Interval { interval }
            | StoredRefresh::Dynamic { interval, .. } => interval,
        };
        if interval == 0 {
            return Err("a mask is refreshed every 0 epochs; the interval must be 1 or more".into());
        }
        let amount = match (sparsity, budget) {
            (Some(sparsity), None) if (0.0..=1.0).contains(&sparsity) => Amount::Sparsity(sparsity),
            (None, Some(budget)) if budget > 1.0 && pattern == Pattern::Tensor => Amount::Budget(budget),
            (Some(sparsity), None) => {
                return Err(format!("a mask has the sparsity {sparsity}, which must be from 0 to 1"));
            }
            _ => return Err("a mask has either a sparsity, or a budget above 1 for whole tensors".into()),
        };
        if let StoredRefresh::Fisher { samples: 0, .. } = refresh {
            return Err("a mask has Fisher scores of 0 samples; it must be 1 or more".into());
        }
        if let StoredRefresh::Dynamic { drop_rate, .. } = refresh
            && (!(0.0..=1.0).contains(&drop_rate) || pattern.fixed_sparsity().is_some() || budget.is_some())
        {
            return Err(format!("a dynamic mask of pattern {pattern} cannot drop a fraction of {drop_rate}"));
        }
        let by = match (score, &refresh) {
            (MaskScore::Fisher, StoredRefresh::Fisher { samples, mode, .. }) => {
                Score::Fisher { samples: *samples, mode: *mode }
            }
            (MaskScore::Gradient, StoredRefresh::Interval { .. } | StoredRefresh::Dynamic { .. }) => Score::Gradient,
            (MaskScore::Weight, StoredRefresh::Interval { .. } | StoredRefresh::Dynamic { .. }) => Score::Weight,
            (MaskScore::Random, StoredRefresh::Interval { .. } | StoredRefresh::Dynamic { .. }) => Score::Random,
            (MaskScore::Fisher, _) | (_, StoredRefresh::Fisher { .. }) => {
                return Err(format!("a mask by {score} scores has the refresh of another score"));
            }
        };
        let when = match refresh {
            StoredRefresh::Dynamic { interval, drop_rate, grow } => When::Dynamic { epochs: interval, drop_rate, grow },
            _ => When::Interval { epochs: interval },
        };
        Ok(Self { amount, pattern, refresh: Refresh { score: by, when } })
    }
}
