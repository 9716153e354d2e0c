//! What a key stands for: a series or stream that is known, a new one, or nothing that anybody selects.

use super::{Context, Place, Shard};
use crate::{
    event::{Raw, RawLog, RawSeries, canonical},
    reduce::{
        resolved::Known,
        standing::{Before, Limit, NewSeries, NewStream, SelectedKey, Standing, Stream},
    },
};

impl Shard {
    /// What is known about a series. `before` is what came before, and becomes this one.
    #[inline]
    pub(in crate::reduce) fn resolve(
        &mut self,
        raw: Raw<'_>,
        series: &RawSeries,
        before: &mut Before,
    ) -> Known {
        let key = raw.key(series);
        let is_unselected = self.unselected.follows(before.unselected, series.hash)
            && self.is_unselected(raw, series, key, before);
        if is_unselected {
            return Known::Unselected;
        }
        match self.series.find(series.hash, key, before.selected) {
            Some(slot) => {
                before.selected = slot;
                let key = self.series.value(slot);
                if key.standing == Standing::Bound && key.meta == Some(series.meta) {
                    Known::Bound(slot)
                } else {
                    Known::Nothing
                }
            }
            None if self.is_unselected(raw, series, key, before) => Known::Unselected,
            None => Known::Nothing,
        }
    }

    /// Where the points of a series belong that is not resolved, or has no id yet.
    pub(super) fn place(
        &mut self,
        context: &Context<'_>,
        series: &RawSeries,
        before: &mut Before,
    ) -> Place {
        let raw = context.raw;
        let key = raw.key(series);
        let is_unselected = self.unselected.follows(before.unselected, series.hash)
            && self.is_unselected(raw, series, key, before);
        if is_unselected {
            return Place::Unselected;
        }
        let found = self.series.find(series.hash, key, before.selected);
        let Some(slot) = found else {
            if self.is_unselected(raw, series, key, before) {
                return Place::Unselected;
            }
            return self.meet_series(context, series, key, before);
        };
        before.selected = slot;
        let mut kind = None;
        if self.series.value(slot).meta != Some(series.meta) {
            // Whether a check selects it as what it comes as now must not depend on what came before.
            if self.is_unselected(raw, series, key, before) {
                return Place::Unselected;
            }
            let labels = match raw.labels(series) {
                Ok(labels) => labels,
                Err(bad) => return Place::BadLabels(bad),
            };
            kind = context.select.series(&labels, series.meta);
            if kind.is_none() {
                self.remember_unselected(context, series, key, before);
                return Place::Unselected;
            }
            self.series.value_mut(slot).meta = Some(series.meta);
        }
        match self.series.value(slot).standing {
            Standing::Bound | Standing::Naming => Place::Slot(slot),
            Standing::Refused(limit) => Place::Refused(limit),
            Standing::New(place) => {
                let new = &mut self.new_series[place as usize];
                new.since = new.since.min(context.epoch.number);
                if let Some(kind) = kind
                    && new.meta < series.meta
                {
                    (new.meta, new.kind) = (series.meta, kind);
                }
                Place::New(slot, place as usize)
            }
        }
    }

    /// Whether a key is known as one that nobody selects.
    fn is_unselected(
        &self,
        raw: Raw<'_>,
        series: &RawSeries,
        key: [&[u8]; 3],
        before: &mut Before,
    ) -> bool {
        let hashes = hashes(raw, series, key);
        let known = self.unselected.find(hashes, before.unselected);
        before.unselected = known.unwrap_or(before.unselected);
        known.is_some()
    }

    /// Decides about a key that was never seen.
    fn meet_series(
        &mut self,
        context: &Context<'_>,
        series: &RawSeries,
        key: [&[u8]; 3],
        before: &mut Before,
    ) -> Place {
        let labels = match context.raw.labels(series) {
            Ok(labels) => labels,
            Err(bad) => return Place::BadLabels(bad),
        };
        if let Some(limit) = context.room.limit(&labels) {
            self.counters.refused_series += 1;
            return Place::Refused(limit);
        }
        let Some(kind) = context.select.series(&labels, series.meta) else {
            self.remember_unselected(context, series, key, before);
            return Place::Unselected;
        };
        let new = SelectedKey {
            standing: Standing::New(self.new_series.len() as u32),
            meta: Some(series.meta),
        };
        let slot = if context.room.take_key() {
            self.series.insert(series.hash, key, new)
        } else {
            None
        };
        let Some(slot) = slot else {
            self.counters.refused_series += 1;
            return Place::Refused(Limit::Series);
        };
        let place = self.new_series.len();
        self.new_series.push(NewSeries {
            slot,
            since: context.epoch.number,
            samples: 0,
            labels,
            meta: series.meta,
            kind,
        });
        Place::New(slot, place)
    }

    /// Remembers a key that nobody selects; where there is no room, it is asked about again.
    fn remember_unselected(
        &mut self,
        context: &Context<'_>,
        series: &RawSeries,
        key: [&[u8]; 3],
        before: &mut Before,
    ) {
        if context.room.take_unselected() {
            self.counters.unselected_series += 1;
            before.unselected = self.unselected.insert(hashes(context.raw, series, key));
        }
    }

    /// Decides about a stream that was never seen; `None`: a limit refuses it.
    pub(super) fn meet_stream(
        &mut self,
        context: &Context<'_>,
        log: &RawLog,
        key: [&[u8]; 3],
    ) -> Option<u32> {
        let attributes = canonical::read(key).ok()?;
        if context.room.limit(&attributes).is_some() || !context.room.take_stream() {
            return None;
        }
        let classes = context.select.stream(&attributes);
        let new = classes.is_some().then_some(self.new_streams.len() as u32);
        let slot = self
            .streams
            .insert(log.hash, key, Stream { classes, new })?;
        self.counters.streams += 1;
        if new.is_some() {
            self.new_streams.push(NewStream {
                slot,
                since: context.epoch.number,
                attributes,
            });
        }
        Some(slot)
    }
}

/// The hash of a key, and a second one of it with what the protocol tells: the two together stand for
/// the key.
fn hashes(raw: Raw<'_>, series: &RawSeries, key: [&[u8]; 3]) -> (u64, u64) {
    let meta = series.meta;
    let told = [meta.kind as u8, meta.temporality as u8, meta.unit as u8];
    let other = raw.batch.keys().other();
    (series.hash, other.last(other.key(key), &told))
}
