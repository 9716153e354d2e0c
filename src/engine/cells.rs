//! The groups of a panel that a series feeds.

use super::selection::Way;
use crate::{
    detect::{GroupKey, Stat},
    event::{Labels, METRIC_NAME},
    plan::SeriesSelection,
};

/// The quantiles of a distribution when the check does not name one, in tenths of a percent.
const QUANTILES: [u16; 3] = [500, 900, 990];

/// Which groups those are.
pub(super) enum Cells {
    Value(GroupKey),
    Ratio {
        key: GroupKey,
        is_numerator: bool,
        is_exposure: bool,
    },
    Quantiles {
        keys: Vec<(f64, GroupKey)>,
        le: Option<f64>,
    },
}

/// Which groups a series feeds that a check takes in a certain way.
pub(super) fn cells(selection: &SeriesSelection, way: Way, identity: &Labels) -> Cells {
    match way {
        Way::Value => Cells::Value(GroupKey {
            labels: identity.clone(),
            stat: Stat::Value,
            ..GroupKey::default()
        }),
        Way::Ratio {
            is_numerator,
            is_exposure,
        } => {
            // Both sides are summed per host, so that one group holds the ratio.
            let name = selection.selector.metric().unwrap_or("ratio");
            Cells::Ratio {
                key: GroupKey {
                    labels: Labels::new([(METRIC_NAME, name)]),
                    stat: Stat::Value,
                    ..GroupKey::default()
                },
                is_numerator,
                is_exposure,
            }
        }
        Way::Quantiles { base, le } => {
            let (labels, quantiles) = if let Some(quantile) = selection.quantile {
                // A named quantile is of the host as a whole.
                (Labels::new([(METRIC_NAME, base.metric())]), vec![quantile])
            } else {
                let others = identity.retain(|label| label != "le" && label != METRIC_NAME);
                let pairs = others.iter().chain([(METRIC_NAME, base.metric())]);
                let quantiles = QUANTILES.map(|quantile| f64::from(quantile) / 1_000.0);
                (Labels::new(pairs), quantiles.to_vec())
            };
            let key = |quantile: f64| GroupKey {
                labels: labels.clone(),
                stat: Stat::Quantile((quantile * 1_000.0).round() as u16),
                ..GroupKey::default()
            };
            let keys = quantiles.iter().map(|quantile| (*quantile, key(*quantile)));
            Cells::Quantiles {
                keys: keys.collect(),
                le,
            }
        }
    }
}
