//! A second reducer beside the first, which goes on with other series: for a change of the configuration
//! while the first still has something to finish.

use std::sync::Arc;

use super::{
    Directory, Put, PutScratch, Reducer, Select, SeriesId, Shards, StreamId, bucket::Spare,
    logs::LogKey, selected::Selected, shard::Shard, standing::NewStream, unselected::Unselected,
};
use crate::event::{RawBatch, Timestamp, canonical};

/// What a class of log records becomes under another selection: none, one, or several.
pub(super) type Classes<'a> = &'a dyn Fn(u32) -> Vec<u32>;

impl Reducer {
    /// A reducer that knows what this one knows, with the samples of buckets that are open, and from here
    /// on takes in what `select` wants. To be called between two inputs, when every batch before is put
    /// and the buckets of the last tick are closed.
    ///
    /// `classes` gives what a class of log records becomes: none, one, or several. Series and streams are
    /// bound to `directory`, in the order of their ids. Those that nobody selects
    /// any more keep their ids and feed nothing, and what comes of them is passed over; those that are selected only now begin with what comes.
    #[must_use]
    pub fn fork<D: Directory>(
        &self,
        select: &Arc<dyn Select>,
        classes: &dyn Fn(u32) -> Vec<u32>,
        directory: &mut D,
    ) -> Self {
        let shards = Arc::new(self.shards.fork(select, self.epoch.number, classes));
        let mut fork = Self {
            shards,
            resolution: self.resolution,
            epoch: self.epoch,
            next: self.next,
            taken: std::collections::BTreeMap::new(),
            registry: self.registry.clone(),
            selected: self.selected.clone(),
            streams: self.streams.clone(),
            streams_heard: self.streams_heard.clone(),
            ids: self.ids.clone(),
            templates: self.templates.clone(),
            losses: self.losses.clone(),
            refused: self.refused,
            resets: self.resets,
            late_losses: self.late_losses.clone(),
            duplicates: self.duplicates,
            spare: vec![Spare::default(); self.shards.len()],
            gathered: Vec::new(),
            run: Vec::new(),
            raw: RawBatch::new(self.shards.keys(), canonical::read),
            scratch: PutScratch::default(),
        };
        debug_assert!(self.taken.is_empty(), "what is over is closed");
        for index in 0..fork.selected.len() {
            let id = SeriesId(index as u32);
            let labels = fork.registry.labels(id.0, &fork.shards);
            let Selected {
                meta, kind: before, ..
            } = fork.selected[index];
            let kind = select.series(&labels, meta).unwrap_or(before);
            let Some(bound) = directory.bind_series(id, &labels, meta, kind) else {
                directory.refuse_series(&labels, meta, kind);
                continue;
            };
            if kind != before {
                let at = fork.epoch.closed.unwrap_or(Timestamp::MIN);
                fork.selected[index] = Selected::new(meta, bound, at);
            }
        }
        for id in 0..fork.streams.len() as u32 {
            directory.bind_stream(StreamId(id), &fork.streams.labels(id, &fork.shards));
        }
        fork
    }
}

/// Puts a batch into the shards of every configuration that is at work; what became of it is that of the
/// last.
pub fn put_all<'a>(
    shards: impl IntoIterator<Item = &'a Arc<Shards>>,
    put: impl Fn(&Shards, &mut PutScratch) -> Put,
    scratch: &mut PutScratch,
) -> Put {
    let (mut all, mut latest) = (Put::default(), None);
    for shards in shards {
        all = put(shards, scratch);
        latest = all.latest.max(latest);
    }
    all.latest = latest;
    all
}

impl Shard {
    /// The same shard under another selection; new streams stand in this epoch.
    pub(super) fn fork(&self, select: &dyn Select, epoch: u32, classes: Classes<'_>) -> Self {
        let mut fork = self.clone();
        fork.forget_unselected();
        // What is selected is asked anew, too: a start from a saved state knows no better.
        for slot in 0..fork.series.len() as u32 {
            fork.series.value_mut(slot).meta = None;
        }
        for new in &mut fork.new_series {
            new.kind = select.series(&new.labels, new.meta).unwrap_or(new.kind);
        }
        for slot in 0..fork.streams.len() as u32 {
            let Ok(attributes) = canonical::read([fork.streams.key(slot), &[], &[]]) else {
                continue;
            };
            let wanted = select.stream(&attributes);
            let place = fork.new_streams.len() as u32;
            let stream = fork.streams.value_mut(slot);
            let is_met = stream.classes.is_none() && wanted.is_some() && stream.new.is_none();
            stream.classes = wanted;
            if is_met {
                stream.new = Some(place);
                fork.new_streams.push(NewStream {
                    slot,
                    since: epoch,
                    attributes,
                });
            }
        }
        let streams = &mut fork.streams;
        for bucket in &mut fork.open {
            bucket.logs.rename(|key| {
                let wanted = streams.value(key.stream).classes.as_ref();
                let mut renamed: Vec<u32> =
                    key.classes.iter().flat_map(|of| classes(*of)).collect();
                renamed.retain(|class| wanted.is_some_and(|wanted| wanted.0.contains(class)));
                renamed.sort_unstable();
                renamed.dedup();
                LogKey {
                    classes: renamed,
                    ..key.clone()
                }
            });
        }
        fork
    }

    pub(super) fn forget_unselected(&mut self) {
        self.unselected = Unselected::default();
        self.counters.unselected_series = 0;
    }
}

impl Shards {
    fn fork(&self, select: &Arc<dyn Select>, epoch: u32, classes: Classes<'_>) -> Self {
        let shards = (0..self.len()).map(|index| self.lock(index).fork(&**select, epoch, classes));
        self.with(shards.collect(), Arc::clone(select))
    }
}
