//! How the series and streams of a shard stand: with an id, without one yet, refused.

use std::collections::{BTreeMap, BTreeSet};

use super::{LossReason, StreamClasses, key_table::NONE, refusals::Refused};
use crate::event::{Kind, Labels, SeriesMeta};

/// What was lost.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    /// Samples, by slot and reason.
    pub(super) series: BTreeMap<(u32, LossReason), u64>,
    /// Log records, by slot, class and reason: once for each class.
    pub(super) records: BTreeMap<(u32, Option<u32>, LossReason), u64>,
    /// Those who would have looked at what a limit refused, by their numbers.
    pub(super) refused: BTreeSet<u32>,
}

/// A key that a check selects.
#[derive(Clone, Copy, Debug)]
pub(super) struct SelectedKey {
    pub(super) standing: Standing,
    /// What the protocol told about it when a check was last found to select it. A check may select what
    /// comes as one kind under a key, and not what comes as another.
    pub(super) meta: Option<SeriesMeta>,
}

/// How a selected series stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has no id yet; its place among the new ones.
    New(u32),
    /// It is being named: it has an id or is refused when the tick is taken.
    Naming,
    /// It has an id, and keeps it.
    Bound,
    /// A limit refuses it.
    Refused(Refused),
    /// A limit refused it once. When it comes again, it is new.
    Again,
}

/// What a series is beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Series,
    SeriesPerService,
    Labels,
    LabelBytes,
}

impl Limit {
    /// The key of the configuration.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Series => "limits.series",
            Self::SeriesPerService => "limits.series_per_service",
            Self::Labels => "limits.labels",
            Self::LabelBytes => "limits.label_bytes",
        }
    }
}

/// A series that has no id yet.
#[derive(Clone, Debug)]
pub(super) struct NewSeries {
    pub(super) slot: u32,
    /// The earliest epoch that has a sample of it.
    pub(super) since: u32,
    /// The latest.
    pub(super) last: u32,
    /// Samples that wait for it: accepted once it has an id, refused if a limit refuses it.
    pub(super) samples: u64,
    pub(super) labels: Labels,
    /// The greatest that came.
    pub(super) meta: SeriesMeta,
    /// What the checks take that one for.
    pub(super) kind: Kind,
}

/// A log stream.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// `None`: it belongs to no service.
    pub(super) classes: Option<StreamClasses>,
    /// Its place among the new ones; `None` once it has an id.
    pub(super) new: Option<u32>,
}

/// A stream that has no id yet.
#[derive(Clone, Debug)]
pub(super) struct NewStream {
    pub(super) slot: u32,
    pub(super) since: u32,
    pub(super) attributes: Labels,
}

/// Which series of a shard came last: senders repeat their order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// The slot of a selected one.
    pub(super) selected: u32,
    /// The place of one that nobody selects.
    pub(super) unselected: u32,
}

impl Default for Before {
    fn default() -> Self {
        Self::NOTHING
    }
}

impl Before {
    /// Nothing came before.
    pub(super) const NOTHING: Self = Self {
        selected: NONE,
        unselected: NONE,
    };
}
