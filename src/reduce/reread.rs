//! What senders tell of a metric by its name → series that are read in another way from the next bucket on.
//!
//! It mostly comes up to a minute after the first samples, which were read by the name until then. What was made of
//! them is forgotten, never mixed with what comes. A gauge that turns out to count goes on from its last value, as
//! if that had been told from the beginning.

use std::sync::Arc;

use super::{
    Directory, Reading, Reducer, SeriesId, Turned,
    metadata::{Changed, Metadata},
    selected::hour,
};
use crate::event::{Kind, Labels, SeriesMeta, Timestamp};

impl Reducer {
    /// Forgets what senders told of metrics by their names and have not told since a time, where others told
    /// something else since, or no series of it is there. To be called as [`Reducer::forget`] is.
    pub fn forget_metadata<D: Directory>(&mut self, before: Timestamp, directory: &mut D) {
        let hour = hour(before);
        let mut gone = self.metadata.untold_since(hour);
        if gone.is_empty() && !self.metadata.is_outdated(hour) {
            return;
        }
        for id in 0..self.registry.len() as u32 {
            if gone.is_empty() {
                break;
            }
            self.registry.with_metric(id, &self.shards, |metric| {
                gone.remove(metric);
                metric.strip_suffix("_total").map(|base| gone.remove(base));
            });
        }
        if gone.is_empty() && !self.metadata.is_outdated(hour) {
            return;
        }
        let known = Arc::clone(&self.metadata);
        let metadata = Arc::make_mut(&mut self.metadata);
        let changed = metadata.forget(hour, |metric| !gone.contains(metric));
        self.shards.metadata.show(&self.metadata);
        self.reread(&known, &changed, directory);
    }

    /// Takes in what was told in an epoch or before.
    pub(super) fn take_metadata<D: Directory>(&mut self, epoch: u32, directory: &mut D) {
        let hour = hour(self.closed());
        let before = Arc::clone(&self.metadata);
        let shards = Arc::clone(&self.shards);
        let changed = shards.metadata.settle(&mut self.metadata, epoch, hour);
        self.reread(&before, &changed, directory);
    }

    /// What is told about a series of which its protocol tells `meta`, and what it is, if by that alone it would
    /// be of this kind.
    pub(super) fn told(&self, labels: &Labels, meta: SeriesMeta, kind: Kind) -> (SeriesMeta, Kind) {
        if self.metadata.read(labels.metric(), meta) == meta {
            return (meta, kind);
        }
        let select = self.shards.select();
        self.metadata.selected(select, labels, meta, kind)
    }

    /// Reads those series in another way for which it matters that something else is told now than before.
    fn reread<D: Directory>(&mut self, before: &Metadata, changed: &Changed, directory: &mut D) {
        if changed.is_empty() {
            return;
        }
        let mut turned = Vec::new();
        for id in 0..self.selected.len() as u32 {
            let known = &self.selected[id as usize];
            if known.meta.kind != Kind::Unknown {
                continue;
            }
            let concerns = |metric: &str| changed.concerns(metric);
            let Some(labels) = self.registry.labels_of(id, &self.shards, concerns) else {
                continue;
            };
            let was = before.read(labels.metric(), known.meta);
            let is = self.metadata.read(labels.metric(), known.meta);
            let by_name = self.shards.select().series(&labels, known.meta);
            let (_, kind) = self.told(&labels, known.meta, by_name.unwrap_or(known.kind));
            if kind == known.kind && is.unit == was.unit {
                continue;
            }
            turned.push(Turned {
                series: SeriesId(id),
                is_other: kind != known.kind || is.unit.contradicts(was.unit),
            });
            if kind != known.kind {
                self.selected[id as usize].turn(kind);
            }
        }
        if !turned.is_empty() {
            directory.reread(&turned, &|id| self.reading(id));
        }
    }

    fn reading(&self, id: SeriesId) -> Reading {
        let known = &self.selected[id.0 as usize];
        let labels = self.labels(id);
        Reading {
            meta: self.metadata.read(labels.metric(), known.meta),
            own: known.meta.kind,
            kind: known.kind,
            labels,
        }
    }
}
