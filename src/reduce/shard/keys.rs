//! What a key stands for: a series or stream that is known, a new one, or nothing that anybody selects.

use super::{Context, Place, Shard};
use crate::{
    event::{Kind, Labels, Piece, Raw, RawSeries, SeriesMeta, canonical},
    reduce::{
        refusals::Refused,
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
            return match self.refusals.find(hashes(raw, series, key)) {
                Some(refused) => Place::Refused(refused),
                None => self.meet_series(context, series, key, before),
            };
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
                self.remember_unselected(context, series, labels.metric(), before);
                return Place::Unselected;
            }
            self.series.value_mut(slot).meta = Some(series.meta);
        }
        match self.series.value(slot).standing {
            Standing::Bound | Standing::Naming => Place::Slot(slot),
            Standing::Refused(refused) => Place::Refused(refused),
            Standing::Again => match raw.labels(series) {
                Ok(labels) => {
                    let kind = kind.or_else(|| context.select.series(&labels, series.meta));
                    let kind = kind.unwrap_or_default();
                    self.name_next(context, slot, labels, series.meta, kind)
                }
                Err(bad) => Place::BadLabels(bad),
            },
            Standing::New(place) => {
                let new = &mut self.new_series[place as usize];
                new.since = new.since.min(context.epoch.number);
                new.last = new.last.max(context.epoch.number);
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
        let kind = context.select.series(&labels, series.meta);
        let lookers = |kind| context.select.lookers(&labels, kind);
        if let Some(limit) = context.room.limit(&labels) {
            let lookers = kind.map(lookers).unwrap_or_default();
            let refused = self.refusals.refused(limit, lookers);
            return self.refuse(context, series, key, refused);
        }
        let Some(kind) = kind else {
            self.remember_unselected(context, series, labels.metric(), before);
            return Place::Unselected;
        };
        let new = SelectedKey {
            standing: Standing::Again,
            meta: Some(series.meta),
        };
        let slot = if context.room.take_key() {
            self.series.insert(series.hash, key, new)
        } else {
            None
        };
        if let Some(slot) = slot {
            self.name_next(context, slot, labels, series.meta, kind)
        } else {
            let refused = self.refusals.refused(Limit::Series, lookers(kind));
            self.refuse(context, series, key, refused)
        }
    }

    /// Refuses a key that has no slot; where there is no room to remember that, it is asked about again.
    fn refuse(
        &mut self,
        context: &Context<'_>,
        series: &RawSeries,
        key: [&[u8]; 3],
        refused: Refused,
    ) -> Place {
        self.counters.refused_series += 1;
        if context.room.take_unselected() {
            let key = hashes(context.raw, series, key);
            self.refusals.insert(key, refused);
        }
        Place::Refused(refused)
    }

    /// Puts a key with the series that get their ids at the next tick.
    fn name_next(
        &mut self,
        context: &Context<'_>,
        slot: u32,
        labels: Labels,
        meta: SeriesMeta,
        kind: Kind,
    ) -> Place {
        let place = self.new_series.len();
        self.series.value_mut(slot).standing = Standing::New(place as u32);
        self.new_series.push(NewSeries {
            slot,
            since: context.epoch.number,
            last: context.epoch.number,
            samples: 0,
            labels,
            meta,
            kind,
        });
        Place::New(slot, place)
    }

    /// Remembers a key that nobody selects; where there is no room, it is asked about again.
    fn remember_unselected(
        &mut self,
        context: &Context<'_>,
        series: &RawSeries,
        metric: &str,
        before: &mut Before,
    ) {
        if context.room.take_unselected() {
            self.counters.unselected_series += 1;
            let key = hashes(context.raw, series, context.raw.key(series));
            before.unselected = self.unselected.insert(key, metric);
        }
    }

    /// The slot of a log stream, which is met if it is new. Who looks at one that is refused is noted.
    pub(super) fn stream(
        &mut self,
        context: &Context<'_>,
        (hash, stream): (u64, Piece),
        before: u32,
    ) -> Result<u32, Refused> {
        let key = [context.raw.bytes(stream), &[], &[]];
        let found = self.streams.find(hash, key, before);
        let slot = found.map_or_else(|| self.meet_stream(context, hash, key), Ok);
        match slot {
            Ok(slot) => {
                if let Some(place) = self.streams.value(slot).new {
                    let new = &mut self.new_streams[place as usize];
                    new.since = new.since.min(context.epoch.number);
                }
            }
            Err(refused) => {
                self.counters.refused_streams += 1;
                self.note_refused(context, refused);
            }
        }
        slot
    }

    /// The slot of a stream that was never seen.
    ///
    /// # Errors
    /// A limit refuses it.
    fn meet_stream(
        &mut self,
        context: &Context<'_>,
        hash: u64,
        key: [&[u8]; 3],
    ) -> Result<u32, Refused> {
        let other = context.raw.batch.keys().other();
        let hashes = (hash, other.last(other.key(key), &OF_STREAM));
        if let Some(refused) = self.refusals.find(hashes) {
            return Err(refused);
        }
        // What cannot be read belongs to nobody.
        let attributes = canonical::read(key).unwrap_or_default();
        let classes = context.select.stream(&attributes);
        let limit = context.room.limit(&attributes);
        let slot = if limit.is_none() && context.room.take_stream() {
            let new = classes.is_some().then_some(self.new_streams.len() as u32);
            let stream = Stream {
                classes: classes.clone(),
                new,
            };
            self.streams.insert(hash, key, stream)
        } else {
            None
        };
        let Some(slot) = slot else {
            let lookers = classes.map(|classes| context.select.stream_lookers(&classes));
            let limit = limit.unwrap_or(Limit::Series);
            let refused = self.refusals.refused(limit, lookers.unwrap_or_default());
            if context.room.take_unselected() {
                self.refusals.insert(hashes, refused);
            }
            return Err(refused);
        };
        self.counters.streams += 1;
        if classes.is_some() {
            self.new_streams.push(NewStream {
                slot,
                since: context.epoch.number,
                attributes,
            });
        }
        Ok(slot)
    }
}

/// Tells the key of a log stream from that of a series with the same labels.
const OF_STREAM: [u8; 3] = [u8::MAX; 3];

/// The hash of a key, and a second one of it with what the protocol tells: the two together stand for
/// the key.
fn hashes(raw: Raw<'_>, series: &RawSeries, key: [&[u8]; 3]) -> (u64, u64) {
    let meta = series.meta;
    let told = [meta.kind as u8, meta.temporality as u8, meta.unit as u8];
    let other = raw.batch.keys().other();
    (series.hash, other.last(other.key(key), &told))
}
