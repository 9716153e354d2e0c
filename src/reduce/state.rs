//! What the reducer remembers over a restart: everything but the samples of buckets that are open.
//!
//! Samples of open buckets stand in the journal, and are put again when it is read: see
//! [`Shards::put_again`](super::Shards::put_again).

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{
    Directory, Epoch, LossReason, LossSource, Reducer, ReducerLimits, Select, SeriesId, Shards,
    StreamId,
    logs::Templates,
    metadata::Metadata,
    registry::Registry,
    selected::{Selected, hour},
};
use crate::event::{KeyHash, Labels, Span, Timestamp, canonical};

/// What the reducer remembers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReducerState<'a> {
    epoch: Epoch,
    next: Option<Timestamp>,
    series: Names<'a>,
    selected: Cow<'a, [Selected]>,
    streams: Names<'a>,
    streams_heard: Cow<'a, [u32]>,
    templates: Cow<'a, BTreeMap<Arc<str>, Timestamp>>,
    metadata: Cow<'a, Metadata>,
    losses: Vec<((LossSource, LossReason), u64)>,
}

/// Label sets in the order of their ids.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Names<'a> {
    /// Canonical bytes of all.
    bytes: Cow<'a, serde_bytes::Bytes>,
    /// How many bytes each has.
    lengths: Vec<u32>,
}

/// A state that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsoundReducer {
    what: &'static str,
}

impl Reducer {
    /// What is remembered, by reference. To be taken when the buckets of a tick are closed.
    pub fn save(&self) -> ReducerState<'_> {
        let losses = self.losses.iter().map(|(loss, count)| (*loss, *count));
        ReducerState {
            epoch: self.epoch,
            next: self.next,
            series: Names::of(&self.registry, &self.shards),
            selected: Cow::Borrowed(&self.selected),
            streams: Names::of(&self.streams, &self.shards),
            streams_heard: Cow::Borrowed(&self.streams_heard),
            templates: Cow::Borrowed(self.templates.save()),
            metadata: Cow::Borrowed(&self.metadata),
            losses: losses.collect(),
        }
    }

    /// Goes on from what was remembered. Series and streams are bound again, in the order of their ids.
    ///
    /// # Errors
    /// The state contradicts itself.
    pub fn restore<D: Directory>(
        resolution: Span,
        limits: ReducerLimits,
        keys: KeyHash,
        select: Arc<dyn Select>,
        state: ReducerState<'_>,
        directory: &mut D,
    ) -> Result<Self, UnsoundReducer> {
        let mut reducer = Self::new(resolution, limits, keys, select);
        reducer.epoch = state.epoch;
        reducer.next = state.next;
        reducer.templates = Templates::restore(limits.templates, state.templates.into_owned());
        reducer.metadata = Arc::new(state.metadata.into_owned());
        let hour = hour(reducer.closed());
        reducer.shards.metadata.resume(&reducer.metadata, hour);
        reducer.losses = state.losses.into_iter().collect();
        reducer.selected = state.selected.into_owned();
        let names = state.series.labels()?;
        if names.len() != reducer.selected.len() {
            return Err(unsound(
                "series and what is remembered of them differ in number",
            ));
        }
        for (id, labels) in (0..).zip(&names) {
            if reducer.registry.find(labels, &reducer.shards).is_some() {
                return Err(unsound("two series have one label set"));
            }
            let adopted = reducer.shards.adopt(labels);
            let (shard, slot) = adopted.ok_or(unsound("series beyond limits.series"))?;
            reducer
                .registry
                .insert(labels, [(shard, slot)], &reducer.shards);
            reducer.ids[shard].name_series(slot, id);
            let selected = &reducer.selected[id as usize];
            let (own, kind) = (selected.meta.kind, selected.kind);
            let meta = reducer.metadata.read(labels.metric(), selected.meta);
            let bound = directory.bind_series(SeriesId(id), labels, (meta, own), kind);
            if bound.is_none() {
                // Another configuration has left more than fit.
                directory.refuse_series(SeriesId(id), labels, kind);
            }
        }
        for (id, attributes) in (0..).zip(state.streams.labels()?) {
            if reducer.streams.find(&attributes, &reducer.shards).is_some() {
                return Err(unsound("two log streams have one set of attributes"));
            }
            reducer.streams.insert(&attributes, [], &reducer.shards);
            directory.bind_stream(StreamId(id), &attributes);
        }
        reducer.streams_heard = state.streams_heard.into_owned();
        let (series, streams) = (reducer.registry.len(), reducer.streams.len());
        if reducer.streams_heard.len() != streams {
            return Err(unsound(
                "log streams and what is remembered of them differ in number",
            ));
        }
        let is_known = |source: &LossSource| match source {
            LossSource::Series(id) => (id.0 as usize) < series,
            LossSource::Records(id, _) => (id.0 as usize) < streams,
        };
        if !reducer.losses.keys().all(|(source, _)| is_known(source)) {
            return Err(unsound("a loss of a series that is not there"));
        }
        Ok(reducer)
    }
}

impl Names<'_> {
    fn of(registry: &Registry, shards: &Shards) -> Self {
        let (bytes, lengths) = registry.save(shards);
        Self {
            bytes: Cow::Owned(ByteBuf::from(bytes)),
            lengths,
        }
    }

    fn labels(&self) -> Result<Vec<Labels>, UnsoundReducer> {
        let mut rest: &[u8] = &self.bytes;
        let mut labels = Vec::new();
        for len in &self.lengths {
            let (name, after) = rest
                .split_at_checked(*len as usize)
                .ok_or(unsound("label sets are cut off"))?;
            rest = after;
            let read = canonical::read([name, &[], &[]]);
            labels.push(read.map_err(|_| unsound("a label set cannot be read"))?);
        }
        Ok(labels)
    }
}

fn unsound(what: &'static str) -> UnsoundReducer {
    UnsoundReducer { what }
}

impl fmt::Display for UnsoundReducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the state of the reducer contradicts itself: {}",
            self.what
        )
    }
}

impl std::error::Error for UnsoundReducer {}
